"""Settings of features that studies and rankings share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orthoray.config import Auto, StrictModel
from orthoray.features import Pooling, Precision


class FeatureSettings(StrictModel):
    """How features are made. ``store``: folder of the feature store (auto = ``features`` in the run's folder)."""

    store: str | Auto = "auto"
    pooling: Pooling = "cls+mean"
    resolution: Annotated[int, Field(ge=16, le=2048)] | Auto = "auto"
    precision: Precision = "fp32"
    batch_size: int = Field(default=64, ge=1)
