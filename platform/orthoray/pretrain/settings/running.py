"""Where a run computes and what it keeps."""

from __future__ import annotations

from math import lcm
from typing import Annotated

from pydantic import Field

from orthoray.config import Auto, StrictModel
from orthoray.models.precision import PrecisionName


class CheckpointConfig(StrictModel):
    """When the state is saved: after so many steps or seconds, whichever is first; the newest ``keep`` are kept."""

    every_steps: int = Field(default=500, ge=1)
    every_seconds: float = Field(default=120.0, gt=0.0)
    keep: int = Field(default=2, ge=1)


class ResourcesConfig(StrictModel):
    """Where training runs. auto: a GPU where there is one; else workers share the processors of the machine."""

    workers: Annotated[int, Field(ge=1)] | Auto = "auto"
    least_workers: int | None = Field(
        default=None,
        ge=1,
        description="With fewer nodes go on with as few as so many workers, and with more again later; none = wait.",
    )
    gpu: bool | Auto = "auto"
    cpus_per_worker: Annotated[float, Field(gt=0.0)] | Auto = Field(
        default="auto", description="Reserved with Ray; leave some for the feed."
    )
    threads: int | Auto = "auto"
    precision: PrecisionName = "auto"

    def require_even_shares(self, batch: int) -> None:
        """ValueError unless every number of workers that may come about shares a batch of ``batch`` images evenly."""
        if self.workers == "auto":
            return
        least = self.workers if self.least_workers is None else self.least_workers
        if least > self.workers:
            raise ValueError(f"resources.least_workers {least} is more than resources.workers {self.workers}")
        uneven = [count for count in range(least, self.workers + 1) if batch % count]
        if uneven and self.least_workers is None:
            raise ValueError(f"batch_size {batch} cannot be shared evenly by {self.workers} workers")
        if uneven:
            step = lcm(*range(least, self.workers + 1))
            raise ValueError(
                f"batch_size {batch} cannot be shared evenly by {uneven[0]} workers, which may come about between "
                f"resources.least_workers and resources.workers; give a multiple of {step}"
            )
