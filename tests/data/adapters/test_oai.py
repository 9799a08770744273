"""The Osteoarthritis Initiative: one synthetic person per trap of its tables, against a truth written by hand."""

import re

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.adapters import oai_source
from tests.data.adapters.oai_source import KXR00, PERSONS, TABLES, film, truth, write_oai

from orthoray.config import parse_config
from orthoray.data.cards import load_card
from orthoray.data.labels import label_rows
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.oai import OaiTables
from orthoray.data.sources.oai_tables import outcomes
from orthoray.data.sources.options import OaiOptions
from orthoray.data.tables import Tables
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import Pseudonyms


def options(**changes):
    return parse_config(OaiOptions, {"name": "oai"} | changes, "test")


def tables_of(root, **changes):
    return OaiTables(SourceFiles(str(root)), options(**changes)).makers


def knees_of(root, **changes):
    table = tables_of(root, **changes)["knees"]()
    return table.rename(columns={"patient": "person", "laterality": "side"}).sort_values(
        ["person", "visit", "side"], ignore_index=True
    )


@pytest.fixture(scope="module", params=["ascii", "sas"])
def source(request, tmp_path_factory):
    return write_oai(tmp_path_factory.mktemp(request.param), request.param)


def test_every_label_is_as_written_by_hand(source):
    expected = truth()
    pd.testing.assert_frame_equal(knees_of(source)[list(expected.columns)], expected, check_dtype=False)


def test_one_film_serves_two_knees_and_c_and_e_are_one_cohort(source):
    films = tables_of(source)["films"]()
    wanted = films[films["exclude"] == ""]
    assert set(wanted["patient"]) == set(PERSONS)
    assert set(wanted["laterality"]) == {"B"}
    assert wanted.loc[wanted["patient"] == "1000008", "file"].str.startswith("00m/0.E.1/").all()
    assert (knees_of(source).groupby("file").size() == 2).all()


def test_what_is_not_a_knee_film_has_its_reason(source):
    films = tables_of(source)["films"]()
    reasons = films[films["exclude"] != ""].set_index("description")["exclude"].to_dict()
    assert reasons == {
        "PA Right Hand": "not_knee",
        "MP_LOCATOR_LEFT": "localiser",
        "AX_MPR_LEFT": "derived",
        "SAG_3D_DESS_LEFT": "other_acquisition",
        oai_source.PA: "same_acquisition",
    }
    again = films[films["exclude"] == "same_acquisition"]
    assert again["file"].tolist() == ["00m/0.E.1/1000011/20040101/00000111/001"]


def test_films_know_their_visit_day_age_and_site(source):
    films = tables_of(source)["films"]().set_index("file")
    late = films.loc["48m/6.C.1/1000012/20080101/00000612/001"]
    assert late[["visit", "days_from_baseline", "age", "sex", "site", "view"]].tolist() == [
        "V06", "1461", "75", "F", "C", "PA",
    ]  # fmt: skip


def test_magnetic_resonance_takes_its_side_from_the_description(source):
    films = tables_of(source, acquisitions=["sag_3d_dess"])["films"]()
    wanted = films[films["exclude"] == ""]
    assert wanted[["description", "laterality"]].to_numpy().tolist() == [["SAG_3D_DESS_LEFT", "L"]]


def test_replacement_within_years_needs_follow_up(source):
    knees = knees_of(source).query("visit == 'V00'").set_index(["person", "side"])
    assert knees.loc[("1000002", "R"), ["tkr_1y", "tkr_2y", "tkr_4y"]].tolist() == ["0", "0", "1"]
    assert knees.loc[("1000007", "R"), ["tkr_1y", "tkr_1y_reason"]].tolist() == ["", "censored"]
    assert knees.loc[("1000001", "R"), ["tkr_9y", "tkr_9y_reason"]].tolist() == ["0", ""]
    assert knees.loc[("1000005", "L"), ["tkr_2y", "tkr_4y", "tkr_4y_reason"]].tolist() == ["0", "", "censored"]


def test_partial_and_unconfirmed_count_only_if_asked_for(source):
    partial = knees_of(source, partial=True).set_index(["person", "visit", "side"])
    assert partial.loc[("1000005", "V00", "L"), ["tkr", "tkr_event", "tkr_days"]].tolist() == ["1", "1", "1200"]
    failed = knees_of(source, confirmed=[0, 3]).set_index(["person", "visit", "side"])
    assert failed.loc[("1000004", "V00", "R"), "tkr_reason"] == "type_unknown"


def test_another_project_can_be_asked_for(source):
    grades = knees_of(source, readprj=37).set_index(["person", "visit", "side"])["kl"]
    assert grades[("1000001", "V00", "R")] == "4"
    assert grades[("1000010", "V00", "L")] == "3"
    with pytest.raises(InputError, match="no row of reading project 42"):
        knees_of(source, readprj=42)


def test_barcodes_stay_text_and_free_text_is_not_a_code(source):
    readings = tables_of(source)["readings"]()
    assert set(readings["barcode"].str.len()) == {12}
    assert (readings["barcode"].str[0] == "0").all()
    assert SourceFiles(str(source)).sheet("kxr_sq_bu00").text("NOTE").iloc[1] == 'see form: "page 2'


