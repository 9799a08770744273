"""Images that are there twice: exactly, or nearly, within a patient and across patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.data.near_hashes import close_images
from orthoray.data.screening_rules import NearDuplicateRule, ScreeningRules

Load = Callable[[str], npt.NDArray[np.uint8]]
Places = npt.NDArray[np.int64]

STAGE = "duplicates"
EXCLUDED = ["image_id", "stage", "reason", "detail", "value", "severity"]
ALARMS = ["image_id", "other_id", "reason", "detail", "value", "severity"]
NEEDED = ["image_id", "patient_id", "study_id", "series_id", "modality", "height", "width", "sha256", "phash"]
THUMB = 64
"""Side (pixels) of the thumbnails that are compared."""


class Duplicates(NamedTuple):
    """What was found.

    Attributes:
        exclusions: one row per image that repeats another of the same patient, with the columns `EXCLUDED`.
        alarms: pairs of images of different patients that are the same, with the columns `ALARMS` and severity
            ``review``. Nothing may be removed for them: either a leak between patients, or one patient with two ids.
        account: ``exact`` and ``near`` (images excluded), ``alarms``, ``candidates`` (pairs whose hashes are close),
            ``compared`` (pairs whose pixels were compared), ``capped`` (images in crowds of alike hashes, of which not
            all pairs were looked at).
    """

    exclusions: pd.DataFrame
    alarms: pd.DataFrame
    account: dict[str, int]


class _Pairs(NamedTuple):
    """Places of two images each, ``first < second``, and the distance of their hashes."""

    first: Places
    second: Places
    distance: npt.NDArray[np.int64]

    def where(self, mask: npt.NDArray[np.bool_]) -> _Pairs:
        return _Pairs(self.first[mask], self.second[mask], self.distance[mask])


def find_duplicates(index: pd.DataFrame, load: Load, rules: ScreeningRules | None = None) -> Duplicates:
    """Find repeated images; of each group within a patient the first of the index stays.

    Exact ones have equal pixels and shape. Near ones have perceptual hashes within a few bits, lie in different
    series (neighbours in a stack always look alike), and are confirmed on their pixels (`similarity`). Slices of one MR
    study are never near duplicates of each other, because the echoes of one position look the same.

    Args:
        index: the columns `NEEDED`; ``phash`` as uint64.
        load: image_id → (H, W) uint8; asked once per image, in the order of the index, and only for candidates.
        rules: `exact_duplicate` and `near_duplicate`; None = the defaults.
    """
    rules = rules or ScreeningRules()
    account = dict.fromkeys(("exact", "near", "alarms", "candidates", "compared", "capped"), 0)
    exclusions, alarms, gone = [], [], np.zeros(len(index), bool)
    if rules.exact_duplicate.on:
        repeated, twins = _exact(index)
        gone[repeated] = True
        rule = rules.exact_duplicate
        exclusions.append(_excluded(index, repeated, "exact_duplicate", "same pixels", 1.0, rule.severity))
        alarms.append(_alarms(index, twins, "exact_duplicate", 1.0))
        account["exact"] = len(repeated)
    if rules.near_duplicate.on:
        near = rules.near_duplicate
        pairs, account["capped"] = _candidates(index, ~gone, near)
        account["candidates"] = len(pairs.first)
        pairs = _nearest(index, pairs, near.candidates)
        account["compared"] = len(pairs.first)
        alike = _similarities(index, pairs, load)
        sure = (alike[0] >= near.correlation) & (alike[1] >= near.detail)
        pairs, detail = pairs.where(sure), alike[1][sure]
        same = _equal(index, "patient_id", pairs)
        repeated, values = _later(pairs.where(same), detail[same])
        text = f"correlation of detail, limit {near.detail:g}; another series of the patient"
        exclusions.append(_excluded(index, repeated, "near_duplicate", text, values, near.severity))
        alarms.append(_alarms(index, pairs.where(~same), "near_duplicate", detail[~same]))
        account["near"] = len(repeated)
    alarm_rows = pd.concat([pd.DataFrame(columns=ALARMS), *alarms], ignore_index=True)
    account["alarms"] = len(alarm_rows)
    return Duplicates(pd.concat([pd.DataFrame(columns=EXCLUDED), *exclusions], ignore_index=True), alarm_rows, account)


def similarity(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Normalised cross-correlation of two images and of their detail, -1..1 each.

    Detail is what a Gaussian blur of 3 pixels takes from a thumbnail. Two knees look alike (0.95 and 0.6 are common);
    the same exposure with another window, codec or size keeps its detail (above 0.95).

    Args:
        one: (H, W) grey.
        other: (h, w) grey, of any size.
    """
    whole, detail = (np.stack(pair) for pair in zip(_thumbs(one), _thumbs(other), strict=True))
    return float(np.vdot(whole[0], whole[1])), float(np.vdot(detail[0], detail[1]))


