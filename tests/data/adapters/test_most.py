"""Multicenter Osteoarthritis Study on a synthetic release."""

import numpy as np
import pandas as pd
import pytest
from tests.data.adapters.sas7bdat import write_sas7bdat

from orthoray.config import parse_config
from orthoray.data.cards import load_card
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.most import MostTables
from orthoray.data.sources.options import MostOptions
from orthoray.data.tables import Tables
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import Pseudonyms

PEOPLE = ["MB00001", "MB00002", "MI00003", "MI00004"]
GRADES = {"V0XRKL": [0.0, 1.9, 8.0, -1.0], "V0XLKL": [4.0, 2.0, 9.0, np.nan], "V5XRKL": [1.0, 3.0, 8.0, 2.0]}
REPLACED = {"V99ERKRINDEX": [np.nan, 3.0, 1.0, 0.0], "V99ELKRINDEX": [2.0, np.nan, np.nan, np.nan]}

EXPECTED = [
    ("MB00001", "V0", "L", "4", "", "1"),
    ("MB00001", "V0", "R", "0", "", "0"),
    ("MB00001", "V5", "L", "", "not_in_table", "1"),
    ("MB00001", "V5", "R", "1", "", "0"),
    ("MB00002", "V0", "L", "2", "", "0"),
    ("MB00002", "V0", "R", "", "between_1_and_2", "1"),
    ("MI00003", "V0", "L", "", "excluded", "0"),
    ("MI00003", "V0", "R", "", "replaced_or_unusable", ""),
    ("MI00004", "V0", "L", "", "not_read", "0"),
    ("MI00004", "V0", "R", "", "not_read", "0"),
]


def write_most(root, **changes):
    for person in PEOPLE:
        touch(root, f"{person}00000/V0XRAY/1/PA10/film.dcm")
    touch(root, "MB0000100000/V5XRAY/1/PA10/film.dcm")
    touch(root, "MB0000100000/V0XRAY/1/LAT/film.dcm")
    touch(root, "MB0000100000/V4XRAY/1/PA10/film.dcm")
    touch(root, "odd/film.dcm")
    (root / "tables").mkdir()
    people = {"MOSTID": PEOPLE}
    write_sas7bdat(root / "tables" / "mostv01235xray.sas7bdat", pd.DataFrame(people | GRADES | changes))
    write_sas7bdat(root / "tables" / "MOSTOUTCOMES.sas7bdat", pd.DataFrame(people | REPLACED))
    return root


def touch(root, name):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()


def tables_of(root, **changes):
    return MostTables(SourceFiles(str(root)), parse_config(MostOptions, {"name": "most"} | changes, "test"))


def test_codes_that_are_no_grade_leave_a_reason(tmp_path):
    knees = tables_of(write_most(tmp_path)).knees
    found = knees[["patient", "visit", "laterality", "kl", "kl_reason", "tkr"]].sort_values(
        ["patient", "visit", "laterality"]
    )
    assert list(found.itertuples(index=False, name=None)) == EXPECTED


def test_one_point_nine_becomes_what_the_card_says(tmp_path):
    knees = tables_of(write_most(tmp_path), kl_1_9="1").knees.set_index(["patient", "visit", "laterality"])
    assert knees.loc[("MB00002", "V0", "R"), ["kl", "kl_reason"]].tolist() == ["1", ""]


def test_other_views_and_visits_have_their_reason(tmp_path):
    films = tables_of(write_most(tmp_path)).films.set_index("file")["exclude"]
    assert films[films != ""].to_dict() == {
        "MB0000100000/V0XRAY/1/LAT/film.dcm": "other_view",
        "MB0000100000/V4XRAY/1/PA10/film.dcm": "other_visit",
        "odd/film.dcm": "path_unknown",
    }


def test_letters_of_the_text_release_are_no_grade(tmp_path):
    write_most(tmp_path)
    (tmp_path / "tables" / "mostv01235xray.sas7bdat").unlink()
    (tmp_path / "tables" / "MOSTV01235XRAY.txt").write_text("MOSTID\tV0XRKL\nMB00001\tP\nMB00002\t3\n")
    grades = tables_of(tmp_path).knees.set_index(["patient", "visit", "laterality"])["kl"]
    assert (grades[("MB00001", "V0", "R")], grades[("MB00002", "V0", "R")]) == ("", "3")


def test_unknown_grades_and_two_films_of_a_visit_are_refused(tmp_path):
    root = write_most(tmp_path, V0XRKL=[0.0, 1.5, 8.0, -1.0])
    with pytest.raises(InputError, match=r"1 cell\(s\) of column 'V0XRKL'"):
        _ = tables_of(root).knees
    touch(root, "MB0000100000/V0XRAY/2/PA10/film.dcm")
    with pytest.raises(InputError, match=r"1 film\(s\) are of a person and visit"):
        _ = tables_of(root).knees


def test_a_path_pattern_needs_its_groups():
    with pytest.raises(InputError, match="patient, visit and view"):
        tables_of("nowhere", path=r"(?P<patient>\d+)")


def test_the_card_finds_its_columns(tmp_path):
    card = load_card("most")
    tables = Tables(str(write_most(tmp_path)), Pseudonyms(b"a key of the tests 0123", "most"), card.adapter)
    for facts in card.facts:
        tables.check(facts, facts.columns.values())
    for label in card.labels:
        tables.check(label, label.columns_read)