def changed(table, old, new):
    assert old in TABLES[table]
    return {table: TABLES[table].replace(old, new)}


FAULTS = {
    "side that does not exist": (changed("kxr_sq_bu00", "1000001|2: Left|15", "1000001|3: Both|15"), "SIDE"),
    "sides with each other's labels": (changed("kxr_sq_bu00", "1000001|2: Left|15", "1000001|2: Right|15"), "SIDE"),
    "type with the label of the other": (changed("Outcomes99", "1: Total||900", "2: Total||900"), "V99ERKTLPR"),
    "KL that does not exist": (changed("kxr_sq_bu00", "15|0.9|2|1.4", "15|0.9|2.5|1.4"), "V00XRKL"),
    "grade in words": (changed("kxr_sq_bu00", "15|0.9|2|1.4", "15|0.9|two: 2|1.4"), "V00XRKL"),
    "lost leading zero": (changed("kxr_sq_bu00", "|016600000102|", "|16600000102|"), "not 12 digits"),
    "spreadsheet's barcode": (changed("kxr_sq_bu00", "|016600000102|", "|1.66E+10|"), "not 12 digits"),
    "two readings of one knee": (
        changed("kxr_sq_bu00", "1000002|2: Left|15|0.9|0", "1000002|1: Right|15|0.9|0"),
        "several readings of project 15",
    ),
    "no READPRJ": (changed("kxr_sq_bu00", "READPRJ", "READ"), "READPRJ"),
    "cut off": (changed("kxr_sq_bu00", "1000012|2: Left|15|0.9|2|0|016600000112|", "1000012|2: Left|1"), "cut off"),
    "barcode of another person": (
        changed("kxr_sq_bu00", "1000002|1: Right|15|0.9|3|1|016600000102", "1000002|1: Right|15|0.9|3|1|016600000104"),
        "another person",
    ),
    "barcode twice among films": (changed("XRay00", "016600000902", "016600000102"), "occur twice"),
    "person twice": (changed("Outcomes99", "1000002|0: No|0: No", "1000001|0: No|0: No"), "identifier of their own"),
    "no such baseline code": (changed("Outcomes99", "1000003|0: No|1: Yes", "1000003|0: No|7: ?"), "V99ELKBLRP"),
    "visit and months disagree": (changed("Outcomes99", "8: 72-month", "8: 96-month"), "V99RNTCNT"),
    "unknown contact": (changed("Outcomes99", "8: 72-month", "15"), "V99RNTCNT"),
    "no outcomes": ({"Outcomes99": None}, "no table 'Outcomes99'"),
    "no readings": (
        dict.fromkeys(["kxr_sq_bu00", "kXR_SQ_BU06", "KXR_SQ_BU08", "kxr_sq_bu10"]),
        "no table 'KXR_SQ_BU00",
    ),
    "impossible date": (changed("AllClinical00", "01/01/2004", "13/32/2004"), "V00EVDATE"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_proved_is_refused_without_naming_anybody(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        knees_of(write_oai(tmp_path, **changes))
    assert not re.search(r"10000\d\d|0166\d+", str(caught.value).replace(str(tmp_path), ""))


@pytest.mark.parametrize(
    ("person", "visit", "barcode", "message"),
    [
        ("1000001", "V06", "00000102", "barcode of another acquisition"),
        ("1000012", "V06", "00000812", "barcode of another acquisition"),
    ],
)
def test_two_folders_of_one_barcode_are_refused(tmp_path, person, visit, barcode, message):
    film(write_oai(tmp_path), person, visit, "C.1", barcode, 1500)
    with pytest.raises(InputError, match=message):
        tables_of(tmp_path)["films"]()


def test_a_release_in_the_folder_of_another_visit_is_refused(tmp_path):
    write_oai(tmp_path)
    (tmp_path / "72m" / "6.C.1").mkdir()
    (tmp_path / "48m" / "6.C.1" / "1000012").rename(tmp_path / "72m" / "6.C.1" / "1000012")
    with pytest.raises(InputError, match="of visit V06"):
        tables_of(tmp_path)["films"]()


def test_the_same_table_twice_is_refused(tmp_path):
    write_oai(tmp_path)
    (tmp_path / "tables" / "Outcomes99.csv").write_text("id\n")
    with pytest.raises(InputError, match="several tables are called 'Outcomes99'"):
        knees_of(tmp_path)


def test_without_contents_nothing_tells_what_a_film_shows(tmp_path):
    write_oai(tmp_path)
    for file in tmp_path.glob("*/contents.csv"):
        file.unlink()
    with pytest.raises(InputError, match=re.escape("contents.csv")):
        tables_of(tmp_path)["films"]()


def test_the_data_archive_says_the_same_in_its_own_words(tmp_path):
    lines = ["subjectkey\tsrc_subject_id\tside\treadprj\tvisit\txrkl\tbarcdbu"]
    lines.append(
        "The NDAR Global Unique Identifier (GUID)\tSubject ID\tSide: 1=Right\tProject\tVisit\tKL grade\tBarcode"
    )
    for visit, text in (
        ("V00", KXR00),
        ("V06", oai_source.KXR06),
        ("V08", oai_source.KXR08),
        ("V10", oai_source.KXR10),
    ):
        header, *rows = [line.split("|") for line in text.strip().splitlines()]
        columns = [name.upper() for name in header]
        for row in rows:
            cell = dict(zip(columns, row, strict=True))
            kl = "" if cell[f"{visit}XRKL"].strip().startswith(".") else cell[f"{visit}XRKL"].strip()
            values = [cell["ID"], cell["SIDE"][0], cell["READPRJ"], visit, kl, cell[f"{visit}BARCDBU"]]
            lines.append("\t".join([f"NDAR{cell['ID']}", *values]))
    none = dict.fromkeys(["kxr_sq_bu00", "kXR_SQ_BU06", "KXR_SQ_BU08", "kxr_sq_bu10"])
    write_oai(tmp_path, **none)
    (tmp_path / "tables" / "kxrsq01.txt").write_text("\n".join(lines))
    expected = truth()
    pd.testing.assert_frame_equal(knees_of(tmp_path)[list(expected.columns)], expected, check_dtype=False)


KNEE = st.fixed_dictionaries(
    {
        "BLRP": st.sampled_from(["0: No", "1: Yes", "."]),
        "RPCF": st.sampled_from(["", oai_source.FAILED, oai_source.CONFIRMED, ".: Missing"]),
        "RPSN": st.sampled_from(["", oai_source.SEEN]),
        "TLPR": st.sampled_from(["", "1: Total", "2: Partial"]),
        "DAYS": st.sampled_from(["", "1", "700", "3000"]),
    }
)


def _outcome_table(people):
    names = [f"V99E{side}K{name}" for name in ("BLRP", "RPCF", "RPSN", "TLPR", "DAYS") for side in "RL"]
    lines = ["|".join(["id", *names, "V99RNTCNT"])]
    for place, person in enumerate(people):
        cells = [person[name[4]][name[6:]] for name in names]
        lines.append("|".join([f"10000{place:02d}", *cells, "6: 48-month"]))
    return "\n".join(lines)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({"R": KNEE, "L": KNEE}), min_size=1, max_size=5))
def test_exchanged_sides_give_exchanged_outcomes(tmp_path, people):
    found = []
    for persons in (people, [{"R": person["L"], "L": person["R"]} for person in people]):
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / "tables" / "outcomes99.txt").write_text(_outcome_table(persons))
        found.append(outcomes(SourceFiles(str(tmp_path)), options(), pd.Series(dtype=float)))
    turned = found[1].assign(laterality=found[1]["laterality"].map({"R": "L", "L": "R"}))
    pd.testing.assert_frame_equal(found[0], turned.sort_values(["patient", "laterality"], ignore_index=True))


