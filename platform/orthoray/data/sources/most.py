"""Multicenter Osteoarthritis Study (MOST), an external test set for knee films.

Needed: ``mostv01235xray`` (SAS or text; ``MOSTID``, ``V#X{L,R}KL``) and ``mostoutcomes`` (``V99E{L,R}KRINDEX``).
Visits 0, 1, 2, 3 and 5 are 0, 15, 30, 60 and 84 months. No dates are given with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

import pandas as pd

from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.options import MostOptions
from orthoray.data.sources.sheet import Sheet
from orthoray.errors import InputError

MONTHS = {"V0": 0, "V1": 15, "V2": 30, "V3": 60, "V5": 84}

NO_GRADE = {"8": "replaced_or_unusable", "9": "excluded", "-1": "not_read", "": "not_read"}
"""Codes that are no grade. Letters (P, S, X, Z in the text tables) are none either."""


class MostTables:
    """Makes the adapter's tables; each is made once."""

    def __init__(self, files: SourceFiles, options: MostOptions) -> None:
        self.files, self.options = files, options
        self.makers: dict[str, Callable[[], pd.DataFrame]] = {"films": lambda: self.films, "knees": lambda: self.knees}

    @cached_property
    def films(self) -> pd.DataFrame:
        """One row per image file: ``file, patient, visit`` (V0 …)``, months, view, laterality`` (B)``, exclude``."""
        path = re.compile(self.options.path)
        rows = []
        for file in self.files.images:
            found = path.fullmatch(file)
            part = found.groupdict() if found else {"patient": "", "visit": "", "view": ""}
            visit = f"V{part['visit']}" if found else ""
            reason = "" if part["view"] in self.options.views else "other_view"
            reason = reason if visit in MONTHS else "other_visit"
            rows.append(
                {"file": file, "patient": part["patient"], "visit": visit, "months": str(MONTHS.get(visit, ""))}
                | {"view": re.sub(r"\d+$", "", part["view"]), "laterality": "B" if found else ""}
                | {"exclude": reason if found else "path_unknown"}
            )
        columns = ["file", "patient", "visit", "months", "view", "laterality", "exclude"]
        return pd.DataFrame(rows, columns=columns, dtype=str)

    @cached_property
    def knees(self) -> pd.DataFrame:
        """One row per wanted film and knee: ``file, laterality, patient, visit, kl, kl_reason, tkr, tkr_reason``.

        ``kl`` is 0..4. The code 1.9 becomes what the option `kl_1_9` says; 8, 9, −1, letters and blanks are no grade.
        ``tkr`` is 1 if the knee was ever reported replaced; films of a knee that was replaced by then have no label.
        """
        films = self.films[self.films["exclude"] == ""]
        twice = films.duplicated(["patient", "visit"])
        if twice.any():
            raise InputError(
                f"{int(twice.sum())} film(s) are of a person and visit that have one already; which one was read is "
                "not told. Keep one view (option `views`)."
            )
        knees = pd.concat([films.assign(laterality=side) for side in "RL"], ignore_index=True)
        keys = ["patient", "visit", "laterality"]
        table = knees.merge(self._grades, on=keys, how="left").merge(self._replaced, on=keys[::2], how="left")
        table = table.fillna({"kl": "", "kl_reason": "not_in_table", "tkr": "", "tkr_reason": "not_in_table"})
        gone = table["kl_reason"] == "replaced_or_unusable"
        table.loc[gone, "tkr"], table.loc[gone, "tkr_reason"] = "", "replaced_or_unusable"
        names = ["file", "laterality", "patient", "visit", "kl", "kl_reason", "tkr", "tkr_reason"]
        return table[names].sort_values(["file", "laterality"], ignore_index=True)

    @cached_property
    def _grades(self) -> pd.DataFrame:
        sheet = self.files.sheet("mostv01235xray")
        patient = sheet.unique("MOSTID")
        parts = [
            _grade(sheet, f"{visit}X{side}KL", self.options).assign(patient=patient, visit=visit, laterality=side)
            for visit in MONTHS
            for side in "RL"
            if sheet.find([f"{visit}X{side}KL"]) is not None
        ]
        if not parts:
            raise InputError(f"{sheet.name}: no column 'V0XRKL' or any other KL grade.")
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def _replaced(self) -> pd.DataFrame:
        sheet = self.files.sheet("mostoutcomes")
        patient = sheet.unique("MOSTID")
        parts = []
        for side in "RL":
            ever = (sheet.number(f"V99E{side}KRINDEX") > 0).map({True: "1", False: "0"})
            parts.append(pd.DataFrame({"patient": patient, "laterality": side, "tkr": ever, "tkr_reason": ""}))
        return pd.concat(parts, ignore_index=True)


def _grade(sheet: Sheet, column: str, options: MostOptions) -> pd.DataFrame:
    cells = sheet.text(column)
    numbers = pd.to_numeric(cells, errors="coerce")
    plain = numbers.map(lambda value: "" if value != value else f"{value:g}").where(numbers.notna(), cells).astype(str)
    between = options.kl_1_9 if options.kl_1_9 != "none" else ""
    grade = plain.where(plain.isin([*"01234"]), "").mask(plain == "1.9", between)
    reason = plain.map(NO_GRADE).fillna("")
    reason = reason.mask(plain.str.fullmatch(r"[A-Z]"), "not_read").mask(
        (plain == "1.9") & (between == ""), "between_1_and_2"
    )
    wrong = (grade == "") & (reason == "")
    if wrong.any():
        raise InputError(f"{sheet.name}: {int(wrong.sum())} cell(s) of column '{column}' are no KL grade of MOST.")
    return pd.DataFrame({"kl": grade, "kl_reason": reason.where(grade == "", "")})
