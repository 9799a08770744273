"""Which images people look at: a stratified random sample of what was accepted and of what was rejected."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

import pandas as pd
import pyarrow as pa
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from orthoray.config import StrictModel
from orthoray.data.audit.tables import index_table, rejected_ids
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError

FORMAT = "orthoray-audit-1"
"""Version of samples, sheets and exports; part of every sheet's hash."""

Arm = Literal["accepted", "rejected"]
NOTHING = ("", "none", "unknown", "nan")


class Parameters(StrictModel):
    """What, together with a dataset, determines a sheet.

    ``only``: a random sample of accepted and rejected images, or images that ingest listed for review.
    """

    n: Annotated[int, Field(ge=1, description="accepted images to look at")] = 300
    rejected: Annotated[int, Field(ge=0, description="rejected images to look at")] = 60
    seed: int = 0
    double_read: Annotated[float, Field(ge=0, le=1, description="share of the tiles that two people read")] = 0.15
    blind: bool = False
    only: Literal["sample", "review"] = "sample"

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without ``only`` if it is the default: sheets from before it was there keep their hash."""
        fields: dict[str, Any] = plain(self)
        return fields if self.only != "sample" else {k: value for k, value in fields.items() if k != "only"}


@dataclass(frozen=True)
class Tile:
    """One image of a sheet; ``second``: it is among those that two people read."""

    image_id: str
    arm: Arm
    stratum: str
    second: bool


@dataclass(frozen=True)
class Stratum:
    """Images of one arm that are alike: how many there are, and how many of them are in the sample."""

    arm: Arm
    name: str
    population: int
    sampled: int


@dataclass(frozen=True)
class Plan:
    """A sample in the order of its sheet.

    ``hidden`` counts the excluded rows that cannot be judged by looking (see `showable`); they are in no stratum.
    """

    dataset_id: str
    parameters: Parameters
    strata: tuple[Stratum, ...]
    tiles: tuple[Tile, ...]
    hidden: int = field(default=0, compare=False)

    @cached_property
    def sheet(self) -> str:
        """SHA-256 (64 hexadecimal digits) over dataset, parameters and tiles: the name of the sheet."""
        head = [FORMAT, self.dataset_id, self.parameters.model_dump_json()]
        lines = [f"{tile.image_id}\t{tile.arm}\t{tile.stratum}\t{int(tile.second)}" for tile in self.tiles]
        return hashlib.sha256("\n".join([*head, *lines]).encode()).hexdigest()

    def of(self, arm: Arm) -> list[Stratum]:
        """The strata of one arm by name."""
        return [stratum for stratum in self.strata if stratum.arm == arm]

    def size(self, arm: Arm) -> tuple[int, int]:
        """(images in the sample, images there are) of one arm."""
        return sum(s.sampled for s in self.of(arm)), sum(s.population for s in self.of(arm))


def make_plan(dataset: Dataset, parameters: Parameters) -> Plan:
    """Draw the sample.

    Within a stratum images are taken in the order of a hash over seed and image_id, so the sample depends neither on
    the order of rows nor on a library's random numbers, and a larger sample of the same seed contains the smaller one
    up to the rounding of strata.

    Raises:
        InputError: the dataset holds no images or its manifest no dataset_id.
    """
    dataset_id = dataset_name(dataset)
    index = strata_columns(index_table(dataset))
    if index.empty:
        raise InputError(f"{dataset.uri}: the dataset holds no images, so there is nothing to look at.")
    excluded = dataset.excluded()
    shown = showable(excluded, rejected_ids(dataset), set(index["image_id"]))
    arms: dict[Arm, tuple[pd.Series, int]] = {
        "accepted": (pd.Series(accepted_strata(index).to_numpy(), index["image_id"]), parameters.n),
        "rejected": (pd.Series(rejected_strata(shown).to_numpy(), shown["image_id"]), parameters.rejected),
    }
    drawn = [draw(arm, strata, wanted, parameters) for arm, (strata, wanted) in arms.items()]
    tiles = _mixed((tile for _, part in drawn for tile in part), parameters.seed)
    strata = tuple(stratum for part, _ in drawn for stratum in part)
    return Plan(dataset_id, parameters, strata, tiles, len(excluded) - len(shown))


def dataset_name(dataset: Dataset) -> str:
    """The dataset's id; InputError if its manifest has none."""
    found = dataset.manifest.get("dataset_id")
    if not isinstance(found, str) or not found:
        raise InputError(f"{dataset.uri}: manifest.json has no dataset_id. Ingest the dataset again.")
    return found


