"""Head, teacher and losses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orthoray.config import StrictModel

Centring = Literal["centre", "sinkhorn_knopp"]


class HeadConfig(StrictModel):
    """An MLP of ``layers`` linear layers, an L2-normalised bottleneck, and unit-length prototypes."""

    prototypes: int = Field(default=65536, ge=2, le=131072)
    hidden_dim: int = Field(default=2048, ge=8)
    bottleneck_dim: int = Field(default=256, ge=4)
    layers: int = Field(default=3, ge=1, le=6)
    batch_norm: bool = Field(default=False, description="Batch normalisation in the MLP; steadies small batches.")


class TeacherConfig(StrictModel):
    """EMA teacher. Temperatures: linear from start to end over ``warmup`` (share of the run)."""

    momentum: tuple[float, float] = (0.996, 1.0)
    temperature: tuple[float, float] = (0.04, 0.07)
    temperature_warmup: float = Field(default=0.3, ge=0.0, le=1.0)
    student_temperature: float = Field(default=0.1, gt=0.0)
    centring: Centring = "centre"
    centre_momentum: float = Field(default=0.9, ge=0.0, le=1.0)
