"""The tables of the Osteoarthritis Initiative (OAI): persons, readings of knee films, knee replacements.

Each comes as ASCII (``|``), SAS7BDAT or a table of the NIMH Data Archive. Column case differs between files.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from orthoray.data.sources.cells import first_true, smaller
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.options import OaiOptions
from orthoray.data.sources.sheet import Sheet
from orthoray.errors import InputError

MONTHS = {
    "V00": 0, "V01": 12, "V02": 18, "V03": 24, "V04": 30, "V05": 36, "V06": 48, "V07": 60, "V08": 72, "V09": 84,
    "V10": 96, "V11": 108,
}  # fmt: skip
"""Visit → months since enrolment. The number of a visit is not its year."""

DAYS_PER_MONTH = 30.4375
SIDES = {1.0: "R", 2.0: "L"}
SIDE_WORDS = {1.0: "Right", 2.0: "Left"}
NDA_READINGS = ("kxrsq01", "oai_kxrsemiquant01")
BARCODE = r"\d{12}"


def persons(files: SourceFiles) -> pd.DataFrame:
    """One row per person from ``Enrollees`` and ``AllClinical00``.

    Returns:
        ``patient, site, sex`` (M, F or empty), ``race, hispanic, cohort`` (codes, NaN = missing), ``age`` at baseline
        (years), ``bmi`` (kg/m²), ``day`` of the enrolment visit (day number). Age, bmi and day are NaN for persons
        without clinical data.

    Raises:
        InputError: a table or column is missing, a code is unknown, or a person occurs twice.
    """
    enrolled, clinic = files.sheet("Enrollees"), files.sheet("AllClinical00")
    people = pd.DataFrame(
        {
            "patient": enrolled.unique("ID"),
            "site": enrolled.text("V00SITE").str.replace(r"\s*:.*$", "", regex=True),
            "sex": enrolled.code("P02SEX", words={1.0: "Male", 2.0: "Female"}).map({1.0: "M", 2.0: "F"}).fillna(""),
            "race": enrolled.number("P02RACE"),
            "hispanic": enrolled.number("P02HISP"),
            "cohort": enrolled.number("V00COHORT", allowed=(1, 2, 3)),
        }
    )
    clinical = pd.DataFrame(
        {
            "patient": clinic.unique("ID"),
            "age": clinic.number("V00AGE"),
            "bmi": clinic.number("P01BMI"),
            "day": clinic.day("V00EVDATE"),
        }
    )
    return people.merge(clinical, on="patient", how="left")


def readings(files: SourceFiles, options: OaiOptions) -> pd.DataFrame:
    """KL grades of one reading project, from ``KXR_SQ_BU##`` of every visit or from the archive's one table.

    Other projects re-read part of the films for purposes of their own; which row comes first says nothing.

    Returns:
        ``patient, laterality`` (L or R)``, visit, kl`` (0..4, NaN = missing, which is not grade 0)``, barcode`` (12
        digits or empty). One row per knee and visit.

    Raises:
        InputError: no such table, no row of the project, a knee with two different readings, a barcode that is not 12
            digits (a leading zero was lost), or a code that does not exist.
    """
    archive = files.optional(*NDA_READINGS)
    visits = {visit: files.optional(f"KXR_SQ_BU{visit[1:]}") for visit in MONTHS}
    sheets = {visit: sheet for visit, sheet in visits.items() if sheet is not None}
    if archive is not None and sheets:
        raise InputError(
            f"{archive.name}, {next(iter(sheets.values())).name}: these hold the same readings. Keep one kind."
        )
    if archive is not None:
        parts = [_readings_of(archive, "", options.readprj)]
    else:
        if not sheets:
            files.sheet("KXR_SQ_BU00", *NDA_READINGS)
        parts = [_readings_of(sheet, visit, options.readprj) for visit, sheet in sheets.items()]
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise InputError(f"{files.folder}: no row of reading project {options.readprj} (column READPRJ) in any table.")
    return table


def _readings_of(sheet: Sheet, visit: str, project: int) -> pd.DataFrame:
    """Readings of one table; ``visit`` is empty for the archive's table, which has a column of it."""
    sheet = Sheet(sheet.name, sheet.cells[sheet.number("READPRJ") == project].reset_index(drop=True))
    barcodes = [f"{visit}BARCDBU"] if visit else ["barcdbu", "barcode"]
    known = sheet.find(barcodes) is not None
    table = pd.DataFrame(
        {
            "patient": sheet.text("ID") if visit else sheet.text("src_subject_id"),
            "laterality": sheet.code("SIDE", words=SIDE_WORDS).map(SIDES).fillna(""),
            "visit": visit or _visits(sheet),
            "kl": sheet.number(f"{visit}XRKL", allowed=range(5)),
            "barcode": sheet.text(*barcodes) if known else "",
        }
    ).drop_duplicates(ignore_index=True)
    _none_wrong(sheet, (table["patient"] == "") | (table["laterality"] == ""), "without a person or a side")
    bad = (table["barcode"] != "") & ~table["barcode"].str.fullmatch(BARCODE)
    _none_wrong(sheet, bad, "with a barcode that is not 12 digits; keep barcodes as text")
    twice = table.duplicated(["patient", "laterality", "visit"], keep=False)
    _none_wrong(sheet, twice, f"of knees with several readings of project {project}")
    return table


