"""The cards of the project on real images."""

import time

import numpy as np
import pandas as pd
import pydicom
import pytest

from orthoray import storage
from orthoray.data.cards import load_card
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.imaging.pseudonyms import pseudonyms

pytestmark = [pytest.mark.data, pytest.mark.ray, pytest.mark.slow]


def test_knee_radiographs(shared_data, tmp_path, ray_session):
    source = shared_data("knee-xray-kl")
    start = time.monotonic()
    manifest = ingest(load_card("knee_xray_kl"), str(source), str(tmp_path / "knee"))
    assert time.monotonic() - start < 60
    dataset = Dataset(str(tmp_path / "knee"))
    table = pd.read_csv(source / "labels.csv", dtype=str)
    index, labels = dataset.index(), dataset.labels("xr_kl")
    assert (manifest["n_read"], manifest["n_images"]) == (1560, 1560)
    assert index["patient_id"].nunique() == 780
    assert labels["label"].value_counts().to_dict() == {0: 380, 1: 300, 2: 327, 3: 302, 4: 251}
    assert index["intensity_policy"].str.endswith("+inverted").sum() == (table["inverted"] == "1").sum() == 18
    ids = pseudonyms("knee_xray_kl", phi=False)
    expected = table.assign(patient_id=[ids.make("patient", name) for name in table["patient_id"]])
    found = index.merge(labels, left_on="image_id", right_on="sample_id", suffixes=("", "_label"))
    left = sorted(zip(found["patient_id"], found["laterality"], found["label"], strict=True))
    assert left == sorted(zip(expected["patient_id"], expected["side"], expected["kl"].astype(int), strict=True))
    roles = found.merge(dataset.split("xr_kl"), left_on="image_id", right_on="sample_id", suffixes=("", "_split"))
    left = sorted(zip(roles["patient_id_split"], roles["laterality"], roles["role"], strict=True))
    assert left == sorted(zip(expected["patient_id"], expected["side"], expected["split"], strict=True))
    assert roles.groupby("patient_id")["role"].nunique().max() == 1
    assert manifest["key"].startswith("public")
    _inverted_films_look_like_the_others(dataset)


def _inverted_films_look_like_the_others(dataset):
    index = dataset.index()
    turned = index.loc[index["intensity_policy"].str.endswith("+inverted"), "image_id"]
    others = index.loc[~index["image_id"].isin(turned), "image_id"].iloc[::20]
    images = dataset.read_images([*turned, *others])
    median = np.median([images[name] for name in others], axis=0).ravel()
    assert min(np.corrcoef(median, images[name].ravel())[0, 1] for name in turned) > 0.2


def test_echo_series_is_eight_stacks_in_spatial_order(shared_data, tmp_path, ray_session):
    source = shared_data("dicom-knee-mri") / "original"
    ingest(load_card("dicom_knee_mri"), str(source), str(tmp_path / "mri"))
    dataset = Dataset(str(tmp_path / "mri"))
    index = dataset.index()
    assert index.groupby("series_id").size().tolist() == [24] * 8
    ids = pseudonyms("dicom_knee_mri", phi=False)
    place, echo = {}, {}
    for file in storage.list_files(str(source), ".dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        name = ids.make(
            "image", f"{ids.make('patient', header.PatientID)}|{ids.make('image', header.SOPInstanceUID)}|0|"
        )
        normal = np.cross(header.ImageOrientationPatient[:3], header.ImageOrientationPatient[3:])
        place[name], echo[name] = float(np.dot(normal, header.ImagePositionPatient)), float(header.EchoTime)
    index = index.assign(place=index["image_id"].map(place), echo=index["image_id"].map(echo))
    assert index["place"].notna().all()
    for _, stack in index.sort_values("slice_index").groupby("series_id"):
        assert stack["slice_index"].tolist() == list(range(24))
        assert stack["place"].is_monotonic_increasing
        assert stack["echo"].nunique() == 1
    assert index["echo"].nunique() == 8
    assert set(index["plane"]) == {"sagittal"}
    _nothing_identifies(shared_data("dicom-knee-mri"), tmp_path)


def _nothing_identifies(source, out):
    header = pydicom.dcmread(storage.list_files(str(source / "original"), ".dcm")[0], stop_before_pixels=True)
    needles = [header.StudyDate, header.PatientID, header.InstitutionName, header.StudyInstanceUID, "HAMILTON"]
    for file in storage.list_files(str(out)):
        content = storage.read_bytes(file)
        assert not [needle for needle in needles if str(needle).encode() in content], file
