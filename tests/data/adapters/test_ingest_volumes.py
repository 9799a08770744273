"""The whole way of volumes: MRNet (NPY) and fastMRI (HDF5) with the project's cards."""

import h5py
import numpy as np
import pytest
from tests.data.adapters.test_fastmri import write_source
from tests.data.adapters.test_mrnet import LABELS, write_mrnet

from orthoray.data.cards import load_card
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest

pytestmark = pytest.mark.ray


def made(name, source, out):
    ingest(load_card(name).model_copy(update={"screened": "review"}), str(source), str(out))
    return Dataset(str(out))


def test_mrnet_exams_are_studies_of_three_planes(tmp_path, ray_session):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for file in write_mrnet(tmp_path / "in").rglob("*.npy"):
        np.save(file, rng.integers(0, 255, (4, 64, 64)).astype(np.uint8))
    dataset = made("mrnet", tmp_path / "in", tmp_path / "out")
    index = dataset.index()
    assert len(index) == 18 * 4
    assert index.groupby("series_id")["plane"].nunique().tolist() == [1] * 18
    assert index.groupby("study_id")["plane"].nunique().tolist() == [3] * 6
    assert set(index["slice_count"]) == {4}
    assert dataset.labels("mr_acl")["label"].sum() == LABELS["acl"].count("1")
    assert set(dataset.labels("mr_acl")["sample_id"]) == set(index["study_id"])
    assert dataset.manifest["card"]["patient_unit"] == "exam"


def test_fastmri_volumes_of_one_person_are_one_patient(tmp_path, ray_session, monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for file in write_source(tmp_path / "in").rglob("*.h5"):
        with h5py.File(file, "a") as volume:
            volume["reconstruction_rss"][...] = rng.random((3, 24, 20)) * 1e-4
    dataset = made("fastmri_h5", tmp_path / "in", tmp_path / "out")
    index = dataset.index()
    assert index.groupby("patient_id")["series_id"].nunique().sort_values().tolist() == [1, 2]
    assert set(index["slice_count"]) == {3}
    assert set(index["plane"]) == {"coronal"}
    assert len(dataset.excluded()) == 3  # the single-coil twin
    labels = dataset.labels("mr_men").set_index("label")
    assert labels["patient_id"].nunique() == 1
    assert labels.loc[1, "boxes"] == "[[0, 0, 23, 1, 1], [1, 2, 16, 4, 5]]"