def _visits(sheet: Sheet) -> pd.Series:
    visits = sheet.text("visit").str.upper().str.replace(r"^V?(\d\d)$", r"V\1", regex=True)
    _none_wrong(sheet, ~visits.isin(list(MONTHS)), "of an unknown visit (column visit; V00 … V11 are known)")
    return visits


def _none_wrong(sheet: Sheet, wrong: pd.Series, what: str) -> None:
    if wrong.any():
        raise InputError(f"{sheet.name}: {int(wrong.sum())} row(s) {what}.")


def examinations(files: SourceFiles) -> pd.DataFrame:
    """``barcode, patient, examination, visit`` of ``XRay##``, or of the archive's ``oai_xrmeta01``; empty without them.

    Raises:
        InputError: a barcode occurs twice.
    """
    parts = []
    for visit in MONTHS:
        sheet = files.optional(f"XRay{visit[1:]}")
        if sheet is not None:
            columns = sheet.text("ID"), sheet.text(f"{visit}XRBARCD", f"{visit}BARCODE"), sheet.text(f"{visit}EXAMTP")
            parts.append(_examinations_of(*columns).assign(visit=visit))
    archive = files.optional("oai_xrmeta01")
    if archive is not None:
        columns = archive.text("src_subject_id"), archive.text("barcode"), archive.text("examtype")
        parts.append(_examinations_of(*columns).assign(visit=_visits(archive)))
    if not parts:
        return pd.DataFrame(columns=["barcode", "patient", "examination", "visit"], dtype=str)
    table = pd.concat(parts, ignore_index=True).query("barcode != ''").drop_duplicates()
    twice = int(table["barcode"].duplicated().sum())
    if twice:
        raise InputError(f"XRay##: {twice} barcode(s) occur twice.")
    return table


def _examinations_of(patient: pd.Series, barcode: pd.Series, kind: pd.Series) -> pd.DataFrame:
    name = kind.str.replace(r"^\d+\s*:\s*", "", regex=True)
    return pd.DataFrame({"barcode": barcode, "patient": patient, "examination": name})


def outcomes(files: SourceFiles, options: OaiOptions, enrolled: pd.Series) -> pd.DataFrame:
    """What became of every knee, from ``Outcomes99``; right and left are read from columns of their own.

    Args:
        files: the source.
        options: which codes prove a replacement, and whether partial ones count.
        enrolled: day number of the enrolment visit by patient, for the day of death; may be empty.

    Returns:
        ``patient, laterality, state, event, days``. ``state`` is ``event``, ``none`` (none was reported), or why it
        cannot be told: ``replaced_at_baseline``, ``unconfirmed``, ``partial``, ``type_unknown``. ``event`` is 1 or 0;
        ``days`` since enrolment to the replacement, or to the end of observation: the last contact or death, whichever
        is first (a partial replacement ends it too). Both are NaN where unknown.

    Raises:
        InputError: a missing column, an unknown code, or a person who occurs twice.
    """
    sheet = files.sheet("Outcomes99")
    patient = sheet.unique("ID")
    end = smaller(_last_contact(sheet), _death(sheet, patient.map(enrolled)))
    knees = [_knee(sheet, patient, side, end, options) for side in ("R", "L")]
    return pd.concat(knees, ignore_index=True).sort_values(["patient", "laterality"], ignore_index=True)


def _knee(sheet: Sheet, patient: pd.Series, side: str, end: pd.Series, options: OaiOptions) -> pd.DataFrame:
    code, day = sheet.number(f"V99E{side}KRPCF"), sheet.number(f"V99E{side}KDAYS")
    kind = sheet.code(f"V99E{side}KTLPR", words={1.0: "Total", 2.0: "Partial"})
    reported = code.notna() | day.notna() | (sheet.number(f"V99E{side}KRPSN") == 1)
    states = {
        "replaced_at_baseline": sheet.number(f"V99E{side}KBLRP", allowed=(0, 1)) == 1,
        "none": ~reported,
        "unconfirmed": ~code.isin(options.confirmed),
        "partial": (kind == 2) & (not options.partial),
        "type_unknown": kind.isna(),
    }
    state = first_true(states, "event")
    last = end.where(state == "none", smaller(day, end).where(state == "partial"))
    return pd.DataFrame(
        {
            "patient": patient,
            "laterality": side,
            "state": state,
            "event": state.map({"event": 1.0, "none": 0.0, "partial": 0.0}),
            "days": day.where(state == "event", last),
        }
    )


def _last_contact(sheet: Sheet) -> pd.Series:
    """Days to the last contact. ``V99RNTCNT`` is a visit code; where its label names months, these must agree."""
    code, text = sheet.number("V99RNTCNT"), sheet.text("V99RNTCNT")
    months = code.map({float(visit[1:]): month for visit, month in MONTHS.items()})
    told = pd.to_numeric(text.str.extract(r"(\d+)\s*-?\s*[Mm]onth", expand=False))
    wrong = (months.notna() & told.notna() & (months != told)) | (code.notna() & months.isna() & told.isna())
    _none_wrong(sheet, wrong, "with an unknown visit in column V99RNTCNT")
    return (months.fillna(told) * DAYS_PER_MONTH).round()


def _death(sheet: Sheet, enrolled: pd.Series) -> pd.Series:
    """Days to death; NaN for the living and where a date is missing."""
    if sheet.find(["V99EDDDATE"]) is None:
        return pd.Series(np.nan, index=enrolled.index)
    return sheet.day("V99EDDDATE") - enrolled.astype(float)
