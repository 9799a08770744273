"""What a run reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from orthoray.config import StrictModel
from orthoray.errors import nearest
from orthoray.imaging.vocabulary import BODY_PARTS

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
    body_parts: list[str] | None = Field(
        default=None, min_length=1, description="Take only images of these body parts, by the dataset's index."
    )

    @field_validator("body_parts")
    @classmethod
    def _known(cls, names: list[str] | None) -> list[str] | None:
        """In a fixed order, so that another order is not another run."""
        known = sorted(set(BODY_PARTS.terms.values()))
        for name in names or []:
            if name not in known:
                near = nearest(name, known)
                raise ValueError(f"unknown body part '{name}'.{near} There is: {', '.join(known)}")
        return None if names is None else sorted(set(names))


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
