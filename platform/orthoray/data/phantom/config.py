"""The knobs of the phantom cohort."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from orthoray.config import StrictModel
from orthoray.errors import nearest

JOINT_FINDINGS: dict[str, tuple[str, ...]] = {
    "knee": ("acl", "pcl", "mcl", "lcl", "meniscus", "pd", "mpfl", "bone", "cartilage"),
    "hip": ("labrum",),
    "shoulder": ("supraspinatus",),
    "ankle": ("atfl", "cfl"),
}
"""Joint → the findings of its MRI, named as the columns of labels.csv."""

SIGNS = ("kl", *(name for names in JOINT_FINDINGS.values() for name in names))
Joint = Literal["knee", "hip", "shoulder", "ankle"]
Modality = Literal["XR", "MR"]


class PhantomConfig(StrictModel):
    """What is drawn, how much of it, and how hard it is to see. Shares are met exactly (rounded to whole patients)."""

    patients: int = Field(default=160, ge=1, le=99_999)
    seed: int = Field(default=0, ge=0)
    sites: int = Field(default=3, ge=1, le=8, description="Sites, each with its own maker, grain, noise and contrast.")
    modalities: tuple[Modality, ...] = ("XR", "MR")
    joints: tuple[Joint, ...] = ("knee", "hip", "shoulder", "ankle")
    signal: float = Field(
        default=1.0, ge=0.0, le=2.0, description="Strength of all signs of disease; 0 = labels without any sign."
    )
    signals: dict[str, float] = Field(
        default_factory=dict, description="Strength of single signs (kl, acl, …), multiplied with signal."
    )
    confounder: float = Field(
        default=0.0, ge=0.0, le=1.0, description="How strongly the site goes with disease; 0 = not at all."
    )
    noise: float = Field(default=1.0, ge=0.0, le=5.0)
    bilateral: float = Field(default=0.9, ge=0.0, le=1.0, description="Share of patients with both knees on one film.")
    follow_up: float = Field(
        default=0.25, ge=0.0, le=1.0, description="Share of patients with films at 48 and 96 months too."
    )
    knee_mri: float = Field(default=0.55, ge=0.0, le=1.0, description="Share of patients with an MRI of one knee.")
    other_joints: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Share with an MRI of the hip; the same of the shoulder and the ankle."
    )
    tkr_rate: float = Field(
        default=1.0, ge=0.0, le=4.0, description="Factor on the rate of knee replacement by KL grade."
    )
    lesion_rate: float = Field(default=0.4, gt=0.0, lt=1.0, description="Share of MRI with a given finding.")
    film_height: int = Field(default=220, ge=120, le=4096)
    film_width: int = Field(default=400, ge=200, le=8192, description="Of a bilateral film; a single knee has half.")
    mr_size: int = Field(default=96, ge=64, le=1024)
    slices: int = Field(
        default=4, ge=3, le=64, description="Slices of each of an MRI's three stacks; two would miss the cruciates."
    )
    monochrome1: int = Field(default=12, ge=0, description="Films that are stored inverted (MONOCHROME1).")
    unreadable: int = Field(default=1, ge=0, description="Cut-off files put among the others.")
    localisers: int = Field(default=2, ge=0, description="Planning images put among the others.")
    duplicates: int = Field(default=0, ge=0, description="Films put there twice under another identifier.")

    @field_validator("signals")
    @classmethod
    def _known_signs(cls, value: dict[str, float]) -> dict[str, float]:
        for name, strength in value.items():
            if name not in SIGNS:
                raise ValueError(f"unknown sign '{name}'.{nearest(name, SIGNS)} Signs: {', '.join(SIGNS)}.")
            if not 0.0 <= strength <= 2.0:
                raise ValueError(f"'{name}': a strength lies between 0 and 2.")
        return value

    @field_validator("modalities", "joints")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("give at least one, and none twice.")
        return value

    def strength(self, sign: str) -> float:
        """Strength of one sign: ``signal`` times its own factor."""
        return self.signal * self.signals.get(sign, 1.0)
