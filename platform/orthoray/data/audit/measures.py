"""Where an image lies among its like: quality measures against the distribution of a stratum."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from orthoray.data.audit.sample import Plan, Tile, accepted_strata, strata_columns

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
FEWEST = 5
"""Values that a distribution is drawn from at least."""

MEASURES = {
    "grey levels": "levels",
    "bits": "entropy",
    "words": "text_boxes",
    "drawn lines or arrows": "graphics",
    "share clipped_low": "clipped_low",
    "share clipped_high": "clipped_high",
    "share of saturated patches": "implant",
    "share of foreground": "foreground",
}
"""What details of findings call a measure of the index by another name."""

Values = npt.NDArray[np.float64]


class Finding(NamedTuple):
    """Why ingest excluded an image or sent it to review: its words, and the number that decided (NaN if none)."""

    words: list[str]
    value: float

    @property
    def name(self) -> str:
        """What the number is: the detail up to its first comma or semicolon."""
        return self.words[1].split(";")[0].split(",")[0].strip() if len(self.words) > 1 else "value"


class Measures:
    """The findings and measures of a sheet's tiles, and the distributions that they are compared with.

    Args:
        index: the dataset's index; the fields of its struct ``quality`` are the measures.
        excluded: excluded.parquet; ``value``, if there is one, is the number that led to the exclusion.
        review: ``image_id, reason, detail, value`` of accepted images that ingest was in doubt about.
        plan: the sample.
    """

    def __init__(self, index: pa.Table, excluded: pd.DataFrame, review: pd.DataFrame, plan: Plan) -> None:
        frame = strata_columns(index)
        self.quality = _quality(index)
        self.strata = accepted_strata(frame).to_numpy()
        self.alike = (frame["modality"] + " " + frame["site"]).str.strip().to_numpy()
        wanted = {tile.image_id for tile in plan.tiles}
        self.place = {image: place for place, image in enumerate(frame["image_id"]) if image in wanted}
        self.excluded, self.excluded_values = _findings(excluded, wanted)
        self.review, self.review_values = _findings(review, wanted)
        self.distributions: dict[str, dict[str, Any]] = {}

    def flag(self, tile: Tile) -> list[str] | None:
        """Reason and details of an exclusion or of a doubt; None for an image without."""
        found = (self.excluded if tile.arm == "rejected" else self.review).get(tile.image_id)
        return found.words if found else None

    def of(self, tile: Tile, alike: str) -> list[dict[str, Any]]:
        """The measures of a tile: first the one that it was flagged for, then the most unusual ones.

        Args:
            tile: a tile of the plan.
            alike: modality and site of the tile, for a rejected image, whose projection is not known.

        Returns:
            ``[{name, value, rank, among}]``: rank = share of the distribution ``among`` at or below the value, 0..1;
            both None where there are too few values or (almost) all equal this one.
        """
        if tile.arm == "rejected":
            return self._decisive(self.excluded[tile.image_id], self.excluded_values, f"accepted {alike}", self.alike)
        place = self.place[tile.image_id]
        stratum = str(self.strata[place])
        group = np.flatnonzero(self.strata == stratum)
        measured: list[dict[str, Any]] = []
        for name in sorted(self.quality, key=lambda name: -_unusual(self.quality[name], group, place)):
            item = self._compare(name, float(self.quality[name][place]), stratum, self.quality[name][group])
            measured += [] if item is None else [item]
        found = self.review.get(tile.image_id)
        first = self._decisive(found, self.review_values, stratum, self.strata) if found else []
        names = {item["name"] for item in first}
        return first + [item for item in measured if item["name"] not in names]

    def _decisive(
        self, found: Finding, others: dict[str, list[float]], among: str, strata: npt.NDArray[np.object_]
    ) -> list[dict[str, Any]]:
        """The number of a finding: among accepted images if it is a measure of the index, else among equal findings."""
        name = MEASURES.get(found.name, found.name)
        if name in self.quality:
            group = strata == among.removeprefix("accepted ")
            item = self._compare(name, found.value, among, self.quality[name][group])
        else:
            key = _key(found)
            item = self._compare(found.name, found.value, f"found by {key}", np.array(others.get(key, []), np.float64))
        return [] if item is None or "header" in found.name else [item]

    def _compare(self, name: str, value: float, among: str, values: Values) -> dict[str, Any] | None:
        if not math.isfinite(value):
            return None
        known = values[np.isfinite(values)]
        quantiles = np.quantile(known, QUANTILES) if len(known) >= FEWEST else np.full(len(QUANTILES), value)
        if quantiles[0] == quantiles[-1] == value:
            return {"name": name, "value": _short(value), "rank": None, "among": None}
        entry = self.distributions.setdefault(among, {"count": len(known), "quantiles": {}})
        entry["quantiles"].setdefault(name, [_short(item) for item in quantiles])
        return {"name": name, "value": _short(value), "rank": _short((known <= value).mean()), "among": among}


def _unusual(values: Values, group: npt.NDArray[np.intp], place: int) -> float:
    """How far from the middle of its group a value lies: 0 … 0.5, equal values counting half."""
    known, value = values[group], values[place]
    below, same = (known < value).mean(), (known == value).mean()
    return abs(float(below + same / 2) - 0.5)


def _findings(table: pd.DataFrame, wanted: set[str]) -> tuple[dict[str, Finding], dict[str, list[float]]]:
    """The findings of some images, and the values of all findings by `_key`."""

    def text(name: str) -> list[str]:
        return table[name].fillna("").astype(str).tolist() if name in table else [""] * len(table)

    numbers = pd.to_numeric(table["value"], "coerce").tolist() if "value" in table else [math.nan] * len(table)
    found: dict[str, Finding] = {}
    values: dict[str, list[float]] = {}
    columns = (text(name) for name in ("image_id", "stage", "reason", "detail", "severity"))
    for image, stage, reason, detail, severity, value in zip(*columns, numbers, strict=True):
        words = [f"{stage}/{reason}".strip("/"), *(word for word in (detail, severity) if word)]
        finding = Finding(words, value)
        values.setdefault(_key(finding), []).append(value)
        if image in wanted:
            found[image] = finding
    return found, values


def _key(found: Finding) -> str:
    """What makes findings comparable: reason and the number's name."""
    return f"{found.words[0]}, {found.name}"


def _quality(index: pa.Table) -> dict[str, Values]:
    """(n,) float64 per measure, NaN where it does not apply; empty where the index holds none."""
    if "quality" not in index.column_names or not pa.types.is_struct(index.schema.field("quality").type):
        return {}
    flat = index.select(["quality"]).flatten()
    return {
        name.removeprefix("quality."): flat[name].to_pandas().to_numpy(np.float64, na_value=math.nan)
        for name in flat.column_names
        if pa.types.is_floating(flat.schema.field(name).type) or pa.types.is_integer(flat.schema.field(name).type)
    }


def _short(value: float) -> float:
    return float(f"{float(value):.4g}")
