"""A synthetic Osteoarthritis Initiative: every person is one trap of the tables; the truth is written by hand."""

import csv
import io
from datetime import date, timedelta

import pandas as pd
from tests.data.adapters.sas7bdat import write_sas7bdat

ENROLLED = date(2004, 1, 1)
PA = "Bilateral PA Fixed Flexion Knee"

PERSONS = {
    "1000001": "ordinary; project 37 read it first and otherwise",
    "1000002": "right knee replaced after 900 days",
    "1000003": "left knee replaced before baseline",
    "1000004": "right: reported, adjudication failed to confirm it",
    "1000005": "left: partial replacement after 1200 days",
    "1000006": "right: seen on a film only, never adjudicated",
    "1000007": "died after 300 days",
    "1000008": "released with the E half",
    "1000009": "grades missing by code and by blank",
    "1000010": "read only by project 37",
    "1000011": "the same acquisition in the C and the E folder",
    "1000012": "left replaced after 2000 days; films at 48 and 72 months too",
}

MISSING = ".: Missing Form/Incomplete Workbook"
FAILED = "0: Replacement adjudcated,failed to confirm"
CONFIRMED = "3: Replacement adjudicated, confirmed"
SEEN = "1: Yes, replacement seen on FU xray"

KXR00 = """
ID|SIDE|READPRJ|VERSION|V00XRKL|V00XRJSM|V00BARCDBU|NOTE
1000001|1: Right|37|0.9|4|1.4|016600000101|other project
1000001|1: Right|15|0.9|2|1.4|016600000101|see form: "page 2
1000001|2: Left|15|0.9|1|.5|016600000101|Ménière: left
1000002|1: Right|15|0.9|3|1|016600000102|
1000002|2: Left|15|0.9|0|0|016600000102|
1000003|1: Right|15|0.9|1|0|016600000103|
1000003|2: Left|15|0.9|.A: Not Expected|.|016600000103|
1000004|1: Right|15|0.9|2|0|016600000104|
1000004|2: Left|15|0.9|2|0|016600000104|
1000005|1: Right|15|0.9|0|0|016600000105|
1000005|2: Left|15|0.9|3|0|016600000105|
1000006|1: Right|15|0.9|3|0|016600000106|
1000006|2: Left|15|0.9|0|0|016600000106|
1000007|1: Right|15|0.9|1|0|016600000107|
1000007|2: Left|15|0.9|1|0|016600000107|
1000008|1: Right|15|0.9|0|0|016600000108|
1000008|2: Left|15|0.9|4|0|016600000108|
1000009|1: Right|15|0.9|.: Missing Form/Incomplete Workbook|0|016600000109|
1000009|2: Left|15|0.9| |0|016600000109|
1000010|1: Right|37|0.9|3|0|016600000110|
1000010|2: Left|37|0.9|3|0|016600000110|
1000011|1: Right|15|0.9|2|0|016600000111|
1000011|2: Left|15|0.9|3|0|016600000111|
1000012|1: Right|15|0.9|1|0|016600000112|
1000012|2: Left|15|0.9|2|0|016600000112|
"""

KXR06 = """
ID|side|readprj|V06XRKL|V06BARCDBU
1000001|1: Right|15|3|016600000601
1000001|2: Left|15|1|016600000601
1000002|1: Right|15|.T|016600000602
1000002|2: Left|15|1|016600000602
1000012|1: Right|15|1|016600000612
1000012|2: Left|15|3|016600000612
"""

KXR08 = """
ID|SIDE|READPRJ|V08XRKL|V08BARCDBU
1000008|1: Right|15|2|016600000808
1000012|1: Right|15|2|016600000812
1000012|2: Left|15|.|016600000812
"""

KXR10 = """
ID|SIDE|READPRJ|V10XRKL|V10BARCDBU
1000001|1: Right|15|4|016600001001
1000001|2: Left|15|1|016600001001
1000002|2: Left|15|2|016600001002
1000011|1: Right|15|2|016600001011
1000011|2: Left|15|3|016600001011
"""