def _thumbs(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The thumbnail and its detail, each of mean 0 and length 1 (0 if it is all the same)."""
    thumb = _thumb(image).astype(np.float32)
    return _unit(thumb), _unit(thumb - cv2.GaussianBlur(thumb, (0, 0), 3.0))


def _thumb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA), np.uint8)


def _unit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length if length > 1e-3 else np.zeros_like(centred), np.float32)


def _exact(index: pd.DataFrame) -> tuple[Places, _Pairs]:
    """Places of images that repeat an earlier one of their patient; pairs of equal images of different patients.

    Of several patients with the same image each is paired with the first.
    """
    pixels = _groups(index, ["sha256", "height", "width"])
    patients = pd.factorize(index["patient_id"])[0]
    table = pd.DataFrame({"pixels": pixels, "patient": patients})
    repeated = table.duplicated().to_numpy()
    kept = np.flatnonzero(~repeated)
    first = pd.Series(kept).groupby(pixels[kept]).transform("first").to_numpy()
    other = first != kept
    return np.flatnonzero(repeated), _Pairs(first[other], kept[other], np.zeros(int(other.sum()), np.int64))


def _groups(index: pd.DataFrame, columns: list[str]) -> Places:
    """(n,) number of the combination of columns that each row has."""
    total = np.zeros(len(index), np.int64)
    for name in columns:
        codes = pd.factorize(index[name], use_na_sentinel=False)[0]
        total = pd.factorize(total * (int(codes.max(initial=0)) + 1) + codes)[0].astype(np.int64)
    return total


def _candidates(index: pd.DataFrame, kept: npt.NDArray[np.bool_], rule: NearDuplicateRule) -> tuple[_Pairs, int]:
    """Pairs with close hashes in different series, and of how many images not all pairs were looked at."""
    rows = np.flatnonzero(kept)
    hashes = index["phash"].to_numpy(np.uint64)
    close = close_images(hashes[rows], _groups(index, ["series_id"])[rows], rule.distance)
    first, second = rows[close.first], rows[close.second]
    pairs = _Pairs(first, second, np.bitwise_count(hashes[first] ^ hashes[second]).astype(np.int64))
    is_mr = index["modality"].to_numpy(dtype=object)[pairs.first] == "MR"
    return pairs.where(~(is_mr & _equal(index, "study_id", pairs))), close.capped


def _nearest(index: pd.DataFrame, pairs: _Pairs, most: int) -> _Pairs:
    """At most so many pairs: those of one patient first, then by distance."""
    order = np.lexsort((pairs.first, pairs.distance, ~_equal(index, "patient_id", pairs)))
    return _Pairs(*(part[order[:most]] for part in pairs))


def _equal(index: pd.DataFrame, name: str, pairs: _Pairs) -> npt.NDArray[np.bool_]:
    codes = _groups(index, [name])
    return np.asarray(codes[pairs.first] == codes[pairs.second])


def _similarities(index: pd.DataFrame, pairs: _Pairs, load: Load) -> tuple[npt.NDArray[np.float64], ...]:
    """`similarity` of every pair; every image is loaded once."""
    ids = index["image_id"].to_numpy()
    needed = np.unique(np.concatenate([pairs.first, pairs.second]))
    thumbs = {int(place): _thumb(load(ids[place])) for place in needed}
    values = [
        similarity(thumbs[int(one)], thumbs[int(two)]) for one, two in zip(pairs.first, pairs.second, strict=True)
    ]
    found = np.array(values, np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _later(pairs: _Pairs, detail: npt.NDArray[np.float64]) -> tuple[Places, npt.NDArray[np.float64]]:
    """Images that repeat an earlier one that stays, and how much they are like it."""
    gone: dict[int, float] = {}
    for place in np.lexsort((pairs.first, pairs.second)):
        one, other = int(pairs.first[place]), int(pairs.second[place])
        if one not in gone and other not in gone:
            gone[other] = float(detail[place])
    return np.array(list(gone), np.int64), np.array(list(gone.values()), np.float64)


def _excluded(index: pd.DataFrame, rows: Places, reason: str, detail: str, value: Any, severity: str) -> pd.DataFrame:
    ids = index["image_id"].to_numpy()[rows]
    table = {"image_id": ids, "stage": STAGE, "reason": reason, "detail": detail, "value": value, "severity": severity}
    return pd.DataFrame(table, index=range(len(rows)))


def _alarms(index: pd.DataFrame, pairs: _Pairs, reason: str, value: Any) -> pd.DataFrame:
    ids = index["image_id"].to_numpy()
    table = {
        "image_id": ids[pairs.first],
        "other_id": ids[pairs.second],
        "reason": reason,
        "detail": f"two patients; hashes differ in at most {int(pairs.distance.max(initial=0))} bits",
        "value": value,
        "severity": "review",
    }
    return pd.DataFrame(table, index=range(len(pairs.first)))
