"""Subgroups: does the candidate serve both sexes, all ages and all sites alike? Small cells are not shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.evaluation.comparisons import ROW, records
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.results import measured_columns
from orthoray.evaluation.statistics import bootstrap_draws, interval_of
from orthoray.evaluation.statistics.checks import two_sided

Floats = npt.NDArray[np.float64]

COLUMNS = ("site", "sex", "age", "manufacturer", "field_strength_t", "laterality")
"""Columns of a dataset's index that divide samples."""

BANDS = {
    "age": ((0.0, "below 50"), (50.0, "50 to 64"), (65.0, "65 and over")),
    "field_strength_t": ((0.0, "below 1 T"), (1.0, "1 to 2 T"), (2.0, "2 T and over")),
}
"""Lower ends of bands of numbers, and their names."""


def attributes(samples: Samples, indices: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """``sample_id`` and what divides the samples: a level where all images of a sample agree, else missing.

    Args:
        samples: of a task.
        indices: of the study's datasets, in their order.
    """
    found = pd.DataFrame({"sample_id": samples.sample_id})
    for column in COLUMNS:
        values: dict[str, Any] = {}
        for position, index in enumerate(indices):
            mine = samples.image_dataset == position
            if column not in index.columns or not mine.any():
                continue
            known = index.set_index("image_id")[column].reindex(samples.image_id[mine]).reset_index(drop=True)
            levels = known.map(lambda value, name=column: _level(name, value))
            by_sample = levels.groupby(samples.sample_id[samples.owner[mine]])
            agreed = by_sample.first()[by_sample.nunique() == 1]
            values |= {str(name): level for name, level in agreed.items()}
        found[column] = found["sample_id"].map(values)
    return found


def _level(column: str, value: Any) -> str | None:
    if value is None or value == "" or pd.isna(value):
        return None
    if column not in BANDS:
        return str(value)
    return [name for start, name in BANDS[column] if float(value) >= start][-1]


def subgroup_table(
    predictions: pd.DataFrame,
    known: Mapping[str, pd.DataFrame],
    headline: Mapping[str, str],
    candidate: str,
    resamples: int,
    least: int,
) -> pd.DataFrame:
    """The headline metric in each subgroup, and its distance from all others.

    Values are of the out-of-fold predictions of the first seed, pooled over folds, at the largest share of training
    patients.

    Args:
        predictions: the rows of ``predictions.parquet``.
        known: task → `attributes`.
        headline: task → metric.
        candidate: the model that is looked at.
        resamples: draws of patients.
        least: patients of a cell that is shown. Of the others neither number nor value is; and where a single level
            of an attribute is hidden, the next smallest keeps its value but not its number, from which the hidden one
            could be told. Nor is a gap to fewer patients than this.

    Returns:
        ``task, model, protocol, fraction, attribute, level, metric, patients, samples, value, low, high, gap, gap_low,
        gap_high, note``; attributes with one level only have no rows.
    """
    own = predictions[(predictions["model"] == candidate) & (predictions["seed"] == predictions["seed"].min())]
    own = own[own["fraction"] == own["fraction"].max()]
    rows: list[dict[str, Any]] = []
    for where, part in own.groupby(ROW, sort=False):
        task = str(where[0])
        joined = part.merge(known[task], on="sample_id", how="left")
        for attribute in COLUMNS:
            levels = sorted(joined[attribute].dropna().unique())
            if len(levels) > 1:
                head = dict(zip(ROW, where, strict=True)) | {"attribute": attribute, "metric": headline[task]}
                rows += [head | row for row in _levels(joined, attribute, levels, headline[task], resamples, least)]
    return pd.DataFrame(rows)


def _levels(
    table: pd.DataFrame, attribute: str, levels: Sequence[str], metric: str, resamples: int, least: int
) -> list[dict[str, Any]]:
    counts = {level: int(table.loc[table[attribute] == level, "patient_id"].nunique()) for level in levels}
    small = [level for level in levels if counts[level] < least]
    silent = min((level for level in levels if level not in small), key=counts.__getitem__, default=None)
    rows = []
    for level in levels:
        inside, outside = (
            table[table[attribute] == level],
            table[table[attribute].notna() & (table[attribute] != level)],
        )
        row: dict[str, Any] = {"level": level, "note": ""}
        if level in small:
            rows.append(row | {"note": f"fewer than {least} patients"})
            continue
        if len(small) != 1 or level != silent:
            row |= {"patients": counts[level], "samples": len(inside)}
        else:
            row["note"] = "number not shown: a smaller group could be told from it"
        told = _measured(inside, outside, metric, resamples)
        if outside["patient_id"].nunique() < least:
            told = {name: value for name, value in told.items() if not name.startswith("gap")}
        rows.append(row | told)
    return rows


def _measured(inside: pd.DataFrame, outside: pd.DataFrame, metric: str, resamples: int) -> dict[str, Any]:
    """Value and gap; their errors are of draws of patients, and the two parts have no patient in common or nearly."""
    here, there = _interval(inside, metric, resamples), _interval(outside, metric, resamples)
    if here is None:
        return {"note": "one class only"}
    told: dict[str, Any] = {"value": here[0], "low": here[1], "high": here[2]}
    if there is not None:
        gap = two_sided(here[0] - there[0], float(np.hypot(here[3], there[3])), 0.95)
        told |= {"gap": here[0] - there[0], "gap_low": gap.low, "gap_high": gap.high}
    return told


def _interval(part: pd.DataFrame, metric: str, resamples: int) -> tuple[float, float, float, float] | None:
    scores: Floats = part[measured_columns(part)].to_numpy(dtype=np.float64)
    try:
        drawn = bootstrap_draws(
            metric, part["label"].to_numpy(), scores, part["patient_id"].to_numpy(), resamples=resamples
        )
        found = interval_of(drawn)
    except ValueError:
        return None
    return (found.value, found.low, found.high, found.se) if np.isfinite(found.value) else None


def subgroup_lines(table: pd.DataFrame) -> list[str]:
    """Plain text: the levels whose distance from the others is beyond its interval."""
    if "gap_low" not in table:
        return []
    far = table[(table["gap_low"] > 0) | (table["gap_high"] < 0)]
    lines = [
        "{task}, {protocol}, {attribute} {level}: {metric} {value:.3f}, {gap:+.3f} from the others "
        "({gap_low:+.3f} to {gap_high:+.3f})".format(**row)
        for row in records(far)
    ]
    known = int(table["gap"].notna().sum())
    return [*lines, f"{len(far)} of {known} subgroups differ from the others beyond a 95 % interval, not adjusted"]
