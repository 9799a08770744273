"""Cells of a card's tables: what they may be, what they are mapped to, and how wrong ones are told."""

import re

import numpy as np
import pandas as pd
import pytest
from tests.data.sources import card_with, film_of
from tests.imaging.objects import save_dicom

import orthoray.data.ingest as module
from orthoray.config import describe_keys, load_config, parse_config
from orthoray.data.card_tables import FactColumn, FactsTable, LabelTable
from orthoray.data.facts import check_cells, facts_rows, with_facts
from orthoray.data.ingest import ingest
from orthoray.data.labels import label_rows
from orthoray.data.tables import Tables
from orthoray.data.wrong_cells import told
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import Pseudonyms

IDS = Pseudonyms(b"a key of the tests 0123", "trial")
FACTS = {"table": "t.csv", "key": {"file": "Datei"}}


@pytest.fixture
def tables(tmp_path):
    def write(text):
        (tmp_path / "t.csv").write_text(text)
        return Tables(str(tmp_path), IDS)

    return write


def facts(columns, **changes):
    return parse_config(FactsTable, FACTS | {"columns": columns} | changes, "card")


def wrong(tables, text, columns, **changes):
    with pytest.raises(InputError) as error:
        check_cells(facts(columns, **changes), tables(text))
    return str(error.value)


SIDES = {"column": "Seite", "values": {"links": "L", "rechts": "R"}}


@pytest.mark.parametrize(
    ("fact", "values", "cell", "means"),
    [
        ("laterality", {"links": "L", "rechts": "R", "beide": "B"}, "rechts", "R"),
        ("modality", {"Röntgen": "XR", "MRT": "MR"}, "Röntgen", "XR"),
        ("sex", {"w": "F", "m": "M"}, "w", "F"),
        ("plane", {"sag": "sagittal", "cor": "coronal"}, "cor", "coronal"),
        ("inverted", {"ja": 1, "nein": 0}, "ja", "1"),
        ("view", {"a.p.": "AP"}, "a.p.", "AP"),
        ("site", {"Haus 1": "north"}, "Haus 1", "north"),
        ("exclude", {"gut": "", "verwackelt": "blurred"}, "gut", ""),
    ],
)
def test_cells_mean_what_the_card_says(tables, fact, values, cell, means):
    told, _ = facts_rows(facts({fact: {"column": "x", "values": values}}), tables(f"Datei,x\na.png,{cell}\nb.png,\n"))
    assert told[f"table_{fact}"].tolist() == [means, ""]


def test_mapped_sides_reach_the_images_and_join_labels(tables):
    text = "Datei,Seite,kl\na.png,links,3\na.png,rechts,2\n"
    rows = pd.DataFrame({"file": ["a.png", "b.png"], "laterality": ["U", "R"], "laterality_source": ["", "header"]})
    rows = rows.assign(laterality_confidence=0.0)
    found, counts = with_facts(rows, facts({"laterality": SIDES}), tables("Datei,Seite\na.png,links\n"))
    assert found["laterality"].tolist() == ["L", "R"]
    assert found["laterality_source"].tolist() == ["table", "header"]
    assert (counts["images"], counts["images_not_in_table"]) == (1, 1)
    key = {"file": "Datei", "laterality": SIDES}
    label = parse_config(
        LabelTable, {"task": "any", "unit": "image_id", "table": "t.csv", "key": key, "column": "kl"}, "card"
    )
    images = pd.DataFrame(
        {"file": ["a.png"] * 2, "laterality": ["L", "R"], "image_id": ["left", "right"], "patient_id": "p"}
    )
    labels, _ = label_rows(images, {"left", "right"}, label, tables(text))
    assert dict(zip(labels["sample_id"], labels["label"], strict=True)) == {"left": 3, "right": 2}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"laterality": {"column": "a", "values": {"links": "left"}}}, "laterality: 'left' is none of L, R, B, U"),
        ({"plane": {"column": "a", "values": {"s": "sagital"}}}, "Did you mean 'sagittal'"),
        ({"age": {"column": "a", "values": {"alt": "90"}}}, "age: takes no `values`"),
        ({"patient": {"column": "a", "values": {"x": "y"}}}, "patient: takes no `values`"),
        ({"sex": {"colum": "a"}}, "columns.sex.colum: unknown key"),
    ],
)
def test_a_card_says_only_what_there_is(columns, message):
    with pytest.raises(InputError, match=re.escape(message)):
        facts(columns)


def test_words_that_yaml_took_for_truth_stay_words(tmp_path, tables):
    card = "table: t.csv\nkey: {file: Datei}\ncolumns: {inverted: {column: x, values: {yes: 1, no: 0}}}\n"
    (tmp_path / "card.yaml").write_text(card)
    entry = load_config(FactsTable, tmp_path / "card.yaml")
    assert facts_rows(entry, tables("Datei,x\na,yes\nb,no\n"))[0]["table_inverted"].tolist() == ["1", "0"]


