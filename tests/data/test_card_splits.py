"""The split that a source's authors made, from a column of its table."""

import pandas as pd
import pytest
from tests.data.adapters.test_tables import IDS, images_of

from orthoray import storage
from orthoray.config import parse_config
from orthoray.data.cards import DatasetCard
from orthoray.data.labels import write_labels
from orthoray.data.splits import read_splits
from orthoray.data.tables import Tables
from orthoray.errors import InputError

ENTRY = {"task": "any", "unit": "image_id", "table": "t.csv", "key": {"file": "file"}, "column": "label"}
TABLE = "file,label,part\nf0,1,train\nf1,0,test\nf2,1,val\nf3,,train\nf4,1,test\n"


def written(root, text, patients="abcde", **entry):
    """Account of the task, for five images of which the last was excluded."""
    (root / "t.csv").write_text(text)
    card = parse_config(DatasetCard, {"name": "x", "title": "X", "labels": [ENTRY | entry]}, "t")
    images = images_of(5).assign(patient_id=list(patients))
    return write_labels(str(root / "out"), card, images, {"f0", "f1", "f2", "f3"}, Tables(str(root), IDS))["any"]


def split_of(root):
    return read_splits(str(root / "out" / "splits" / "any.parquet"))


def test_labelled_images_of_the_dataset_have_their_part(tmp_path):
    account = written(tmp_path, TABLE, split="part")
    assert account["parts"] == {"test": 1, "train": 1, "val": 1}
    found = split_of(tmp_path).sort_values("sample_id")
    assert found["sample_id"].tolist() == ["f0", "f1", "f2"]
    assert found["patient_id"].tolist() == ["a", "b", "c"]
    assert found["role"].tolist() == ["train", "test", "val"]
    assert found["fold"].tolist() == [1, 0, 2]


def test_another_table_replaces_the_split_and_a_card_without_one_removes_it(tmp_path):
    written(tmp_path, TABLE, split="part")
    written(tmp_path, TABLE.replace("f2,1,val", "f2,1,train"), split="part")
    assert split_of(tmp_path)["role"].value_counts().to_dict() == {"train": 2, "test": 1}
    assert "parts" not in written(tmp_path, TABLE)
    assert not storage.exists(str(tmp_path / "out" / "splits"))


@pytest.mark.parametrize(
    ("text", "patients", "message"),
    [
        (TABLE, "aacde", r"1 patient\(s\) are in more than one part of column part"),
        (TABLE.replace("f2,1,val", "f2,1,"), "abcde", r"1 sample\(s\) of any have no cell in column part"),
        (TABLE + "f0,1,test\n", "abcde", "rows disagree about label"),
        (TABLE.replace("part", "fold"), "abcde", "no column 'part'"),
    ],
)
def test_what_would_leak_or_is_missing_is_refused(tmp_path, text, patients, message):
    with pytest.raises(InputError, match=message):
        written(tmp_path, text, patients, split="part")
    assert not storage.exists(str(tmp_path / "out" / "splits" / "any.parquet"))


def test_a_changed_split_file_is_refused(tmp_path):
    written(tmp_path, TABLE, split="part")
    file = tmp_path / "out" / "splits" / "any.parquet"
    pd.read_parquet(file).assign(role="train").to_parquet(file)
    with pytest.raises(Exception, match="was changed after it was written"):
        split_of(tmp_path)