def draw(
    arm: Arm, strata: pd.Series, wanted: int, parameters: Parameters
) -> tuple[tuple[Stratum, ...], tuple[Tile, ...]]:
    """Share ``wanted`` images among the strata of one arm and draw them.

    Args:
        arm: accepted or rejected.
        strata: stratum by image_id.
        wanted: images to draw; see `allocate`.
        parameters: seed, and the share that two people read.

    Returns:
        The strata by name, and the tiles in the order of their sheet.
    """
    populations = {str(name): int(count) for name, count in strata.value_counts().items()}
    taken = allocate(populations, wanted)
    members = strata.groupby(strata).groups
    chosen = [(image, name) for name in taken for image in _draw(members[name], taken[name], parameters.seed)]
    twice = _share((image for image, _ in chosen), parameters.double_read, parameters.seed)
    tiles = (Tile(image, arm, stratum, image in twice) for image, stratum in chosen)
    named = tuple(Stratum(arm, name, populations[name], taken[name]) for name in sorted(taken))
    return named, _mixed(tiles, parameters.seed)


def strata_columns(index: pa.Table) -> pd.DataFrame:
    """The columns of an index that name an image and its stratum, as text; empty where one is absent."""
    rows = range(index.num_rows)
    return pd.DataFrame(
        {
            name: index[name].to_pandas().fillna("").astype(str) if name in index.column_names else ""
            for name in ("image_id", "modality", "plane", "view", "site")
        },
        index=rows,
    )


def accepted_strata(index: pd.DataFrame) -> pd.Series:
    """Stratum of every row of `strata_columns`: modality, plane or else view, site ("MR sagittal site0")."""
    keys = list(zip(*(index[name] for name in ("modality", "plane", "view", "site")), strict=True))
    names = {key: _stratum(*key) for key in set(keys)}
    return pd.Series([names[key] for key in keys], index.index, dtype=object)


def rejected_strata(excluded: pd.DataFrame) -> pd.Series:
    """Stratum of every row of excluded.parquet: its stage and reason ("quality/blank")."""
    return excluded["stage"].fillna("").astype(str) + "/" + excluded["reason"].fillna("").astype(str)


def showable(excluded: pd.DataFrame, thumbnails: set[str], accepted: set[str]) -> pd.DataFrame:
    """The excluded rows that a person can judge by looking.

    There is a thumbnail, its id means one image only, and the reason lies in the picture: nobody can see in a
    duplicate that there is another one.
    """
    ids = excluded["image_id"]
    seen = ids.isin(thumbnails) & ~ids.isin(accepted) & ~ids.duplicated(keep=False)
    return excluded[seen & (excluded["stage"] != "duplicates")].reset_index(drop=True)


def allocate(populations: Mapping[str, int], wanted: int) -> dict[str, int]:
    """Share a sample among strata in proportion to their size, with at least one from each.

    Args:
        populations: size of each stratum, >= 1.
        wanted: size of the sample; 0 takes none. Fewer than there are strata become one each, more than there are
            images become all.

    Returns:
        Images to take from each stratum; within one of the proportional share wherever "at least one" leaves room.
    """
    if wanted == 0 or not populations:
        return dict.fromkeys(populations, 0)
    total = sum(populations.values())
    wanted = min(max(wanted, len(populations)), total)
    share = {name: wanted * size / total for name, size in populations.items()}
    taken = {name: min(size, max(1, math.floor(share[name]))) for name, size in populations.items()}
    while sum(taken.values()) > wanted:
        name = max((n for n in sorted(taken) if taken[n] > 1), key=lambda n: taken[n] - share[n])
        taken[name] -= 1
    while sum(taken.values()) < wanted:
        name = max((n for n in sorted(taken) if taken[n] < populations[n]), key=lambda n: share[n] - taken[n])
        taken[name] += 1
    return taken


def _stratum(modality: str, plane: str, view: str, site: str) -> str:
    projection = plane if plane.lower() not in NOTHING else view
    return " ".join(word for word in (modality, projection, site) if word.lower() not in NOTHING) or "unknown"


def _mixed(tiles: Iterable[Tile], seed: int) -> tuple[Tile, ...]:
    return tuple(sorted(tiles, key=lambda tile: _rank("order", seed, tile.image_id)))


def _draw(ids: Iterable[str], count: int, seed: int) -> list[str]:
    return sorted(ids, key=lambda image: _rank("draw", seed, image))[:count] if count else []


def _share(ids: Iterable[str], share: float, seed: int) -> set[str]:
    ranked = sorted(ids, key=lambda image: _rank("second", seed, image))
    return set(ranked[: math.ceil(round(share * len(ranked), 9))])


def _rank(purpose: str, seed: int, image_id: str) -> bytes:
    return hashlib.sha256(f"{purpose} {seed} {image_id}".encode()).digest()
