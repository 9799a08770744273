"""How a step is spread over devices and fitted into memory. None of it changes what is learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orthoray.config import StrictModel

Strategy = Literal["ddp", "fsdp2"]


class ParallelConfig(StrictModel):
    """Parallelism, recomputation and compilation.

    ``ddp``: every worker holds everything. ``fsdp2``: parameters, gradients and moments are shared out, the teacher's
    too; for backbones that do not fit otherwise.
    """

    strategy: Strategy = "ddp"
    reshard: bool = Field(
        default=True, description="fsdp2: drop gathered blocks after the forward pass; false is faster, takes more."
    )
    recompute: Literal["none", "full"] | Annotated[int, Field(ge=2)] = Field(
        default="none",
        description="Blocks whose activations are computed again in the backward pass: all, or one of so many.",
    )
    compile: bool = Field(default=False, description="Compile block by block; runs uncompiled where that cannot be.")
    accumulate: int = Field(default=1, ge=1, description="Parts that a worker's batch goes through the student in.")
