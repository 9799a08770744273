"""Where a run computes and what it keeps."""

from __future__ import annotations

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
    gpu: bool | Auto = "auto"
    cpus_per_worker: Annotated[float, Field(gt=0.0)] | Auto = Field(
        default="auto", description="Reserved with Ray; leave some for the feed."
    )
    threads: int | Auto = "auto"
    precision: PrecisionName = "auto"
