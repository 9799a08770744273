"""Definitions of cohorts on knees followed over time: replacement, progression, matched pairs.

Days are days since enrolment. A label is text (empty = none), and beside it stands the reason where it is empty.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from orthoray.data.sources.cells import first_true, smaller, whole_text
from orthoray.data.sources.oai_tables import DAYS_PER_MONTH, MONTHS

DAYS_PER_YEAR = 365.25

PROGRESSION_VISITS = ("V01", "V03", "V05", "V08", "V10")
"""Visits that Tiulpin et al. (2019) look at: 12, 24, 36, 72 and 96 months; 48 is left out."""

EARLY_MONTHS = 60


def replacement(knees: pd.DataFrame, horizons: list[int]) -> pd.DataFrame:
    """Labels of replacement, seen from the day of a film.

    Args:
        knees: ``state, event, days`` as in `orthoray.data.sources.oai_tables.outcomes`, and ``film_day``.
        horizons: years k.

    Returns:
        ``tkr`` (1: replaced after the film; 0: never reported up to the last contact; no censoring is modelled),
        ``tkr_reason``, ``tkr_event`` (1, or 0 = censored), ``tkr_days`` (from the film to either), and for every k
        ``tkr_<k>y`` with ``tkr_<k>y_reason`` (replaced within k years; who left earlier without it has no label).
    """
    rest = knees["days"] - knees["film_day"]
    happened, ended = knees["state"] == "event", knees["event"] == 0
    reasons = {
        "unknown_knee": knees["state"].isna(),
        "no_baseline_date": knees["film_day"].isna(),
        "undatable": happened & knees["days"].isna(),
        "no_last_contact": ended & knees["days"].isna(),
        "replaced_before": happened & (rest <= 0),
        "no_follow_up": ended & (rest <= 0),
        "partial_replacement": knees["state"] == "partial",
    }
    reason = first_true(reasons, knees["state"].fillna("").mask(happened | ended, ""))
    usable = reason.isin(["", "partial_replacement"])
    table = {
        "tkr": whole_text(knees["event"].where(reason == "")),
        "tkr_reason": reason,
        "tkr_event": whole_text(knees["event"].where(usable)),
        "tkr_days": whole_text(rest.where(usable)),
    }
    for years in horizons:
        limit = round(years * DAYS_PER_YEAR)
        told = usable & (happened | (rest >= limit))
        table[f"tkr_{years}y"] = whole_text((happened & (rest <= limit)).astype(float).where(told))
        table[f"tkr_{years}y_reason"] = reason.where(~usable, "censored").where(~told, "")
    return pd.DataFrame(table)


def progression(grades: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Progression of osteoarthritis as Tiulpin et al. (2019) define it.

    Knees of KL 0..3 at baseline that were not replaced. Progression is the first visit with a higher grade than at
    baseline; from 0 to 1 does not count; a replacement counts as grade 5. Knees without it must have been read at the
    last visit.

    Args:
        grades: KL (float, NaN = missing) by knee (index ``patient, laterality``) and visit (columns).
        outcomes: ``state, days`` by knee (same index).

    Returns:
        By knee ``progression`` (0: none, 1: within 60 months, 2: later) and ``progression_reason``.
    """
    visits = grades.reindex(columns=["V00", *PROGRESSION_VISITS]).astype(float)
    base = visits["V00"]
    months = pd.Series(np.inf, index=visits.index)
    for visit in PROGRESSION_VISITS:
        worse = (visits[visit] > base) & ~((base == 0) & (visits[visit] == 1))
        months = months.where(~worse, months.clip(upper=MONTHS[visit]))
    fate = outcomes.reindex(visits.index)
    replaced = (fate["days"] / DAYS_PER_MONTH).where(fate["state"] == "event")
    within = replaced <= MONTHS[PROGRESSION_VISITS[-1]]
    months = months.where(~within, smaller(months, replaced))
    reasons = {
        "not_read": base.isna() & (fate["state"] != "replaced_at_baseline"),
        "replaced_at_baseline": fate["state"] == "replaced_at_baseline",
        "baseline_kl4": base >= 4,
        "unknown_knee": fate["state"].isna(),
        "": months < np.inf,
        "unproven_replacement": fate["state"].isin(["unconfirmed", "partial", "type_unknown"]),
        "undatable": (fate["state"] == "event") & fate["days"].isna(),
        "not_followed": visits[PROGRESSION_VISITS[-1]].isna(),
    }
    reason = first_true(reasons)
    found = pd.Series(2.0, index=visits.index).mask(months <= EARLY_MONTHS, 1.0).mask(months == np.inf, 0.0)
    return pd.DataFrame({"progression": whole_text(found.where(reason == "")), "progression_reason": reason})


