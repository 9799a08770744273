"""Configuration of `orthoray rank`: which backbones, on which labelled datasets, by which estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator, model_validator

from orthoray.config import Auto, StrictModel
from orthoray.features.candidate_settings import NAME, Candidate, listed
from orthoray.features.settings import FeatureSettings

Estimator = Literal["logme", "sfda", "ped_sfda", "ped_logme", "nleep", "parc", "itm", "ncti", "hscore", "knn", "probe"]
PUBLISHED: tuple[Estimator, ...] = ("logme", "sfda", "ped_sfda", "ped_logme", "nleep", "parc", "itm", "ncti")
SANITY: tuple[Estimator, ...] = ("hscore", "knn", "probe")
"""Columns that every leaderboard has, whatever is asked for."""


class Target(StrictModel):
    """A labelled dataset to rank for. Where the dataset has a split by its authors, its training part counts."""

    dataset: str
    task: str


class RankConfig(StrictModel):
    """A ranking of backbones by the transferability of their frozen features.

    ``results``: folders of studies whose fine-tuned (or, without, linear-probe) results the estimators are held
    against; models there are matched by name.
    """

    name: str = Field(default="rank", pattern=NAME)
    out: str
    candidates: list[Candidate] | str = Field(description="A list, or the name of a file of them (paper, paper_tiny).")
    targets: list[Target] = Field(min_length=1)
    generic: str | Auto = Field(
        default="auto", description="Dataset for PED's generic features; auto = all images of all targets together."
    )
    estimators: list[Estimator] = Field(default=[*PUBLISHED], min_length=1)
    primary: Estimator = Field(default="logme", description="The estimator that the summary's order follows.")
    features: FeatureSettings = FeatureSettings()
    max_samples: int = Field(default=5000, ge=10, description="Of a target; above, a stratified sample by patients.")
    subsets: int = Field(default=5, ge=0, le=100, description="Stratified subsets that stability is measured on.")
    subset_share: float = Field(default=0.8, gt=0.0, lt=1.0)
    bootstraps: int = Field(default=100, ge=0, le=10_000, description="Resamples of the patients for the robust rank.")
    results: list[str] = Field(default=[])
    allow_random: bool = Field(default=False, description="Candidates without weights run with random ones, marked.")
    cpus: float = Field(default=1.0, gt=0.0, description="Processors of one (backbone, target).")
    seed: int = Field(default=0, ge=0)

    @field_validator("estimators")
    @classmethod
    def _once(cls, value: list[Estimator]) -> list[Estimator]:
        if len(set(value)) != len(value):
            raise ValueError(f"estimators names something twice: {value}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> RankConfig:
        if self.primary not in self.columns():
            raise ValueError(f"primary '{self.primary}' is not among estimators: {', '.join(self.columns())}")
        pairs = [(target.dataset, target.task) for target in self.targets]
        if len(set(pairs)) != len(pairs):
            raise ValueError("targets names a task of a dataset twice")
        return self

    def columns(self) -> list[Estimator]:
        """What is computed: what is asked for, then the sanity columns."""
        return [*self.estimators, *(name for name in SANITY if name not in self.estimators)]


def candidates_of(config: RankConfig) -> list[Candidate]:
    """The candidates, from the configuration or the file it names; see `listed`."""
    return listed(config.candidates)


def uses_ped(columns: Sequence[str]) -> bool:
    """Does any of the estimators need generic images?"""
    return any(name.startswith("ped_") for name in columns)