def test_the_keys_of_a_card_tell_how_cells_are_mapped():
    assert "values: {links: L, rechts: R}" in describe_keys(FactsTable)
    assert "values" in describe_keys(FactColumn)


def test_all_wrong_cells_are_told_at_once_with_what_to_write(tables):
    text = "Datei,Seite,Alter,Ebene\n" + "".join(
        f"{n}.png,{side},{age},{plane}\n"
        for n, (side, age, plane) in enumerate(
            [("links", "57", "sagital"), ("links", "alt", "axial"), ("rechts", "", "axial"), ("L", "inf", "axial")]
        )
    )
    message = wrong(tables, text, {"laterality": "Seite", "age": "Alter", "plane": "Ebene"})
    side, age, plane = message.split("\n")
    assert "3 cell(s) of column 'Seite' cannot be used as 'laterality': one of L, R, B, U needed" in side
    assert "'links' (2), 'rechts' (1)" in side
    assert "laterality: {column: Seite, values: {links: L, rechts: R}}" in side
    assert "2 cell(s) of column 'Alter' cannot be used as 'age': numbers needed" in age
    assert "'alt' (1)" in age
    assert "plane: {column: Ebene, values: {sagital: sagittal}}" in plane
    assert wrong(tables, text, {"laterality": SIDES}).count("'L' (1)") == 1  # with `values`, every cell is one of them
    assert check_cells(facts({"laterality": SIDES}, missing=["L"]), tables(text)) is None


def test_wrong_keys_are_told_too(tables):
    label = {"task": "any", "unit": "image_id", "table": "t.csv", "column": "kl"}
    entry = parse_config(LabelTable, label | {"key": {"file": "Datei", "laterality": "Seite"}}, "card")
    with pytest.raises(InputError, match=r"'links' \(1\)"):
        check_cells(entry, tables("Datei,Seite,kl\na,links,1\n"))


@pytest.mark.parametrize(
    ("cells", "column", "identifies"),
    [
        (["DOE^JANE"], "Seite", False),
        (["Doe, Jane", "Jane Doe"], "Seite", False),
        (["A4711"], "Seite", False),
        (["12.3.1960"], "Seite", False),
        (["jane@doe.org"], "Seite", False),
        (["x" * 21], "Seite", False),
        (["Doe"], "Nachname", False),
        (["Doe"], "patient_id", False),
        (["Doe"], "DOB", False),
        (["Doe"], "Seite", True),
        ([f"Doe{letter}" for letter in "abcdefghijk"], "Seite", False),
    ],
)
def test_cells_that_may_name_somebody_are_only_counted(cells, column, identifies):
    text = told(pd.Series(cells, index=range(6, 6 + len(cells))), column, identifies=identifies)
    assert text == "they are not quoted, as they may name somebody: the first is in row 7 below the header"


def test_some_cells_are_quoted_beside_others_that_are_not():
    text = told(pd.Series(["links", "Doe, J", "links"]), "Seite", identifies=False)
    assert text.startswith("'links' (2); 1 more are not quoted")
    assert "row 2 below" in text
    assert "Doe" not in text


def test_identifying_columns_of_a_card_are_never_quoted(tables):
    message = wrong(tables, "Datei,wer\na,Doe\n", {"patient": "wer", "sex": "wer"})
    assert "Doe" not in message
    assert "row 1 below the header" in message


def test_nothing_is_read_before_every_cell_was_checked(tmp_path, monkeypatch):
    """Facts, keys of labels, classes, tasks: all faults in one message, and no header was looked at."""
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
    for name in ("survey", "build"):
        monkeypatch.setattr(module, name, None)  # neither a dry run nor a run may get there
    save_dicom(tmp_path / "in" / "a.dcm", film_of(0, np.random.default_rng(0)), "DX", PatientID="A")
    (tmp_path / "in" / "t.csv").write_text("Datei,Seite,kl,who\na.dcm,links,9,JANE DOE\na.dcm,L,7,MRN77\n")
    label = {"task": "xr_kl", "unit": "image_id", "table": "t.csv", "key": {"file": "Datei"}, "column": "kl"}
    card = card_with(
        facts=[FACTS | {"columns": {"laterality": "Seite", "patient": "who"}}],
        labels=[label, label | {"task": "mr_alc", "column": "who"}, label | {"task": "mr_acl", "column": "kll"}],
    )
    for dry_run in (False, True):
        with pytest.raises(InputError) as error:
            ingest(card, str(tmp_path / "in"), str(tmp_path / "out"), dry_run=dry_run)
        text = str(error.value)
        assert "'links' (1)" in text
        assert "2 cell(s) of column kl are no class of xr_kl" in text
        assert "no task 'mr_alc'. Did you mean mr_acl or mr_lcl?" in text
        assert "the entry of mr_acl has unit image_id" in text
        assert "no column 'kll'. Did you mean 'kl'?" in text
        assert "JANE" not in text
        assert "MRN77" not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