OUTCOMES = f"""
id|V99ERKBLRP|V99ELKBLRP|V99ERKRPCF|V99ELKRPCF|V99ERKRPSN|V99ELKRPSN|V99ERKTLPR|V99ELKTLPR|V99ERKDAYS|V99ELKDAYS|V99EDDCF|V99EDDDATE|V99RNTCNT
1000001|0: No|0: No|||||||||||11: 108-month
1000002|0: No|0: No|{CONFIRMED}||||1: Total||900||||11: 108-month
1000003|0: No|1: Yes|||||||||||11: 108-month
1000004|0: No|0: No|{FAILED}||||||700||||11: 108-month
1000005|0: No|0: No||{CONFIRMED}||||2: Partial||1200|||11: 108-month
1000006|0: No|0: No|||{SEEN}||||||||11: 108-month
1000007|0: No|0: No|||||||||1: Yes|10/27/2004|1: 12-month
1000008|0: No|0: No|||||||||||8: 72-month
1000009|0: No|0: No|||||||||||.: Missing
1000010|0: No|0: No|||||||||||0: Baseline
1000011|0: No|0: No|||||||||||10: 96-month
1000012|0: No|0: No||{CONFIRMED}||||1: Total||2000|||11: 108-month
"""

ENROLLEES = "ID|V00SITE|P02SEX|P02RACE|P02HISP|V00COHORT\n" + "".join(
    f"{name}|C: Columbus|{1 + place % 2}: {('Male', 'Female')[place % 2]}|1: White|0: No|2: Incidence\n"
    for place, name in enumerate(PERSONS)
)
CLINICAL = "ID|V00AGE|P01BMI|V00EVDATE\n" + "".join(
    f"{name}|{60 + n}|28.{n}|01/01/2004\n" for n, name in enumerate(PERSONS)
)
XRAY00 = "ID|V00EXAMTP|V00XRDATE|V00XRBARCD\n" + "".join(
    f"{name}|1: {PA}|01/01/2004|0166000001{name[-2:]}\n{name}|4: PA Right Hand|01/01/2004|0166000009{name[-2:]}\n"
    for name in PERSONS
)

TABLES = {
    "kxr_sq_bu00": KXR00,
    "kXR_SQ_BU06": KXR06,
    "KXR_SQ_BU08": KXR08,
    "kxr_sq_bu10": KXR10,
    "Outcomes99": OUTCOMES,
    "Enrollees": ENROLLEES,
    "AllClinical00": CLINICAL,
    "XRay00": XRAY00,
}

TRUTH = """
person,visit,side,kl,kl_reason,kl48,kl48_reason,kl96,tkr,tkr_reason,tkr_event,tkr_days,progression,progression_reason
1000001,V00,L,1,,1,,1,0,,0,3287,0,
1000001,V00,R,2,,3,,4,0,,0,3287,2,
1000002,V00,L,0,,1,,2,0,,0,3287,2,
1000002,V00,R,3,,,replaced,,1,,1,900,1,
1000003,V00,L,,replaced,,replaced,,,replaced_at_baseline,,,,replaced_at_baseline
1000003,V00,R,1,,,not_read,,0,,0,3287,,not_followed
1000004,V00,L,2,,,not_read,,0,,0,3287,,not_followed
1000004,V00,R,2,,,not_read,,,unconfirmed,,,,unproven_replacement
1000005,V00,L,3,,,replaced,,,partial_replacement,0,1200,,unproven_replacement
1000005,V00,R,0,,,not_read,,0,,0,3287,,not_followed
1000006,V00,L,0,,,not_read,,0,,0,3287,,not_followed
1000006,V00,R,3,,,not_read,,,unconfirmed,,,,unproven_replacement
1000007,V00,L,1,,,not_read,,0,,0,300,,not_followed
1000007,V00,R,1,,,not_read,,0,,0,300,,not_followed
1000008,V00,L,4,,,not_read,,0,,0,2192,,baseline_kl4
1000008,V00,R,0,,,not_read,,0,,0,2192,2,
1000009,V00,L,,not_read,,not_read,,,no_last_contact,,,,not_read
1000009,V00,R,,not_read,,not_read,,,no_last_contact,,,,not_read
1000010,V00,L,,no_reading,,not_read,,,no_follow_up,,,,not_read
1000010,V00,R,,no_reading,,not_read,,,no_follow_up,,,,not_read
1000011,V00,L,3,,,not_read,3,0,,0,2922,0,
1000011,V00,R,2,,,not_read,2,0,,0,2922,0,
1000012,V00,L,2,,3,,,1,,1,2000,2,
1000012,V00,R,1,,1,,,0,,0,3287,2,
1000012,V06,L,3,,,not_baseline,,1,,1,539,,not_baseline
1000012,V06,R,1,,,not_baseline,,0,,0,1826,,not_baseline
1000012,V08,L,,replaced,,not_baseline,,,replaced_before,,,,not_baseline
1000012,V08,R,2,,,not_baseline,,0,,0,1095,,not_baseline
"""

