"""Gradients by the part of a network that they belong to, and where there are none."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor


def module_of(name: str) -> str:
    """The part of a network that a parameter belongs to, for `gradient_norms`.

    ``backbone.blocks.3.attn.qkv.weight`` → ``backbone.blocks.3``, ``backbone.pos_embed`` → ``backbone.tokens``,
    ``head.mlp.0.bias`` → ``head.mlp``, ``head.prototypes`` → ``head.prototypes``.
    """
    parts = name.split(".")
    if parts[0] == "backbone" and len(parts) == 2:
        return "backbone.tokens"
    depth = next((place + 1 for place, part in enumerate(parts[:-1]) if part.isdigit()), 0)
    if parts[0] == "backbone":
        return ".".join(parts[: depth or 2])
    keep = len(parts) - 1 if len(parts) > 2 else len(parts)
    return ".".join(part for part in parts[:keep] if not part.isdigit())


@torch.no_grad()
def gradient_norms(network: nn.Module) -> dict[str, torch.Tensor]:
    """Euclidean norm of the gradients of every part of a network (`module_of`); scalars on the device.

    Parts without any gradient are left out. Sharded gradients (FSDP2) give the norm over all workers, in one
    all-reduce. Call it between the backward pass and clipping.
    """
    names, gradients = [], []
    mesh = None
    for name, parameter in network.named_parameters():
        gradient = parameter.grad
        if gradient is None:
            continue
        if isinstance(gradient, DTensor):
            mesh, gradient = gradient.device_mesh, gradient.to_local()
        names.append(module_of(name))
        gradients.append(gradient)
    if not gradients:
        return {}
    parts = list(dict.fromkeys(names))
    places = torch.tensor([parts.index(name) for name in names], device=gradients[0].device)
    norms = torch.stack(torch._foreach_norm(gradients)).float()
    squares = norms.new_zeros(len(parts)).index_add_(0, places, norms.square())
    if mesh is not None:
        dist.all_reduce(squares, group=mesh.get_group())
    return dict(zip(parts, squares.sqrt(), strict=True))


@torch.no_grad()
def silent_parameters(network: nn.Module) -> list[str]:
    """Names of the parameters whose gradient is zero everywhere; those that have none (held, frozen) are left out."""
    given = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    local = [value.to_local() if isinstance(value, DTensor) else value for value in given.values()]
    if not local:
        return []
    norms = torch.stack(torch._foreach_norm(local, float("inf"))).tolist()
    return [name for name, norm in zip(given, norms, strict=True) if norm == 0.0]
