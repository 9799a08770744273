"""What a run reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orthoray.config import StrictModel


class DataSource(StrictModel):
    """One dataset of the mixture. ``weight``: how often each of its images appears in an epoch (0.5 = every other)."""

    uri: str
    weight: float = Field(default=1.0, gt=0.0, le=100.0)
    modality: Literal["XR", "MR"] | None = Field(default=None, description="Take only images of this modality.")


class DataConfig(StrictModel):
    """What is read, and how well it is shuffled."""

    datasets: list[DataSource] = Field(min_length=1)
    shuffle_window: int = Field(default=4096, ge=1, description="Images that are shuffled together within an epoch.")
