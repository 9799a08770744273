"""Osteoarthritis Initiative (OAI): which label belongs to which knee of which film."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd

from orthoray.data.sources.cells import as_cells, first_true, whole_text
from orthoray.data.sources.cohorts import matched_pairs, progression, replacement
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.oai_films import OaiFilms, refuse_any
from orthoray.data.sources.oai_tables import DAYS_PER_MONTH, examinations, outcomes, readings
from orthoray.data.sources.options import OaiOptions

KNEE = ["patient", "laterality"]


class OaiTables:
    """Makes the adapter's tables; each is made once."""

    def __init__(self, files: SourceFiles, options: OaiOptions) -> None:
        self.files, self.options = files, options
        self.images = OaiFilms(files, options)
        self.makers: dict[str, Callable[[], pd.DataFrame]] = {
            "films": lambda: as_cells(self.images.table),
            "knees": lambda: as_cells(self.knees),
            "outcomes": lambda: as_cells(self.outcomes),
            "persons": lambda: as_cells(self.images.persons),
            "readings": lambda: as_cells(self.readings),
        }

    @cached_property
    def readings(self) -> pd.DataFrame:
        """`oai_tables.readings`."""
        return readings(self.files, self.options)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """`oai_tables.outcomes`."""
        return outcomes(self.files, self.options, self.images.enrolled)

    @cached_property
    def knees(self) -> pd.DataFrame:
        """One row per wanted film and knee that it shows, with every label of the knee.

        ``file, laterality, patient, visit, kl, kl48, kl96, tkr …, tkr_9y_matched`` (with the years of the option)``,
        pair, progression``; beside each label ``<label>_reason`` says why it is empty. All but ``kl`` and ``tkr…``
        are labels of baseline films.
        """
        films = self.images.table.query("exclude == ''")
        sides = [films.assign(laterality=side) for side in ("R", "L")]
        table = pd.concat([film[films["laterality"].isin(["B", side])] for film, side in zip(sides, "RL", strict=True)])
        table = table.sort_values(["file", "laterality"], ignore_index=True)
        fate = table[KNEE].merge(self.outcomes, on=KNEE, how="left").assign(film_day=table["days_from_baseline"])
        table = pd.concat([table, replacement(fate, self.options.horizons_years)], axis=1)
        replaced = (fate["state"] == "replaced_at_baseline") | (fate["days"] <= fate["film_day"]) & fate["state"].isin(
            ["event", "partial"]
        )
        grade = table.merge(self._linked(films), on=["barcode", "laterality"], how="left")
        table["kl"] = whole_text(grade["kl"].where(~replaced))
        table["kl_reason"] = first_true(
            {"replaced": replaced, "no_reading": grade["visit_y"].isna(), "not_read": grade["kl"].isna()}
        )
        for months, visit in ((48, "V06"), (96, "V10")):
            self._future(table, fate, months, visit)
        return self._with_cohorts(table)

    def _linked(self, films: pd.DataFrame) -> pd.DataFrame:
        """Readings by film: ``barcode`` (8 digits)``, laterality, visit, kl``. Every hop of the link must be unique.

        Reading → ``XRay##`` (of visits that have it) → folder. A reading without a barcode, or whose barcode leads
        nowhere, is none.
        """
        table = self.readings[self.readings["barcode"] != ""]
        known = examinations(self.files)
        asked = table["visit"].isin(set(known["visit"]))
        known = known[["barcode", "patient", "examination"]]
        told = table.merge(known, on="barcode", how="left", suffixes=("", "_told"))
        owner, kind = told["patient_told"].set_axis(table.index), told["examination"].set_axis(table.index)
        other = owner.notna() & (owner != table["patient"])
        refuse_any(other, "XRay##: {} barcode(s) belong to another person than in KXR_SQ_BU##.")
        table = table[~asked | kind.str.lower().isin([name.lower() for name in self.options.acquisitions])]
        table = table.assign(barcode=table["barcode"].str[-8:])
        refuse_any(
            table.duplicated(["barcode", "laterality"]),
            "KXR_SQ_BU##: {} barcode(s) end in the same 8 digits, by which folders are named.",
        )
        merged = films.drop_duplicates("barcode").merge(table, on="barcode", suffixes=("", "_read"))
        for column, what in (("patient", "person"), ("visit", "visit")):
            other = merged[column] != merged[f"{column}_read"]
            refuse_any(other, f"KXR_SQ_BU##: {{}} barcode(s) lie in the folder of another {what}.")
        return table[["barcode", "laterality", "visit", "kl"]]

    def _future(self, table: pd.DataFrame, fate: pd.DataFrame, months: int, visit: str) -> None:
        """Add ``kl<months>``: the grade at a later visit, for baseline films."""
        later = self.readings.loc[self.readings["visit"] == visit, [*KNEE, "kl"]]
        grade = table[KNEE].merge(later, on=KNEE, how="left")["kl"]
        gone = fate["state"].isin(["event", "partial"]) & (fate["days"] <= months * DAYS_PER_MONTH)
        reasons = {
            "not_baseline": table["visit"] != "V00",
            "replaced": gone | (fate["state"] == "replaced_at_baseline"),
            "not_read": grade.isna(),
        }
        reason = first_true(reasons)
        table[f"kl{months}"], table[f"kl{months}_reason"] = whole_text(grade.where(reason == "")), reason

    def _with_cohorts(self, table: pd.DataFrame) -> pd.DataFrame:
        """Add progression and the matched pairs, which are defined at baseline."""
        grades = self.readings.pivot(index=KNEE, columns="visit", values="kl")
        course = progression(grades, self.outcomes.set_index(KNEE)).reset_index()
        table = table.merge(course, on=KNEE, how="left")
        name = f"tkr_{self.options.match_years}y_matched"
        pairs = pd.DataFrame(columns=[*KNEE, "label", "pair"], dtype=str)
        if not self.images.enrolled.empty:
            limits = {"age": self.options.match_age, "bmi": self.options.match_bmi}
            pairs = matched_pairs(self.images.persons, self.outcomes, years=self.options.match_years, **limits)
        table = table.merge(pairs.rename(columns={"label": name}), on=KNEE, how="left").fillna({name: "", "pair": ""})
        table[f"{name}_reason"] = np.where(table[name] == "", "not_matched", "")
        table = table.fillna({"progression": "", "progression_reason": "not_read"})
        later = table["visit"] != "V00"
        for label in ("progression", name):
            table.loc[later, [label, f"{label}_reason"]] = ["", "not_baseline"]
        table.loc[later, "pair"] = ""
        return table
