"""Backbones by name: an architecture and where its weights are, or a checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from orthoray.config import StrictModel, parse_config, project_files, read_yaml
from orthoray.errors import InputError, nearest

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
LISTS = "jobs/configs/candidates"


class Candidate(StrictModel):
    """A backbone: an architecture of timm with weights, or a checkpoint folder of a pretraining run."""

    name: str = Field(pattern=NAME)
    method: str = Field(default="", description="How it was pretrained, for tables: DINO, MAE …")
    backbone: str = Field(default="", description="timm's name of the architecture.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="Further options of the architecture.")
    weights: str | None = Field(default=None, description="File, folder or URL on any filesystem, or timm:TAG.")
    published: str = Field(default="", description="Where its weights are to be had, for people.")
    checkpoint: str | None = Field(default=None, description="Checkpoint folder, instead of backbone and weights.")
    img_size: int = Field(default=224, ge=16, le=2048)
    mean: tuple[float, float, float] | None = Field(default=None, description="Of the pixels it was trained on.")
    std: tuple[float, float, float] | None = None
    imagenet_top1: float | None = Field(
        default=None, ge=0.0, le=100.0, description="Published accuracy in percent, for the ImageNet row."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Candidate:
        if bool(self.backbone) == bool(self.checkpoint):
            raise ValueError(
                f"candidate '{self.name}' needs either `backbone` (a name of timm) or `checkpoint` (a folder)"
            )
        if self.checkpoint and (self.weights or self.kwargs or self.mean or self.std):
            raise ValueError(
                f"candidate '{self.name}': weights, kwargs, mean and std stand in the checkpoint's own card"
            )
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"candidate '{self.name}': give both mean and std, or neither")
        return self


class CandidateList(StrictModel):
    """A file of candidates."""

    candidates: list[Candidate] = Field(min_length=1)


def listed(candidates: list[Candidate] | str) -> list[Candidate]:
    """Candidates as they are given, or of the file that is named.

    Raises:
        InputError: no such file, or two candidates of one name.
    """
    found = candidates
    if isinstance(found, str):
        file = _list_file(found)
        found = parse_config(CandidateList, read_yaml(file), str(file)).candidates
    names = [candidate.name for candidate in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"candidates: {', '.join(twice)} stands there twice; give each a name of its own.")
    return list(found)


def _list_file(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    known = project_files(LISTS)
    if name in known:
        return known[name]
    raise InputError(
        f"candidates={name}: neither a file nor a list in {LISTS}.{nearest(name, known)} "
        f"Lists: {', '.join(known) or 'none'}."
    )
