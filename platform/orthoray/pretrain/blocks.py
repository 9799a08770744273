"""What is put around each block of a backbone: recomputation in the backward pass, and compilation.

Only a block's ``forward`` is replaced, so that modules, names and hooks stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

VARIANTS = 4
"""Graphs of one block: two sizes of crops with gradients and one without, and one to spare."""


def recompute_blocks(blocks: list[nn.Module], every: int) -> None:
    """Keep of every ``every``-th block (the first, then counting) only its input; compute it again for the gradient.

    Random numbers (stochastic depth) are drawn the same in both passes.
    """
    for block in blocks[::every]:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compile_blocks(blocks: list[nn.Module], backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile each block for each size of crops.

    Blocks of one structure share their graphs. A stochastic depth that differs from block to block is a structure of
    its own in each; give all the same rate to compile once.
    """
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, VARIANTS * len(blocks))
    for block in blocks:
        block.forward = torch.compile(block.forward, backend=backend, dynamic=False)


@cache
def compiler_problem(device: str) -> str | None:
    """Why nothing can be compiled for this type of device, found by compiling a small function; None if it can."""
    try:
        torch.compile(_probe, dynamic=False)(torch.ones(4, device=device))
    except Exception as error:  # whatever a compiler, its driver or its absence raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"the compiler for {device} fails ({lines[0] if lines else type(error).__name__})"
    return None


def _probe(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) + 1.0
