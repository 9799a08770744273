"""What cards may say about tables, and what labels may carry."""

import pandas as pd
import pytest

from orthoray.config import parse_config
from orthoray.data.cards import DatasetCard, FactsTable, LabelTable
from orthoray.data.labels import SCHEMA, label_rows, write_labels
from orthoray.data.tables import Tables
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import Pseudonyms

IDS = Pseudonyms(b"a key of the tests 0123", "trial")


def tables_of(root, text, name="t.csv"):
    (root / name).write_text(text)
    return Tables(str(root), IDS)


def facts(**changes):
    return parse_config(
        FactsTable, {"table": "t.csv", "key": {"file": "file"}, "columns": {"patient": "who"}} | changes, "t"
    )


def entry(**changes):
    values = {"task": "any", "unit": "image_id", "table": "t.csv", "key": {"file": "file"}, "column": "label"}
    return parse_config(LabelTable, values | changes, "t")


def images_of(count):
    names = [f"f{place}" for place in range(count)]
    return pd.DataFrame({"file": names, "image_id": names, "study_id": names, "patient_id": names})


def test_of_several_columns_the_first_filled_one_counts(tmp_path):
    tables = tables_of(tmp_path, "file,a,b,c\n1,,y,z\n2,x,y,z\n3,,,z\n")
    assert tables.column(facts(), ["a", "b", "c"]).tolist() == ["y", "x", "z"]
    with pytest.raises(InputError, match="no column 'd'"):
        tables.column(facts(), ["a", "d"])


def test_cells_that_mean_nothing_are_empty(tmp_path):
    tables = tables_of(tmp_path, "file,who\n1,NA\n2,-\n3,x\n")
    assert tables.column(facts(missing=["NA", "-"]), "who").tolist() == ["", "", "x"]
    assert tables.column(facts(), "who").tolist() == ["NA", "-", "x"]


def test_a_table_without_header_is_read_by_the_names_of_the_card(tmp_path):
    tables = tables_of(tmp_path, "1,a\n2,b\n")
    assert tables.column(facts(header=["file", "who"]), "who").tolist() == ["a", "b"]


def test_digest_follows_the_cells_not_the_bytes(tmp_path):
    first = tables_of(tmp_path, "file,who\n1,a\n").digest(facts())
    assert tables_of(tmp_path, "file;who\r\n1;a\r\n").digest(facts()) == first
    assert tables_of(tmp_path, "file,who\n1,b\n").digest(facts()) != first
    assert tables_of(tmp_path, "file,who,x\n1,a,\n").digest(facts()) != first
    assert tables_of(tmp_path, "file,who\n,1a\n").digest(facts()) != first


CARD = {"name": "trial", "title": "Trial"}


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"facts": [{"table": "oai:films", "key": {"file": "file"}, "columns": {"visit": "visit"}}]}, "needs `adapter"),
        ({"adapter": {"name": "oia"}}, "adapter"),
        ({"adapter": {"name": "oai", "readproj": 15}}, "readproj"),
        ({"adapter": {"name": "oai", "visits": ["V1"]}}, "visits"),
        ({"adapter": {"name": "hospital", "table": "t.csv", "key": ["k"], "findings": {"a": {}}}}, "raters"),
    ],
)
def test_adapters_are_as_strict_as_cards(card, message):
    with pytest.raises(InputError, match=message):
        parse_config(DatasetCard, CARD | card, "card")


def test_an_unknown_table_of_an_adapter_names_the_nearest(tmp_path):
    join = {"table": "oai:film", "key": {"file": "file"}, "columns": {"visit": "visit"}}
    card = parse_config(DatasetCard, CARD | {"adapter": {"name": "oai"}, "facts": [join]}, "card")
    with pytest.raises(InputError, match="Did you mean 'films'"):
        Tables(str(tmp_path), IDS, card.adapter).check(card.facts[0], ["visit"])


def test_survival_labels_sources_and_boxes(tmp_path):
    text = 'file,label,died,days,how,box\nf0,1,1,30,scope,"[[0, 1, 2, 3, 4]]"\nf1,0,0,900,,\n'
    label = entry(event="died", days="days", source="how", boxes="box")
    rows, _ = label_rows(images_of(2), {"f0", "f1"}, label, tables_of(tmp_path, text))
    assert rows[["label", "event", "days"]].to_numpy().tolist() == [[1, 1, 30], [0, 0, 900]]
    assert rows["label_source"].tolist() == ["scope", "t.csv:label"]
    assert rows["boxes"].tolist()[0] == "[[0, 1, 2, 3, 4]]"


def test_labels_without_survival_have_nulls_and_whole_numbers(tmp_path):
    from orthoray import storage

    card = parse_config(DatasetCard, CARD | {"labels": [entry().model_dump()]}, "card")
    write_labels(str(tmp_path / "out"), card, images_of(1), {"f0"}, tables_of(tmp_path, "file,label\nf0,1\n"))
    table = storage.read_table(str(tmp_path / "out" / "labels" / "any.parquet"))
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist()[0] == {
        "sample_id": "f0", "patient_id": "f0", "label": 1, "label_source": "t.csv:label", "class_name": "1",
        "event": None, "days": None, "boxes": None,
    }  # fmt: skip


def test_classes_are_called_as_the_card_maps_them(tmp_path):
    tables = tables_of(tmp_path, "file,label\nf0,GON+\nf1,GON-\n")
    rows, _ = label_rows(images_of(2), {"f0", "f1"}, entry(values={"GON-": 0, "GON+": 1}), tables)
    assert rows["class_name"].tolist() == ["GON+", "GON-"]


def test_reasons_of_empty_labels_are_counted(tmp_path):
    text = "file,label,why\nf0,1,\nf1,,tie\nf2,,tie\nf3,,\nf9,0,\n"
    rows, account = label_rows(images_of(4), {"f0", "f1"}, entry(reason="why"), tables_of(tmp_path, text))
    assert rows["sample_id"].tolist() == ["f0"]
    assert account["reasons"] == {
        "no label": 1, "no such image in the source": 1, "its images were excluded": 0, "no label: tie": 2
    }  # fmt: skip
    assert account["rows"] == account["matched"] + sum(account["reasons"].values())


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("2,30", "column died are not 0 or 1"),
        ("1,-3", "column days"),
        ("1,3.5", "column days"),
        ("yes,3", "column died"),
    ],
)
def test_impossible_survival_is_refused(tmp_path, cells, message):
    with pytest.raises(InputError, match=message):
        label_rows(
            images_of(1),
            {"f0"},
            entry(event="died", days="days"),
            tables_of(tmp_path, f"file,label,died,days\nf0,1,{cells}\n"),
        )


def test_rows_that_differ_in_time_disagree(tmp_path):
    text = "file,label,died,days\nf0,1,1,30\nf0,1,1,31\n"
    with pytest.raises(InputError, match="rows disagree"):
        label_rows(images_of(1), {"f0"}, entry(event="died", days="days"), tables_of(tmp_path, text))


def test_event_needs_days():
    with pytest.raises(InputError, match="event and days belong together"):
        entry(event="died")
