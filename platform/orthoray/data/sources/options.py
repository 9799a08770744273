"""Options of the adapters, as a card's ``adapter`` gives them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from orthoray.config import StrictModel
from orthoray.errors import nearest

OaiVisit = Literal["V00", "V01", "V02", "V03", "V04", "V05", "V06", "V08", "V10"]


class OaiOptions(StrictModel):
    """Osteoarthritis Initiative. Tables: ``films``, ``knees``, ``outcomes``, ``persons``, ``readings``."""

    name: Literal["oai"]
    tables: str = Field(default="tables", description="Folder below the source with the tables (ASCII, SAS or NDA).")
    readprj: int = Field(default=15, description="Reading project whose KL grades are taken; 15 is the main one.")
    visits: list[OaiVisit] = Field(default=["V00", "V01", "V03", "V05", "V06", "V08", "V10"], min_length=1)
    acquisitions: list[str] = Field(
        default=["Bilateral PA Fixed Flexion Knee"],
        min_length=1,
        description="Series descriptions that are wanted, without _LEFT or _RIGHT; all others are excluded.",
    )
    confirmed: list[int] = Field(
        default=[3], min_length=1, description="Codes of KRPCF that prove a replacement; 3 = adjudicated, confirmed."
    )
    partial: bool = Field(default=False, description="Count partial replacements (KTLPR 2) as events.")
    horizons_years: list[int] = Field(default=[1, 2, 4, 5, 9], description="Columns tkr_<k>y: replaced within k years.")
    match_years: int = Field(default=9, ge=1, description="Horizon of the matched cohort (Leung 2020: 9 years).")
    match_age: float = Field(default=5.0, ge=0, description="Largest difference of age in a matched pair, years.")
    match_bmi: float = Field(default=0.1, ge=0, description="Largest relative difference of body mass index in a pair.")


class MostOptions(StrictModel):
    """Multicenter Osteoarthritis Study. Tables: ``films``, ``knees``."""

    name: Literal["most"]
    tables: str = "tables"
    path: str = Field(
        default=r"(?:.*/)?(?P<patient>M[A-Z]\d{5})[^/]*/V(?P<visit>\d)[^/]*/(?:.*/)?(?P<view>[A-Z]+\d*)/[^/]+",
        description="Regular expression of an image's path with the groups patient, visit and view.",
    )
    views: list[str] = Field(default=["PA10"], min_length=1, description="Views that are wanted; others are excluded.")
    kl_1_9: Literal["none", "1", "2"] = Field(
        default="none", description="What the code 1.9 (between 1 and 2) becomes."
    )

    @field_validator("path")
    @classmethod
    def _groups(cls, value: str) -> str:
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        if not {"patient", "visit", "view"} <= set(groups):
            raise ValueError("the groups patient, visit and view are needed")
        return value


FASTMRI_FINDINGS: dict[str, list[str]] = {
    "acl": ["Ligament - ACL High Grade Sprain", "Ligament - ACL Low Grade sprain"],
    "pcl": ["Ligament - PCL High Grade", "Ligament - PCL Low-Mod grade sprain"],
    "mcl": ["Ligament - MCL High Grade sprain", "Ligament - MCL Low-Mod Grade Sprain"],
    "lcl": ["LCL Complex - Low-Mod Grade Sprain", "LCL Complex- High Grade Sprain"],
    "meniscus": ["Meniscus Tear", "Displaced Meniscal Tissue"],
    "cartilage": ["Cartilage - Full Thickness loss/defect", "Cartilage - Partial Thickness loss/defect"],
    "bone": ["Bone-Fracture/Contusion/dislocation", "Bone- Subchondral edema"],
    "retinaculum": ["Patellar Retinaculum - High grade sprain"],
    "effusion": ["Joint Effusion"],
}


FASTMRI_LABELS = frozenset(
    {label for labels in FASTMRI_FINDINGS.values() for label in labels}
    | {"Bone - Lesion", "Joint Bodies", "Muscle Strain", "Periarticular cysts", "Soft Tissue Lesion", "artifact"}
)
"""The 22 labels of fastMRI+ for the knee, without the blank that one of them ends in."""


class FastmriOptions(StrictModel):
    """fastMRI knee HDF5 with the findings of fastMRI+. Tables: ``volumes``, ``findings``."""

    name: Literal["fastmri"]
    tables: str = Field(default="tables", description="Folder with knee.csv and knee_file_list.csv of fastMRI+.")
    height: int = Field(default=320, ge=1, description="Rows of a slice, where the volume itself cannot be asked.")
    findings: dict[str, list[str]] = Field(
        default=FASTMRI_FINDINGS, min_length=1, description="Column → labels of fastMRI+ that make it 1."
    )

    @field_validator("findings")
    @classmethod
    def _known(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        unknown = sorted({label for labels in value.values() for label in labels} - FASTMRI_LABELS)
        if unknown:
            raise ValueError(f"fastMRI+ has no label '{unknown[0]}'.{nearest(unknown[0], FASTMRI_LABELS)}")
        return value


class MrnetOptions(StrictModel):
    """MRNet-v1.0. Tables: ``exams`` (one row per file), ``labels`` (one row per exam)."""

    name: Literal["mrnet"]


class Reference(StrictModel):
    """A better truth than readers, such as arthroscopy: where its cell is filled it overrules them."""

    column: str
    table: str = Field(
        default="", description="Table below the source with the same key columns; default: the readers'."
    )
    source: str = Field(default="arthroscopy", min_length=1, description="What ``label_source`` then says.")


class Finding(StrictModel):
    """How one label is made from what readers wrote."""

    raters: list[str] = Field(default=[], description="Columns of the readers.")
    adjudicator: str = Field(default="", description="Column that decides where the readers' votes are tied.")
    reference: Reference | None = None
    values: dict[str, int] = Field(default={}, description="Cell → class, where cells are not 0, 1, 2 …")
    min_raters: int = Field(default=1, ge=1, description="Fewer readers make no label.")

    @model_validator(mode="after")
    def _some(self) -> Finding:
        if not self.raters and self.reference is None:
            raise ValueError("give raters, reference or both")
        return self


class HospitalOptions(StrictModel):
    """Labels of a hospital by several readers. One table per finding, named as in ``findings``."""

    name: Literal["hospital"]
    table: str = Field(description="Table below the source: one row per sample, or per sample and reader.")
    key: list[str] = Field(min_length=1, description="Columns that say which sample a row is about.")
    rater: str = Field(default="", description="Column of the reader, where every reader has rows of their own.")
    missing: list[str] = Field(default=["", "NA", "N/A", "n/a", "."], description="Cells that mean: not judged.")
    findings: dict[str, Finding] = Field(min_length=1)


AdapterOptions = Annotated[
    OaiOptions | MostOptions | FastmriOptions | MrnetOptions | HospitalOptions, Field(discriminator="name")
]
"""Options of any adapter; ``name`` tells which."""

ADAPTERS = ("oai", "most", "fastmri", "mrnet", "hospital")
"""Names of the adapters."""
