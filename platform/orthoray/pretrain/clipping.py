"""Gradient clipping part by part: a head that explodes does not hold the backbone still, nor the other way round."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from orthoray.pretrain.parameters import parts_of


@torch.no_grad()
def clip_gradients(network: nn.Module, limit: float) -> dict[str, torch.Tensor]:
    """Scale the gradients of the backbone and of each head to a norm of at most ``limit``, each on its own.

    ``g ← g · min(1, limit / (‖g‖₂ + 1e-6))`` over all gradients of a part; parameters of the network itself form the
    part ``network``. Sharded gradients (FSDP2) give the norm over all workers, in one all-reduce for all parts.

    Returns:
        Norm before clipping of each part that has gradients: scalar tensors on the device, the same on every worker.
        Nothing waits for the device. A norm that is not finite makes all gradients of its part so.
    """
    gradients = {name: _local(parameters) for name, parameters in _parts(network).items()}
    gradients = {name: found for name, found in gradients.items() if found[0]}
    if not gradients:
        return {}
    squares = [torch.stack(torch._foreach_norm(found)).square().sum() for found, _ in gradients.values()]
    total = torch.stack(squares)
    mesh = next((mesh for _, mesh in gradients.values() if mesh is not None), None)
    if mesh is not None:
        dist.all_reduce(total, group=mesh.get_group())
    norms = total.sqrt()
    for norm, (found, _) in zip(norms, gradients.values(), strict=True):
        torch._foreach_mul_(found, (limit / (norm + 1e-6)).clamp(max=1.0))
    return dict(zip(gradients, norms, strict=True))


def _parts(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    parts = {name: list(part.parameters()) for name, part in parts_of(network).items()}
    own = list(network.parameters(recurse=False))
    return {**parts, "network": own} if own else parts


def _local(parameters: list[nn.Parameter]) -> tuple[list[torch.Tensor], dist.device_mesh.DeviceMesh | None]:
    """What this worker holds of the gradients, and the mesh that they are sharded over."""
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    mesh = next((gradient.device_mesh for gradient in found if isinstance(gradient, DTensor)), None)
    return [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in found], mesh
