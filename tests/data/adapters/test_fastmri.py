"""fastMRI volumes and the findings of fastMRI+."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray.config import parse_config
from orthoray.data.cards import load_card
from orthoray.data.labels import label_rows
from orthoray.data.sources.fastmri import FastmriTables
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.options import FastmriOptions
from orthoray.data.tables import Tables
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import Pseudonyms

HEADER = "file,slice,study_level,x,y,width,height,label\n"
FINDINGS = (
    "file1000001,1,No,2,3,4,5,Meniscus Tear\n"
    "file1000001,1,No,2,3,4,5,Meniscus Tear\n"
    "file1000001,0,No,0,0,1,1,Meniscus Tear\n"
    "file1000001,2,No,1,1,2,2,Joint Effusion \n"
    "file1000002,0,Yes,,,,,artifact\n"
)
ROWS = 24


def write_volume(path, patient, acquisition="CORPDFS_FBK"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["reconstruction_rss"] = np.zeros((3, ROWS, 20), np.float32)
        if patient:
            file.attrs["patient_id"] = patient
        file.attrs["acquisition"] = acquisition


def write_source(root, findings=FINDINGS, reviewed=("file1000001", "file1000002", "file1000003")):
    write_volume(root / "multicoil_train" / "file1000001.h5", "p-a")
    write_volume(root / "multicoil_val" / "file1000003.h5", "p-a", "CORPD_FBK")
    write_volume(root / "singlecoil_train" / "file1000001.h5", "p-a")
    write_volume(root / "multicoil_train" / "file1000009.h5", "p-c")
    (root / "tables").mkdir(exist_ok=True)
    (root / "tables" / "knee.csv").write_text(HEADER + findings)
    (root / "tables" / "knee_file_list.csv").write_text("\n".join(reviewed) + "\n")
    return root


def tables_of(root, **changes):
    return FastmriTables(SourceFiles(str(root)), parse_config(FastmriOptions, {"name": "fastmri"} | changes, "test"))


def test_persons_come_from_the_attribute_not_from_the_file(tmp_path):
    table = tables_of(write_source(tmp_path)).volumes.set_index("file")
    assert table["patient"].to_dict() == {
        "multicoil_train/file1000001.h5": "p-a",
        "multicoil_train/file1000009.h5": "p-c",
        "multicoil_val/file1000003.h5": "p-a",
        "singlecoil_train/file1000001.h5": "p-a",
    }
    assert table["role"].tolist() == ["train", "train", "val", "train"]
    assert table["fat_suppressed"].tolist() == ["1", "1", "0", "1"]
    assert table["exclude"].tolist() == ["", "", "", "same_volume"]
    assert set(table["plane"]) == {"coronal"}


def test_a_damaged_volume_has_no_person_and_without_any_person_all_is_refused(tmp_path):
    root = write_source(tmp_path)
    (root / "multicoil_val" / "file1000004.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut off")
    assert tables_of(root).volumes.set_index("volume").loc["file1000004", "patient"] == ""
    for file in root.rglob("*.h5"):
        write_volume(file, "")
    with pytest.raises(InputError, match="'patient_id'"):
        _ = tables_of(root).volumes


def test_reviewed_without_findings_is_negative_and_unreviewed_is_nothing(tmp_path):
    table = tables_of(write_source(tmp_path)).findings.set_index("volume")
    assert table["meniscus"].to_dict() == {"file1000001": "1", "file1000002": "0", "file1000003": "0"}
    assert table["effusion"].to_dict() == {"file1000001": "1", "file1000002": "0", "file1000003": "0"}
    assert table["artifact"].to_dict() == {"file1000001": "0", "file1000002": "1", "file1000003": "0"}
    assert table["boxed"].to_dict() == {"file1000001": "3", "file1000002": "1", "file1000003": "0"}


def test_boxes_are_turned_back_duplicates_once(tmp_path):
    table = tables_of(write_source(tmp_path)).findings.set_index("volume")
    boxes = json.loads(table.loc["file1000001", "meniscus_boxes"])
    assert boxes == [[0, 0, ROWS - 1, 1, 1], [1, 2, ROWS - 3 - 5, 4, 5]]
    assert table.loc["file1000003", "meniscus_boxes"] == ""


def test_boxes_are_cut_at_the_edge_and_without_extent_they_are_none(tmp_path):
    findings = "file1000001,0,No,2,-1,4,5,Meniscus Tear\nfile1000002,0,No,2,3,4,0,Meniscus Tear\n"
    table = tables_of(write_source(tmp_path, findings)).findings.set_index("volume")
    assert table["meniscus"].tolist() == ["1", "1", "0"]
    assert json.loads(table.loc["file1000001", "meniscus_boxes"]) == [[0, 2, ROWS - 4, 4, 4]]
    assert table.loc["file1000002", "meniscus_boxes"] == ""


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 15), st.integers(0, 15), st.integers(1, 4), st.integers(1, 4))
def test_a_box_drawn_on_the_flipped_image_is_found_again(tmp_path_factory, x, y, width, height):
    """The truth comes from pixels: paint the box on an image, flip it as the annotators saw it, and read it off."""
    flipped = np.zeros((ROWS, 20), bool)
    flipped[y : y + height, x : x + width] = True
    root = tmp_path_factory.mktemp("box")
    write_source(root, f"file1000001,0,No,{x},{y},{width},{height},Meniscus Tear\n")
    table = tables_of(root).findings.set_index("volume")
    _, left, top, wide, high = json.loads(table.loc["file1000001", "meniscus_boxes"])[0]
    painted = np.zeros_like(flipped)
    painted[top : top + high, left : left + wide] = True
    np.testing.assert_array_equal(painted, flipped[::-1])


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ("file1000008,1,No,2,3,4,5,Meniscus Tear\n", "not in knee_file_list.csv"),
        ("file1000001,1,No,2,3,4,5,Meniscus Teer\n", "no known finding"),
        ("file1000001,1,No,2,22,4,5,Meniscus Tear\n", "no box within a slice"),
        ("file1000001,1,No,2,3,-1,5,Meniscus Tear\n", "no box within a slice"),
        ("file1000001,1,No,,,,,Meniscus Tear\n", "no box within a slice"),
        ("file1000001,1,Maybe,2,3,4,5,Meniscus Tear\n", "'study_level'"),
    ],
)
def test_findings_that_cannot_be_are_refused(tmp_path, findings, message):
    with pytest.raises(InputError, match=message):
        _ = tables_of(write_source(tmp_path, findings)).findings


def test_an_unknown_label_in_the_card_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'Meniscus Tear'"):
        tables_of("nowhere", findings={"meniscus": ["Meniscus tear "]})


def test_labels_of_the_card_carry_boxes(tmp_path):
    card = load_card("fastmri_h5")
    ids = Pseudonyms(b"a key of the tests 0123", "fastmri_h5")
    tables = Tables(str(write_source(tmp_path)), ids, card.adapter)
    tables.check(card.facts[0], card.facts[0].columns.values())
    studies = [ids.make("study", name) for name in ("file1000001", "file1000003", "file1000009")]
    images = pd.DataFrame({"image_id": ["a", "b", "c"], "study_id": studies, "study_key": studies, "patient_id": "p"})
    meniscus = next(label for label in card.labels if label.task == "mr_men")
    rows, account = label_rows(images, {"a", "b", "c"}, meniscus, tables)
    assert rows.set_index("sample_id")["label"].to_dict() == {studies[0]: 1, studies[1]: 0}
    assert rows.set_index("sample_id").loc[studies[0], "boxes"] == "[[0, 0, 23, 1, 1], [1, 2, 16, 4, 5]]"
    assert rows.set_index("sample_id")["boxes"].isna()[studies[1]]
    assert account["reasons"] == {"no label": 0, "no such image in the source": 1, "its images were excluded": 0}


@pytest.mark.data
def test_the_published_findings(shared_data):
    source = shared_data("tables")
    options = parse_config(FastmriOptions, {"name": "fastmri", "tables": "fastmri-plus"}, "test")
    tables = FastmriTables(SourceFiles(str(source), images=[], tables="fastmri-plus"), options)
    printed = (source / "fastmri-plus" / "knee.csv").read_text().splitlines()[1:]
    assert (len(printed), len(tables.boxes)) == (16_167, 16_162)
    assert (tables.boxes["file"].nunique(), len(tables.reviewed)) == (974, 1_173)
    findings = tables.findings
    assert (findings["boxed"] == "0").sum() == 199
    assert (findings["artifact"] == "1").sum() == 13
    assert tables.boxes["label"].nunique() == 22
    assert (findings["effusion"] == "1").sum() == len({line.split(",")[0] for line in printed if "Effusion" in line})
    negative = findings["boxed"] == "0"
    assert (findings.loc[negative, list(options.findings)] == "0").all().all()
