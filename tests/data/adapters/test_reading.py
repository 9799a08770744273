"""Tables as they come: separators, encodings, missing codes, SAS."""

import datetime

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.adapters.sas7bdat import write_sas7bdat

from orthoray.data.sources.sheet import Sheet, read_cells
from orthoray.data.sources.text import parse_text
from orthoray.errors import InputError


def sheet(text):
    return Sheet("t.csv", parse_text(text.encode(), "t.csv"))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_any_separator_line_end_and_encoding(separator, end, encoding):
    lines = [["id", "note"], ["0012", "Ménière"], ["0013", ""]]
    table = parse_text((end.join(map(separator.join, lines)) + end).encode(encoding), "t")
    assert table.to_dict("records") == [{"id": "0012", "note": "Ménière"}, {"id": "0013", "note": ""}]


def test_quotes_hold_separators_but_mean_nothing_between_bars():
    assert parse_text(b'a,b\n"1,2",3\n', "t")["a"].tolist() == ["1,2"]
    assert parse_text(b'a|b\n5" tall|"x\n', "t").to_numpy().tolist() == [['5" tall', '"x']]


def test_cells_that_look_empty_to_pandas_stay_text():
    assert parse_text(b"a,b\nNA,nan\nNone,NULL\n", "t").to_numpy().tolist() == [["NA", "nan"], ["None", "NULL"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 cells"),
        (b"a,b\n1,2,3\n", "line 2 has 3 cells"),
        (b"a,b,a\n1,2,3\n", "column 'a' occurs twice"),
        (b"P\0K\3\4", "zero bytes"),
        (b'a,b\n"1,2\n', "not a CSV table"),
    ],
)
def test_damaged_tables_are_refused(content, message):
    with pytest.raises(InputError, match=message):
        parse_text(content, "t.csv")


def test_the_second_header_line_of_the_data_archive_is_dropped():
    text = "subjectkey\tsrc_subject_id\nThe NDAR Global Unique Identifier\tSubject ID how it is defined\nNDARX\t0001\n"
    assert parse_text(text.encode(), "t")["src_subject_id"].tolist() == ["0001"]
    assert len(parse_text(b"src_subject_id\tnote\n0001\ta b\n", "t")) == 1


def test_a_table_without_header_gets_its_names():
    assert parse_text(b"0000,1\n0001,0\n", "t", ["exam", "acl"])["exam"].tolist() == ["0000", "0001"]


@pytest.mark.parametrize(
    "cell", ["", " ", ".", ".: Missing Form/Incomplete Workbook", ".A: Not Expected", ".M", ".T", ".J"]
)
def test_missing_codes_are_no_numbers(cell):
    table = sheet(f"id|kl\n1|{cell}\n")
    assert table.number("kl").isna().all()
    assert table.text("kl").tolist() == [""]


@pytest.mark.parametrize(("cell", "number"), [(".5", 0.5), ("1.4", 1.4), ("3: Confirmed", 3.0), ("-1", -1), ("0", 0)])
def test_numbers_and_codes_with_labels(cell, number):
    assert sheet(f"id|kl\n1|{cell}\n").number("KL").tolist() == [number]


@pytest.mark.parametrize("cell", ["see: 2", "two", "1:2", "3 or 4"])
def test_text_is_no_code(cell):
    with pytest.raises(InputError, match=r"1 cell\(s\) of column 'kl' are not a number") as caught:
        sheet(f"id|kl\n1|{cell}\n").number("KL")
    assert cell not in str(caught.value)


def test_columns_are_found_whatever_their_case_unless_two_match():
    assert sheet("Id|x\n7|\n").text("ID").tolist() == ["7"]
    with pytest.raises(InputError, match="mean the same"):
        sheet("id|ID\n7|7\n").text("Id")
    with pytest.raises(InputError, match="Did you mean 'V00XRKL'"):
        sheet("V00XRKL|x\n7|7\n").text("V00XKRL")


@pytest.mark.parametrize("cell", ["10/27/2004", "2004-10-27", "10/27/04", "20041027"])
def test_days(cell):
    assert sheet(f"id|day\n1|{cell}\n2|.\n").day("day").tolist()[:1] == [datetime.date(2004, 10, 27).toordinal()]


def test_sas_keeps_text_and_writes_numbers_plainly(tmp_path):
    table = pd.DataFrame(
        {"ID": ["1000001", "1000002"], "BARC": ["016600000101", ""], "KL": [2.0, np.nan], "JSN": [1.4, 0.0]}
    )
    write_sas7bdat(tmp_path / "t.sas7bdat", table)
    pyreadstat.write_xport(table, str(tmp_path / "t.xpt"))
    expected = [["1000001", "016600000101", "2", "1.4"], ["1000002", "", "", "0"]]
    for name in ("t.sas7bdat", "t.xpt"):
        assert read_cells(str(tmp_path / name), name).to_numpy().tolist() == expected


def test_sas_from_a_remote_store_and_damaged_ones(tmp_path):
    import fsspec

    write_sas7bdat(tmp_path / "t.sas7bdat", pd.DataFrame({"ID": ["1"], "KL": [2.0]}))
    content = (tmp_path / "t.sas7bdat").read_bytes()
    store = fsspec.filesystem("memory")
    store.pipe("/sas/t.sas7bdat", content)
    assert read_cells("memory://sas/t.sas7bdat", "t.sas7bdat")["KL"].tolist() == ["2"]
    store.pipe("/sas/t.sas7bdat", content[:500])
    with pytest.raises(InputError, match="not a SAS table"):
        read_cells("memory://sas/t.sas7bdat", "t.sas7bdat")


CELLS = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1, max_size=8)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_what_python_writes_as_csv_is_read_back(rows):
    import csv
    import io

    handle = io.StringIO(newline="")
    csv.writer(handle).writerows([["a", "b", "c"], *rows])
    assert parse_text(handle.getvalue().encode(), "t").to_numpy().tolist() == rows
