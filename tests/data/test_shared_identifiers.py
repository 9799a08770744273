"""Identifiers that several patients share, and modalities that a card's default must not change."""

import numpy as np
import pytest
from tests.data.sources import card_with
from tests.imaging.objects import save_dicom

from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CARD = {"facts": [], "labels": [], "bilateral": "keep"}
SAGITTAL, CORONAL = [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")


def image(rng):
    return rng.integers(0, 900, (40, 40)).astype(np.uint16)


def test_a_series_that_patients_share_is_one_for_each(tmp_path, ray_session):
    """As after anonymisation that gave all of them the same identifiers: no stack mixes persons, none is lost."""
    rng = np.random.default_rng(0)
    for person in range(3):
        for place in range(6):
            axis = [-3.0 * place, 0, 0] if person else [0, -3.0 * place, 0]
            save_dicom(
                tmp_path / "in" / f"{person}-{place}.dcm", image(rng), "MR", PatientID=f"P{person}",
                BodyPartExamined="KNEE", StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.3",
                SOPInstanceUID=f"2.25.{person + 1}7{place}",
                ImageOrientationPatient=SAGITTAL if person else CORONAL, ImagePositionPatient=axis,
                PixelSpacing=[0.5, 0.5], InstanceNumber=place + 1,
            )  # fmt: skip
    save_dicom(tmp_path / "in" / "nobody.dcm", image(rng), "MR", PatientID="", SeriesInstanceUID="1.2.3")
    ingest(card_with(screened="review", **CARD), str(tmp_path / "in"), str(tmp_path / "out"))
    index = Dataset(str(tmp_path / "out")).index()
    assert len(index) == 18
    for name in ("study_id", "series_id"):
        assert index.groupby(name)["patient_id"].nunique().tolist() == [1, 1, 1]
    for _, series in index.groupby("series_id"):
        assert sorted(series["slice_index"]) == list(range(6))
        assert set(series["slice_count"]) == {6}
        assert set(series["geometry"]) <= {"", "reversed"}


def test_a_default_modality_is_for_headers_that_leave_it_open(tmp_path, ray_session):
    rng = np.random.default_rng(0)
    for name in ("DX", "CT", "US", "OT", ""):
        save_dicom(tmp_path / "in" / f"{name}.dcm", image(rng), name, PatientID=f"P{name}", BodyPartExamined="KNEE")
    card = card_with(screened="review", defaults={"modality": "XR"}, **CARD)
    manifest = ingest(card, str(tmp_path / "in"), str(tmp_path / "out"))
    assert manifest["n_images"] == 3
    assert [(row["reason"], row["count"]) for row in manifest["excluded"]] == [("modality", 2)]
