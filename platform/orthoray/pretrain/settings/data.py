"""What a run reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orthoray.config import StrictModel

Modality = Literal["XR", "MR"]
MODALITIES: tuple[Modality, ...] = ("XR", "MR")
"""In the order of their codes (0, 1) in batches."""

Damaged = Literal["refuse", "replace"]

Weight = Annotated[float, Field(ge=0.0, le=100.0)]


class DataSource(StrictModel):
    """One dataset of the mixture. ``weight``: how often each of its images appears in an epoch (0.5 = every other)."""

    uri: str
    weight: float = Field(default=1.0, gt=0.0, le=100.0)
    modality: Modality | None = Field(default=None, description="Take only images of this modality.")


class Weights(StrictModel):
    """How often images appear in an epoch by what they are; an image's weight is the product of all that apply.

    1 where nothing is said; 0 leaves out. The key ``""`` means images whose site is unknown.
    """

    modality: dict[Modality, Weight] = Field(default_factory=dict)
    site: dict[str, Weight] = Field(default_factory=dict)


class DataConfig(StrictModel):
    """What is read, and how well it is shuffled."""

    datasets: list[DataSource] = Field(min_length=1)
    weights: Weights = Weights()
    shuffle_window: int = Field(default=4096, ge=1, description="Images that are shuffled together within an epoch.")
    damaged: Damaged = Field(
        default="refuse",
        description="An image that cannot be read ends the run, or its place goes to the next readable one, counted.",
    )