def test_exchanged_sides_of_all_tables_give_exchanged_labels(source, tmp_path):
    def turn(text):
        swap = {"1: Right": "2: Left", "2: Left": "1: Right", "V99ER": "V99EL", "V99EL": "V99ER"}
        return re.sub("|".join(swap), lambda found: swap[found.group()], text)

    mirrored = knees_of(write_oai(tmp_path, **{name: turn(text) for name, text in TABLES.items()}))
    mirrored["side"] = mirrored["side"].map({"R": "L", "L": "R"})
    order = ["person", "visit", "side"]
    columns = list(truth().columns)
    pd.testing.assert_frame_equal(
        mirrored.sort_values(order, ignore_index=True)[columns], knees_of(source)[columns], check_dtype=False
    )


def test_the_card_joins_labels_to_halves_of_films(source):
    card = load_card("oai_xray")
    ids = Pseudonyms(b"a key of the tests 0123", "oai")
    tables = Tables(str(source), ids, card.adapter)
    for facts in card.facts:
        tables.check(facts, facts.columns.values())
    films = tables_of(source)["films"]().query("exclude == ''")
    halves = pd.concat([films.assign(laterality=side) for side in "RL"])
    images = pd.DataFrame(
        {"file": halves["file"], "laterality": halves["laterality"], "image_id": halves["file"] + halves["laterality"]}
    ).assign(patient_id=halves["patient"].map(lambda name: ids.make("patient", name)))
    labels = {label.task: label_rows(images, set(images["image_id"]), label, tables) for label in card.labels}
    rows, account = labels["xr_tkr"]
    expected = truth().query("tkr != ''")
    assert len(rows) == account["samples"] == len(expected)
    assert rows["event"].sum() == (expected["tkr"] == "1").sum() == 3
    assert sorted(rows["days"]) == sorted(expected["tkr_days"].astype(int))
    assert account["reasons"]["no label: unconfirmed"] == 2
    assert account["rows"] == account["matched"] + sum(account["reasons"].values())
    assert (
        labels["xr_kl"][0]["label"].value_counts().to_dict()
        == truth().query("kl != ''")["kl"].astype(int).value_counts().to_dict()
    )
    assert not re.search(r"1000\d\d\d", "".join(rows["patient_id"]))
