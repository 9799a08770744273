"""From headers and tables to the images of a dataset: ids, halves of films, order of slices, shards."""

from __future__ import annotations

import hashlib
import math
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from orthoray.data.cards import DatasetCard
from orthoray.data.facts import with_facts
from orthoray.data.stacks import find_stacks, localisers, place_sides
from orthoray.data.tables import Tables
from orthoray.imaging.facts import OLDEST
from orthoray.imaging.pseudonyms import Pseudonyms

IMAGES_PER_SHARD = 3072
"""At about 128 KiB an image this makes shards of 384 MiB."""

SMALL_SHARD = 256
SMALL_SHARDS = 8
"""Small datasets get up to `SMALL_SHARDS` shards of `SMALL_SHARD` images, so that several processors can write them."""

STACK_COLUMNS = ("stack", "place", "geometry", "slice_spacing_mm")

TEXT_DEFAULTS = ("modality", "body_part", "view", "site")


def arrange(
    rows: pd.DataFrame, card: DatasetCard, tables: Tables, ids: Pseudonyms
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Turn the survey's rows into one row per image to be, in the order in which shards hold them.

    Returns:
        The rows with ``image_id, patient_id, study_id, series_id, part ("", R, L), visit, site, age,
        days_from_baseline, inverted``; a row that cannot become an image has ``stage``, ``reason``, ``detail``. And
        for every table of facts how many of its rows were used, and how many images it knows.

    Raises:
        InputError: a table contradicts itself, or a cell cannot be what it is needed for (`orthoray.data.facts`).
    """
    audit: list[dict[str, Any]] = []
    rows = rows.assign(site="", visit="", inverted="", exclude="", age=rows["years"], part="", days=np.nan)
    for facts in card.facts:
        rows, counts = with_facts(rows, facts, tables)
        audit.append({"table": facts.table, **counts})
    rows["age"] = rows["age"].clip(upper=OLDEST)
    for name in TEXT_DEFAULTS:
        rows[name] = rows[name].where(rows[name] != "", getattr(card.defaults, name))
    rows = _split_films(rows) if card.bilateral == "split" else rows
    rows = _identified(rows, ids)
    rows = _days(rows)
    rows = _refuse(rows, rows["modality"].isin(["", "other"]), "modality", "neither X-ray nor MR")
    rows = _refuse(rows, rows["patient_id"] == "", "no_patient", "neither header nor tables name a patient")
    rows = _refuse(rows, rows["exclude"] != "", "unwanted", "a table of the card says so")
    told = (rows["reason"] == "unwanted") & rows["exclude"].str.fullmatch(r"[a-z][a-z0-9_]{0,30}")
    rows.loc[told, "detail"] = rows.loc[told, "exclude"]  # a word of the adapter's; free text stays out
    conflict = rows["laterality_source"] == "conflict"
    rows = _refuse(rows, conflict, "laterality_conflict", "two sources name different sides")
    rows = _refuse(rows, rows["kind"] == "localiser", "localiser", "a planning image")
    if not card.keep_derived:
        rows = _refuse(rows, rows["kind"] == "derived", "derived", "computed from other images")
    return _ordered(_stacked(rows), ids), audit


def shard_of(patient_id: str, shards: int) -> int:
    """Shard of a patient, by hash: all images of a patient are in one."""
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8], "big") % shards


def shard_count(images: int) -> int:
    """Shards for a number of images, the same on every machine."""
    return max(math.ceil(images / IMAGES_PER_SHARD), min(SMALL_SHARDS, math.ceil(images / SMALL_SHARD)), 1)


def _split_films(rows: pd.DataFrame) -> pd.DataFrame:
    """Two rows for every film of both knees: image-left is the right knee (the film is looked at face to face)."""
    both = (rows["modality"] == "XR") & rows["laterality"].isin(["B", "U"]) & (rows["stage"] == "")
    both &= rows["laterality_source"] != "conflict"
    halves = [rows[both].assign(part=side, laterality=side) for side in ("R", "L")]
    return pd.concat([rows[~both], *halves], ignore_index=True)


def _identified(rows: pd.DataFrame, ids: Pseudonyms) -> pd.DataFrame:
    """Final ids. Without a study or series of its own an image forms one by itself.

    A study or series whose identifier several patients share, as after careless anonymisation, is one for each of them.
    """
    own = rows["image_key"].where(rows["image_key"] != "", rows["file"])
    label = rows["patient_key"] + "|" + own + "|" + rows["frame"].astype(str) + "|" + rows["part"]
    image_id = label.map(lambda text: ids.make("image", text))
    study = rows["study_key"].where(rows["study_key"] != "", image_id)
    series = rows["series_key"].where(rows["series_key"] != "", image_id)
    rows = rows.assign(image_id=image_id, patient_id=rows["patient_key"], study_id=study, series_id=series)
    for name in ("study", "series"):
        known = rows["patient_id"].where(rows["patient_id"] != "")
        shared = known.groupby(rows[f"{name}_id"]).transform("nunique") > 1
        own = rows.loc[shared, f"{name}_id"] + "|" + rows.loc[shared, "patient_id"]
        rows.loc[shared, f"{name}_id"] = [ids.make(name, text) for text in own]
    return rows


def _days(rows: pd.DataFrame) -> pd.DataFrame:
    """Days since the patient's first study, where neither table nor header is silent, and the header's year.

    Dates are dropped; a year alone may stay (45 CFR 164.514(b)(2)(i)(C)).
    """
    first = rows.groupby("patient_id")["day"].transform("min")
    year = rows["day"].map(lambda day: np.nan if np.isnan(day) else float(date.fromordinal(int(day)).year))
    days = rows["days"].fillna(rows["day"] - first)
    return rows.assign(days_from_baseline=days, study_year=year.astype(float)).drop(columns=["day", "days"])


def _refuse(rows: pd.DataFrame, mask: pd.Series, reason: str, detail: str) -> pd.DataFrame:
    new = mask & (rows["stage"] == "")
    rows.loc[new, ["stage", "reason", "detail"]] = ["select", reason, detail]
    return rows


def _stacked(rows: pd.DataFrame) -> pd.DataFrame:
    """Stacks, places within them, planning images known by their geometry, and sides known by their position."""
    rows = rows.assign(place=rows["instance"].astype(float), geometry="", slice_spacing_mm=np.nan)
    kept = rows[rows["stage"] == ""]
    if kept.empty:
        return rows
    stacks = find_stacks(kept)
    rows.loc[kept.index, list(STACK_COLUMNS)] = stacks[list(STACK_COLUMNS)]
    planning = localisers(kept, stacks).reindex(rows.index, fill_value="")
    sides = place_sides(kept, kept["series_id"] + "|" + stacks["stack"])
    rows.loc[kept.index, sides.columns] = sides
    rows = _refuse(rows, planning == "several_planes", "localiser", "planes of several directions in one series")
    return _refuse(rows, planning == "few_slices", "localiser", "few slices with wide gaps")


def _film_keys(rows: pd.DataFrame) -> pd.Series:
    """Size and spacing of films, as they have always been written into the ids of their halves: the ids stay."""
    spacing = [rows[name].map("{:.3f}".format) for name in ("row_spacing_mm", "col_spacing_mm")]
    known = rows["row_spacing_mm"].notna()
    text = rows["rows"].astype(str) + "|" + rows["columns"].astype(str) + "|||||"
    return text + (spacing[0] + "|" + spacing[1] + "|").where(known, "")


def _ordered(rows: pd.DataFrame, ids: Pseudonyms) -> pd.DataFrame:
    """Sort the slices of every stack by their place; a series of several stacks becomes several series.

    The two halves of a film are two stacks.
    """
    kept = rows["stage"] == ""
    stack = rows["stack"].where(rows["modality"] != "XR", _film_keys(rows)) + "|" + rows["part"]
    several = stack[kept].groupby(rows["series_id"][kept]).transform("nunique") > 1
    changed = several.index[several]
    pairs = zip(rows.loc[changed, "series_id"], stack[changed], strict=True)
    rows.loc[changed, "series_id"] = [ids.make("series", f"{series}|{key}") for series, key in pairs]
    return rows.sort_values(
        ["patient_id", "study_id", "series_id", "place", "instance", "frame", "part", "file"], ignore_index=True
    )
