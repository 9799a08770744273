"""Parallelism outside of the model: recomputation, compilation and sharding are put around a network's blocks.

The order is that of torchtitan (arXiv:2410.06511): recompute a block, compile that, then share it out. Networks are not
changed otherwise: tensors keep their names, so that checkpoints know nothing of how they were trained
(`orthoray.pretrain.sharded_state`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from orthoray.models.adapters import blocks_of
from orthoray.models.precision import Precision
from orthoray.pretrain.blocks import compile_blocks, compiler_problem, recompute_blocks
from orthoray.pretrain.parameters import parts_of
from orthoray.pretrain.settings.parallel import ParallelConfig

_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
)
"""Option that sends rank 0's buffers to all before a forward pass, by its newer or older name."""


@dataclass(frozen=True)
class Parallel:
    """A resolved `ParallelConfig`.

    Attributes:
        strategy: ``one`` = this process alone, ``ddp`` or ``fsdp2``.
        workers: number of processes.
        every: one of so many blocks is recomputed; 0 = none.
        compiled: blocks are compiled.
        reshard: see `ParallelConfig`.
        device: where this worker computes.
        dtype: type of matrix products.
        reason: all this in words.
        backend: compiler of `torch.compile`.
    """

    strategy: Literal["one", "ddp", "fsdp2"]
    workers: int
    every: int
    compiled: bool
    reshard: bool
    device: torch.device
    dtype: torch.dtype
    reason: str
    backend: str = "inductor"


def resolve_parallel(config: ParallelConfig, device: torch.device, precision: Precision) -> Parallel:
    """Decide what can be done here, in the process group if there is one; `reason` is for the log."""
    workers = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 0
    strategy: Literal["one", "ddp", "fsdp2"] = config.strategy
    if workers == 0:
        strategy = "one"
    every = config.recompute if isinstance(config.recompute, int) else int(config.recompute == "full")
    problem = compiler_problem(device.type) if config.compile else None
    words = [
        "one process" if strategy == "one" else f"{strategy} over {workers} worker(s)",
        {0: "nothing recomputed", 1: "every block recomputed"}.get(every, f"one of {every} blocks recomputed"),
        "not compiled" if not config.compile else "blocks compiled",
    ]
    if problem:
        words[-1] = f"not compiled although asked for, since {problem}"
    compiled = config.compile and problem is None
    dtype = precision.dtype
    return Parallel(strategy, max(1, workers), every, compiled, config.reshard, device, dtype, ", ".join(words))


def parallelise(network: nn.Module, plan: Parallel, learns: bool = True) -> nn.Module:
    """Put ``plan`` around a network on ``plan.device``, and make it equal on all workers to that of rank 0.

    Args:
        network: has a child ``backbone`` made of blocks (`blocks_of`), and heads as other children, which are called
            within the network's own ``forward``. Call the network, never its parts.
        plan: see `resolve_parallel`.
        learns: False for a teacher: nothing is recomputed, no gradient is exchanged, and a sharded teacher is shards
            again after every forward pass.

    Returns:
        What to call: the network itself, or a `DistributedDataParallel` around it (see `bare`). Under fsdp2 the
        network's parameters are other objects than before: make the optimiser afterwards.
    """
    blocks = blocks_of(network.backbone)  # type: ignore[arg-type]
    if learns and plan.every:
        recompute_blocks(blocks, plan.every)
    if plan.compiled:
        compile_blocks(blocks, plan.backend)
    if plan.workers > 1:
        _copy_from_rank_0(network)
    if plan.strategy == "fsdp2":
        _shard(network, blocks, plan, learns)
    elif plan.strategy == "ddp" and learns:
        ids = [plan.device.index] if plan.device.type == "cuda" else None
        options: Any = {_BUFFERS: any(isinstance(module, _BatchNorm) for module in network.modules())}
        return DistributedDataParallel(
            network, device_ids=ids, gradient_as_bucket_view=True, init_sync=False, **options
        )
    return network


def bare(network: nn.Module) -> nn.Module:
    """The network within a `DistributedDataParallel`, or the network itself."""
    return network.module if isinstance(network, DistributedDataParallel) else network


@contextmanager
def exchanging(network: nn.Module, on: bool) -> Iterator[None]:
    """Forward and backward passes of ``network`` in here exchange gradients between workers only if ``on``."""
    if isinstance(network, DistributedDataParallel) and not on:
        with network.no_sync():
            yield
        return
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(on)
    try:
        yield
    finally:
        if isinstance(network, FSDPModule):
            network.set_requires_gradient_sync(True)


@contextmanager
def gathered(part: nn.Module) -> Iterator[None]:
    """In here the parameters of ``part`` (a head, say) are whole also under fsdp2, outside of its forward pass.

    Needed for a teacher's head alone; a student's stays whole from its forward pass to its backward pass.
    """
    sharded = isinstance(part, FSDPModule)
    if sharded:
        part.unshard()  # type: ignore[operator]
    try:
        yield
    finally:
        if sharded:
            part.reshard()  # type: ignore[operator]


def _shard(network: nn.Module, blocks: list[nn.Module], plan: Parallel, learns: bool) -> None:
    """Every block and every head is gathered on its own, the rest (patch embedding, tokens, last norm) together.

    Blocks are gathered in ``plan.dtype``, gradients are added in float32, heads are float32 throughout, as they are
    without sharding. Inputs are not cast, autocast does that.
    """
    mesh: Any = init_device_mesh(plan.device.type, (plan.workers,))
    whole = MixedPrecisionPolicy(cast_forward_inputs=False)
    low = whole
    if plan.dtype != torch.float32:
        low = MixedPrecisionPolicy(param_dtype=plan.dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=low, reshard_after_forward=plan.reshard or not learns)
    for name, part in parts_of(network).items():
        if name != "backbone":
            fully_shard(part, mesh=mesh, mp_policy=whole, reshard_after_forward=not learns)
    fully_shard(network, mesh=mesh, mp_policy=low, reshard_after_forward=not learns)


@torch.no_grad()
def _copy_from_rank_0(network: nn.Module) -> None:
    for tensor in [*network.parameters(), *network.buffers()]:
        dist.broadcast(tensor, src=0)
