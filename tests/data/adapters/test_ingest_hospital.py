"""The whole way of a hospital's export with the example card: DICOM without suffixes, exams, readings, arthroscopy."""

import numpy as np
import pytest
from tests.data.adapters.test_hospital import tables_of
from tests.imaging.objects import save_dicom

from orthoray import storage
from orthoray.data.cards import load_card
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.imaging.pseudonyms import pseudonyms

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EXAMS = "study_uid,site,exclude\n1.1,north,\n1.2,north,prior_surgery\n1.3,south,\n1.4,south,\n1.9,south,\n"
SLICES = 4


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Examinations 1.1 … 1.5 of four persons: 1.3 is a later one of the person of 1.1."""
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
    root, rng = tmp_path / "export", np.random.default_rng(0)
    root.mkdir()
    for number, person, day in ((1, "A", "20200101"), (2, "B", "20200101"), (3, "A", "20200131"), (4, "C", "20210101"),
                                (5, "D", "20210101")):  # fmt: skip
        for place in range(SLICES):
            save_dicom(
                root / "dicom" / f"exam {number}" / f"IM{place:04d}",
                rng.integers(0, 900, (40, 40)).astype(np.uint16), "MR",
                PatientID=f"DOE-{person}", PatientName=f"DOE^{person}", StudyInstanceUID=f"1.{number}", StudyDate=day,
                SeriesInstanceUID=f"1.{number}.1", SOPInstanceUID=f"1.{number}.1.{place}", BodyPartExamined="KNEE",
                SeriesDescription="SAG PD FS", Laterality="R", PixelSpacing=[0.4, 0.4], InstanceNumber=SLICES - place,
                ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[-3.0 * place, 0, 0],
            )  # fmt: skip
    tables_of(root)
    (root / "exams.csv").write_text(EXAMS)
    return root


@pytest.mark.parametrize("name", ["hospital_example", "fastmri_dicom"])
def test_a_card_is_all_that_a_source_needs(export, tmp_path, ray_session, name):
    card = load_card(name).model_copy(update={"screened": "review"})
    if name == "fastmri_dicom":
        card = card.model_copy(update={"glob": ["dicom/**"]})
    manifest = ingest(card, str(export), str(tmp_path / "out"))
    dataset = Dataset(str(tmp_path / "out"))
    index = dataset.index()
    ids = pseudonyms(card.source_code, phi=True)
    kept = [1, 2, 3, 4, 5] if name == "fastmri_dicom" else [1, 3, 4, 5]
    assert set(index["study_id"]) == {ids.make("study", f"1.{number}") for number in kept}
    assert index.groupby("series_id").size().tolist() == [SLICES] * len(kept)
    assert (set(index["plane"]), set(index["laterality"])) == ({"sagittal"}, {"R"})
    assert {(told["weighting"], told["fat_suppression"]) for told in index["acquisition"]} == {("PD", "yes")}
    later = index[index["study_id"] == ids.make("study", "1.3")]
    assert set(later["days_from_baseline"]) == {30}
    assert set(later["patient_id"]) == set(index.loc[index["study_id"] == ids.make("study", "1.1"), "patient_id"])
    assert manifest["n_read"] == manifest["n_images"] + manifest["n_excluded"] == 5 * SLICES
    nobody_is_named(tmp_path / "out")
    if name == "hospital_example":
        judged_as_the_readers_did(dataset, ids, index)


def judged_as_the_readers_did(dataset, ids, index):
    excluded = dataset.excluded()
    assert set(zip(excluded["reason"], excluded["detail"], strict=True)) == {("unwanted", "prior_surgery")}
    sites = index.groupby("study_id")["site"].first()
    assert {number: sites[ids.make("study", f"1.{number}")] for number in (1, 3, 4, 5)} == {
        1: "north", 3: "south", 4: "south", 5: "main",
    }  # fmt: skip
    tears = dataset.labels("mr_acl").set_index("sample_id")
    found = {
        number: tears.loc[ids.make("study", f"1.{number}"), ["label", "label_source"]].tolist() for number in (1, 4)
    }
    assert found == {1: [1, "consensus"], 4: [1, "arthroscopy"]}
    assert len(tears) == 2
    audit = dataset.manifest["label_audit"]["mr_acl"]
    assert audit["reasons"]["its images were excluded"] == 1
    assert audit["reasons"]["no label: tie"] == audit["reasons"]["no label: not_judged"] == 1
    exams = dataset.manifest["facts_audit"][0]
    assert (exams["images"], exams["images_not_in_table"]) == (4 * SLICES, SLICES)


def nobody_is_named(out):
    for file in storage.list_files(str(out)):
        content = storage.read_bytes(file)
        assert b"DOE" not in content, file