TEXTS = ("ID", "NOTE", "SITE", "BARC", "DATE", "EXAMTP")
"""Parts of the names of columns that hold text in SAS tables."""

FOLDERS = {"V00": "00m/0", "V06": "48m/6", "V08": "72m/8", "V10": "96m/10"}


def truth():
    """The hand-written labels, sorted by person, visit and side."""
    return pd.read_csv(io.StringIO(TRUTH.strip()), dtype=str, keep_default_na=False)


def write_oai(root, form="ascii", **changes):
    """Write folders, ``contents.csv`` and tables. ``changes``: table → text in its stead, None = leave it out."""
    for person in PERSONS:
        half = "E.1" if person == "1000008" else "C.2"
        film(root, person, "V00", half, f"000001{person[-2:]}")
    film(root, "1000011", "V00", "E.1", "00000111")
    film(root, "1000012", "V06", "C.1", "00000612", 1461)
    film(root, "1000012", "V08", "C.1", "00000812", 2192)
    film(root, "1000001", "V00", "C.2", "00000901", description="PA Right Hand")
    film(root, "1000001", "V00", "C.2", "00000902", description="MP_LOCATOR_LEFT")
    film(root, "1000001", "V00", "C.2", "00000903", description="AX_MPR_LEFT")
    film(root, "1000001", "V00", "C.2", "00000904", description="SAG_3D_DESS_LEFT")
    for name, text in (TABLES | changes).items():
        if text is not None:
            write_table(root / "tables" / name, text, form)
    return root


def film(root, person, visit, half, barcode, days=0, description=PA):
    """One acquisition of one file, and its line in contents.csv of the time point."""
    day = (ENROLLED + timedelta(days)).strftime("%Y%m%d")
    folder = f"{FOLDERS[visit].split('/')[1]}.{half}/{person}/{day}/{barcode}"
    place = root / FOLDERS[visit].split("/")[0] / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "001").touch()
    contents = root / FOLDERS[visit].split("/")[0] / "contents.csv"
    new = not contents.exists()
    with contents.open("a", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["Folder", "ParticipantID", "SeriesDescription"]] if new else [])
        writer.writerow([folder, person, description])


def write_table(path, text, form):
    """``ascii``: CRLF and Latin-1 as released. ``sas``: numbers in the place of codes with labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "ascii":
        path.with_suffix(".txt").write_bytes(text.strip().replace("\n", "\r\n").encode("latin-1") + b"\r\n")
        return
    rows = [line.split("|") for line in text.strip().splitlines()]
    table = pd.DataFrame(rows[1:], columns=rows[0])
    for name in table.columns:
        if name.upper() == "SIDE" or not any(word in name.upper() for word in TEXTS):
            code = table[name].str.extract(r"^\s*([+-]?\d*\.?\d+)", expand=False)
            table[name] = pd.to_numeric(code.mask(table[name].str.match(r"^\s*\.(?!\d)"))).astype(float)
    write_sas7bdat(path.with_suffix(".sas7bdat"), table)
