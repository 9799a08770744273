"""MRNet on a folder of six exams."""

import re

import numpy as np
import pandas as pd
import pytest

from orthoray.data.cards import load_card
from orthoray.data.labels import label_rows
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.mrnet import MrnetTables
from orthoray.data.tables import Tables
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import PUBLIC_KEY, Pseudonyms

EXAMS = {"train": ["0000", "0001", "0002", "0003"], "valid": ["1130", "1131"]}
LABELS = {"abnormal": "110110", "acl": "100010", "meniscus": "010000"}


def write_mrnet(root):
    place = 0
    for role, exams in EXAMS.items():
        for plane in ("axial", "coronal", "sagittal"):
            (root / role / plane).mkdir(parents=True)
            for exam in exams:
                np.save(root / role / plane / f"{exam}.npy", np.zeros((2, 8, 8), np.uint8))
        for task, cells in LABELS.items():
            lines = [f"{exam},{cells[place + n]}\n" for n, exam in enumerate(exams)]
            (root / f"{role}-{task}.csv").write_text("".join(lines))
        place += len(exams)
    return root


def tables_of(root):
    return MrnetTables(SourceFiles(str(root), tables=""))


def test_first_line_is_data_and_zeros_stay(tmp_path):
    labels = tables_of(write_mrnet(tmp_path)).labels.set_index("exam")
    assert labels.index.tolist() == [*EXAMS["train"], *EXAMS["valid"]]
    assert {task: "".join(labels[task]) for task in LABELS} == LABELS
    assert labels["role"].tolist() == ["train"] * 4 + ["valid"] * 2


def test_an_exam_is_one_person_and_one_study_of_three_series(tmp_path):
    exams = tables_of(write_mrnet(tmp_path)).exams
    assert len(exams) == 18
    assert (exams.groupby("patient")["series"].nunique() == 3).all()
    assert exams.groupby("patient")["study"].nunique().tolist() == [1] * 6
    assert exams.set_index("file").loc["valid/sagittal/1131.npy", "plane"] == "sagittal"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train-acl.csv", "0000,1\n0000,0\n", "identifier of their own"),
        ("train-acl.csv", "0000,2\n", "not one of 0, 1"),
        ("train-acl.csv", "0,1\n1,0\n", "four digits"),
        ("valid-acl.csv", "0001,1\n", "both train and valid"),
    ],
)
def test_faults_of_labels_are_named(tmp_path, file, text, message):
    root = write_mrnet(tmp_path)
    (root / file).write_text(text)
    with pytest.raises(InputError, match=message):
        _ = tables_of(root).labels


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape("train-acl.csv")):
        _ = tables_of(tmp_path).labels


def test_the_card_says_that_exams_stand_for_persons(tmp_path):
    card = load_card("mrnet")
    assert card.patient_unit == "exam"
    ids = Pseudonyms(PUBLIC_KEY, "mrnet")
    tables = Tables(str(write_mrnet(tmp_path)), ids, card.adapter)
    tables.check(card.facts[0], card.facts[0].columns.values())
    keys = {exam: ids.make("study", exam) for exam in [*EXAMS["train"], *EXAMS["valid"]]}
    images = pd.DataFrame(
        {"image_id": list(keys), "study_id": keys.values(), "study_key": keys.values(), "patient_id": "p"}
    )
    rows, _ = label_rows(images, set(keys), card.labels[0], tables)
    assert rows.set_index("sample_id")["label"].sum() == 2
    assert rows.set_index("sample_id").loc[[keys["0000"], keys["1130"]], "label"].tolist() == [1, 1]
