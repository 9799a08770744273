"""The teacher: a copy of the student that follows it as an exponential moving average."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.distributed.tensor import DTensor


def teacher_of(network: nn.Module) -> nn.Module:
    """A copy that never gets a gradient, with the same names.

    Parameters that the student never changes (under an adapter) are shared, not copied. Call it before `parallelise`.
    """
    fixed = {id(parameter): parameter for parameter in network.parameters() if not parameter.requires_grad}
    return copy.deepcopy(network, dict(fixed)).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """θ_t ← m·θ_t + (1 - m)·θ_s for parameters and persistent floating-point buffers, in place.

    Sharded networks (FSDP2) are averaged shard by shard, without communication; both must be sharded alike, and
    resharded after their last forward and backward pass, as `parallelise` arranges it.
    """
    mine, theirs = _tensors(teacher), _tensors(student)
    pairs = [(mine[name], theirs[name]) for name in mine if mine[name] is not theirs[name]]
    if pairs:
        torch._foreach_lerp_([own for own, _ in pairs], [other for _, other in pairs], 1.0 - momentum)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """What this worker holds of each tensor, by name."""
    found: dict[str, torch.Tensor] = dict(module.named_parameters())
    for prefix, part in module.named_modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and name not in part._non_persistent_buffers_set and buffer.is_floating_point():
                found[f"{prefix}.{name}" if prefix else name] = buffer
    return {name: value.to_local() if isinstance(value, DTensor) else value for name, value in found.items()}
