"""Images of the Osteoarthritis Initiative: what their paths and ``contents.csv`` say.

Images lie in ``{MM}m/{v}.{C|D|E|G}.{n}/{participant}/{YYYYMMDD}/{barcode, last 8 digits}/001 …``. C and E are two
halves of the cohort, released apart; here they are one. What an acquisition shows is told by ``contents.csv``, never
by its folder.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from orthoray.data.sources.cells import first_true
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.oai_tables import MONTHS, persons
from orthoray.data.sources.options import OaiOptions
from orthoray.errors import InputError

PATH = re.compile(
    r"(?:(?:.*/)?(?P<months>\d+)m/|(?:.*/)?)(?P<release>(?P<visit>\d+)\.[A-Z]\.\d+)"
    r"/(?P<patient>\d{7})/(?P<date>\d{8})/(?P<barcode>\d{8})/[^/]+"
)
ACQUISITION = ["patient", "date", "barcode"]

EXCLUDED = {
    "localiser": r"locator|prescription",
    "derived": r"mpr",
    "not_knee": r"hand|pelvis|thigh|hip|limb",
}
"""Reason → what the series description of an unwanted acquisition holds; any other is ``other_acquisition``."""


class OaiFilms:
    """Images of the source, and the persons that they show."""

    def __init__(self, files: SourceFiles, options: OaiOptions) -> None:
        self.files, self.options = files, options

    @cached_property
    def persons(self) -> pd.DataFrame:
        """`oai_tables.persons`."""
        return persons(self.files)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per image file.

        ``file, patient, visit, days_from_baseline, laterality`` (B, L, R or empty)``, view, site, sex, age`` (at the
        film; the last three are empty without the tables ``Enrollees`` and ``AllClinical00``)``, description, barcode``
        (8 digits)``, exclude`` (why the image is not wanted, or empty).
        """
        table = self._placed
        told = table.merge(self._descriptions, on=ACQUISITION, how="left")
        table = table.assign(description=told["description"].fillna("").to_numpy())
        side = table["description"].str.extract(r"_(LEFT|RIGHT)$", flags=re.IGNORECASE, expand=False).str.upper()
        both = table["description"].str.match(r"bilateral", case=False)
        days = table["day"] - table["patient"].map(self._enrolled_or_first).astype(float)
        table = table.assign(
            laterality=first_true({"L": side == "LEFT", "R": side == "RIGHT", "B": both}),
            view=np.where(table["description"].str.contains(r"\bPA\b"), "PA", ""),
            days_from_baseline=days,
            exclude=self._unwanted(table),
        )
        _unique_barcodes(table[table["exclude"] == ""])
        return self._with_persons(table)

    @cached_property
    def enrolled(self) -> pd.Series:
        """Day number of the enrolment visit by patient; empty without the table."""
        if self.files.find("Enrollees") is None or self.files.find("AllClinical00") is None:
            return pd.Series(dtype=float)
        return self.persons.set_index("patient")["day"]

    @cached_property
    def _enrolled_or_first(self) -> pd.Series:
        """As `enrolled`; where it is unknown, the day of the first baseline image."""
        placed = self._placed
        first = placed[placed["visit"] == "V00"].groupby("patient")["day"].min()
        return self.enrolled.dropna().combine_first(first)

    @cached_property
    def _placed(self) -> pd.DataFrame:
        """What the paths say: ``file, patient, date, barcode, visit, release, day``; empty where one says nothing."""
        rows: list[dict[str, object]] = []
        for file in self.files.images:
            found = PATH.fullmatch(file)
            if found is None:
                rows.append({"file": file})
                continue
            part = found.groupdict()
            visit = f"V{int(part['visit']):02d}"
            if part["months"] is not None and MONTHS.get(visit) != int(part["months"]):
                raise InputError(
                    f"{part['months']}m/{part['release']}: release {part['release']} is of visit {visit} "
                    f"({MONTHS.get(visit, 'unknown')} months); this folder is in the wrong place."
                )
            rows.append(
                {"file": file, "visit": visit, "day": _day(part["date"])}
                | {k: part[k] for k in [*ACQUISITION, "release"]}
            )
        columns = ["file", *ACQUISITION, "visit", "release", "day"]
        table = pd.DataFrame(rows, columns=columns)
        return table.fillna(dict.fromkeys([*ACQUISITION, "visit", "release"], "")).astype({"day": float})

    @cached_property
    def _descriptions(self) -> pd.DataFrame:
        """``patient, date, barcode, description`` of every acquisition, from ``contents.csv`` or ``image03``."""
        names = [name for depth in ("", "*/", "*/*/") for name in self.files.matching(f"{depth}contents.csv")]
        names += self.files.matching(f"{self.files.folder}/contents*.csv")
        parts = []
        for sheet in map(self.files.read, sorted(set(names))):
            folders, owner = sheet.text("Folder"), sheet.text("ParticipantID")
            parts.append(_acquisitions(sheet.name, folders, sheet.text("SeriesDescription"), owner))
        archive = self.files.optional("image03")
        if archive is not None:
            folders, owner = archive.text("image_file"), archive.text("src_subject_id")
            parts.append(_acquisitions(archive.name, folders, archive.text("image_description"), owner))
        if not parts:
            raise InputError(
                f"{self.files.source}: no contents.csv (nor image03): nothing tells what an acquisition shows."
            )
        table = pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)
        twice = table.duplicated(ACQUISITION)
        if twice.any():
            raise InputError(f"contents.csv: {int(twice.sum())} acquisition(s) have two series descriptions.")
        return table

    def _unwanted(self, table: pd.DataFrame) -> pd.Series:
        """Why each image is not wanted; empty for those that are."""
        bare = table["description"].str.replace(r"_(LEFT|RIGHT)$", "", regex=True, flags=re.IGNORECASE).str.lower()
        wanted = bare.isin([name.lower() for name in self.options.acquisitions])
        releases = table.groupby(ACQUISITION)["release"].transform("min")
        reasons = {
            "path_unknown": table["patient"] == "",
            "other_visit": ~table["visit"].isin(self.options.visits),
            "not_in_contents": table["description"] == "",
            "same_acquisition": table["release"] != releases,
            "": wanted,
        }
        reasons |= {reason: table["description"].str.contains(text, case=False) for reason, text in EXCLUDED.items()}
        return first_true(reasons, "other_acquisition")

    def _with_persons(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.enrolled.empty:
            return table.assign(site="", sex="", age=np.nan)
        known = table[["patient"]].merge(self.persons, on="patient", how="left")
        age = known["age"] + (table["days_from_baseline"].clip(lower=0) // 365.25).fillna(0)
        return table.assign(site=known["site"].fillna(""), sex=known["sex"].fillna(""), age=age)


def _acquisitions(name: str, folders: pd.Series, description: pd.Series, owner: pd.Series) -> pd.DataFrame:
    """The last three parts of each folder are participant, date and barcode; the participant must be the row's."""
    parts = folders.str.extract(r"(\d{7})[/\\](\d{8})[/\\](\d{8})(?:\.tar\.gz)?[/\\]?$")
    table = parts.set_axis(ACQUISITION, axis=1).assign(description=description)
    refuse_any(table["patient"].isna(), f"{name}: {{}} row(s) whose folder is not participant/date/barcode.")
    refuse_any(table["patient"] != owner, f"{name}: {{}} folder(s) of another participant than the row's.")
    return table


def _unique_barcodes(films: pd.DataFrame) -> None:
    owners = films.drop_duplicates(ACQUISITION)
    refuse_any(owners["barcode"].duplicated(), "{} folder(s) have the barcode of another acquisition.")


def refuse_any(wrong: pd.Series, message: str) -> None:
    """InputError with the number of wrong rows in the place of ``{}``, if there are any."""
    if wrong.any():
        raise InputError(message.format(int(wrong.sum())))


def _day(text: str) -> float:
    try:
        return float(date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal())
    except ValueError:
        return float("nan")