def matched_pairs(persons: pd.DataFrame, outcomes: pd.DataFrame, *, years: int, age: float, bmi: float) -> pd.DataFrame:
    """Cases and controls of knee replacement, one to one, after Leung et al. (2020).

    A case is a person with a replacement within ``years``, taken at the knee replaced first (both on one day: the
    right one). A control was followed for as long and neither knee was ever reported replaced. Pairs agree in sex, race
    and ethnicity, and differ by at most ``age`` years and the share ``bmi`` of the case's body mass index. There are as
    many pairs as can be, and among those the most alike ones (assignment problem, Kuhn 1955); no chance is involved.
    The control's knee is of the same side as the case's.

    Args:
        persons: rows of `orthoray.data.sources.oai_tables.persons`.
        outcomes: rows of `orthoray.data.sources.oai_tables.outcomes`.
        years: horizon.
        age: largest difference, years.
        bmi: largest relative difference.

    Returns:
        ``patient, laterality, label`` ("1" case, "0" control)``, pair`` (number of the pair, as text).
    """
    limit = round(years * DAYS_PER_YEAR)
    knees = outcomes.sort_values(["patient", "laterality"], ascending=[True, False])
    barred = set(knees.loc[knees["state"] == "replaced_at_baseline", "patient"])
    early = knees[(knees["state"] == "event") & (knees["days"] <= limit) & ~knees["patient"].isin(barred)]
    cases = early.sort_values(["days"], kind="stable").drop_duplicates("patient").sort_values("patient")
    whole = ((knees["state"] == "none") & (knees["days"] >= limit)).groupby(knees["patient"]).agg(["all", "size"])
    controls = whole.index[whole["all"] & (whole["size"] == 2)]
    strata = ["sex", "race", "hispanic"]
    people = persons[persons["sex"] != ""].dropna(subset=["race", "hispanic", "age", "bmi"]).sort_values("patient")
    rows: list[dict[str, str]] = []
    for _, group in people.groupby(strata, sort=True):
        ill = group.merge(cases[["patient", "laterality"]], on="patient")
        well = group[group["patient"].isin(controls)].reset_index(drop=True)
        for one, other in _assign(ill, well, age, bmi):
            case, control = ill.iloc[one], well.iloc[other]
            rows.append(
                {"patient": case["patient"], "laterality": case["laterality"], "label": "1", "pair": case["patient"]}
            )
            rows.append(
                {"patient": control["patient"], "laterality": case["laterality"], "label": "0", "pair": case["patient"]}
            )
    table = pd.DataFrame(rows, columns=["patient", "laterality", "label", "pair"], dtype=str)
    number = {name: str(place) for place, name in enumerate(sorted(set(table["pair"])))}
    return table.assign(pair=table["pair"].map(number)).sort_values(["patient", "laterality"], ignore_index=True)


def _assign(ill: pd.DataFrame, well: pd.DataFrame, age: float, bmi: float) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    if ill.empty or well.empty:
        return []
    years = np.abs(ill["age"].to_numpy()[:, None] - well["age"].to_numpy())
    mass = np.abs(ill["bmi"].to_numpy()[:, None] - well["bmi"].to_numpy()) / ill["bmi"].to_numpy()[:, None]
    near = (years <= age) & (mass <= bmi)
    cost = np.where(near, years / max(age, 1e-9) + mass / max(bmi, 1e-9), 1e6)
    rows, columns = linear_sum_assignment(cost)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if near[row, column]]
