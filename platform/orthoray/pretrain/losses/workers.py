"""What losses share between the workers of the default process group; without one, this process is the only worker.

All workers must call the same functions in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def world() -> int:
    """Number of workers."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this worker, from 0."""
    return dist.get_rank() if world() > 1 else 0


def sum_over_workers(value: torch.Tensor) -> torch.Tensor:
    """Replace ``value`` (any shape, the same everywhere, no gradient) by its sum over the workers, and return it."""
    if world() > 1:
        dist.all_reduce(value)
    return value


def max_over_workers(value: torch.Tensor) -> torch.Tensor:
    """Replace ``value`` by its elementwise maximum over the workers, and return it."""
    if world() > 1:
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def mean_over_workers(value: torch.Tensor) -> torch.Tensor:
    """Replace ``value`` by its mean over the workers, and return it."""
    return sum_over_workers(value).div_(world())


def as_rank_0(flags: list[bool], device: torch.device) -> list[bool]:
    """Rank 0's ``flags``, on every worker; as many everywhere."""
    if world() == 1:
        return flags
    found = torch.tensor(flags, dtype=torch.uint8, device=device)
    dist.broadcast(found, src=0)
    return [bool(flag) for flag in found.tolist()]


def from_rank_0(value: Any) -> Any:
    """Rank 0's ``value``, which can be pickled, on every worker."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows of all workers, in the order of their ranks, with gradient.

    The gradient of a worker's rows is the sum of what the losses of *all* workers give to them. So, if every worker's
    loss is a mean over its own rows and gradients of parameters are averaged over the workers, as
    `DistributedDataParallel` does, they are those of one process with all rows.

    Args:
        rows: (B, …), B the same on all workers.

    Returns:
        (workers · B, …).
    """
    if world() == 1:
        return rows
    gathered: torch.Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        gathered = rows.new_empty(world() * len(rows), *rows.shape[1:])
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        own = gradient.new_empty(len(gradient) // world(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own
