"""What is left out by header and geometry in a whole ingest, and what tables may settle."""

import numpy as np
import pandas as pd
import pytest
from tests.data.sources import card_with
from tests.imaging.objects import save_dicom

from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.imaging.pseudonyms import pseudonyms

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CARD = {"facts": [], "labels": [], "bilateral": "keep"}
AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")


class Source:
    """A folder of one patient per series, named after what the series is."""

    def __init__(self, root):
        self.root, self.rng = root, np.random.default_rng(0)

    def slices(self, name, count=8, step=3.0, **attributes):
        unique = int.from_bytes(name.encode())
        for place in range(count):
            header = {
                "PatientID": name, "StudyInstanceUID": f"2.25.{unique}1", "SeriesInstanceUID": f"2.25.{unique}2",
                "SOPInstanceUID": f"2.25.{unique}3{place}", "InstanceNumber": place + 1,
                "ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [-step * place, 0, 0],
                "PixelSpacing": [0.5, 0.5], "SliceThickness": 3, "BodyPartExamined": "KNEE",
            }  # fmt: skip
            own = {key: value(place) if callable(value) else value for key, value in attributes.items()}
            image = self.rng.integers(0, 900, (40, 40)).astype(np.uint16)
            save_dicom(self.root / name / f"{place}.dcm", image, "MR", **header | own)

    def film(self, name, **attributes):
        image = self.rng.integers(0, 900, (40, 40)).astype(np.uint16)
        header = {
            "PatientID": name,
            "BodyPartExamined": "KNEE",
            "SOPInstanceUID": f"2.25.{int.from_bytes(name.encode())}",
        }
        save_dicom(self.root / f"{name}.dcm", image, "DX", **header | attributes)


@pytest.fixture
def source(tmp_path):
    found = Source(tmp_path / "in")
    found.slices("good", SeriesDescription="SAG PD", Laterality="L")
    found.slices("echoes", count=6, ImagePositionPatient=lambda place: [-3.0 * (place // 2), 0, 0],
                 EchoTime=lambda place: 10 + 20 * (place % 2))  # fmt: skip
    found.slices("reformat", ImageType=["DERIVED", "SECONDARY", "MPR"])
    found.slices("planning", count=3, SeriesDescription="3-PLANE LOC")
    found.slices("planes", count=3, ImageOrientationPatient=lambda place: [AXIAL, CORONAL, [0, 1, 0, 0, 0, -1]][place])
    found.slices("few", count=3, step=20.0)
    found.slices("conflict", Laterality="L", SeriesDescription="SAG PD RIGHT KNEE")
    found.slices("by-place", SeriesDescription="SAG PD", ImagePositionPatient=lambda place: [60 - 3.0 * place, 0, 0])
    found.film("film-conflict", Laterality="R", SeriesDescription="LEFT KNEE AP")
    found.film("film", ImageLaterality="R", SeriesDescription="RIGHT KNEE AP")
    return found.root


def ends(dataset):
    """Patient → images, and (stage, reason) of what was excluded."""
    ids = pseudonyms("trial", phi=True)
    names = ("good", "echoes", "reformat", "planning", "planes", "few", "conflict", "by-place", "film-conflict", "film")
    index, excluded = dataset.index(), dataset.excluded()
    found = {}
    for name in names:
        patient = ids.make("patient", name)
        gone = excluded[excluded["patient_id"] == patient]
        found[name] = int((index["patient_id"] == patient).sum()), set(zip(gone["stage"], gone["reason"], strict=True))
    return found


def images_of(dataset, name):
    index = dataset.index()
    return index[index["patient_id"] == pseudonyms("trial", phi=True).make("patient", name)]


def test_contradictions_plans_and_reformats_leave_with_their_reason(source, tmp_path, ray_session):
    manifest = ingest(card_with(**CARD), str(source), str(tmp_path / "out"))
    dataset = Dataset(str(tmp_path / "out"))
    assert ends(dataset) == {
        "good": (8, set()),
        "echoes": (6, set()),
        "reformat": (0, {("select", "derived")}),
        "planning": (0, {("select", "localiser")}),
        "planes": (0, {("select", "localiser")}),
        "few": (0, {("select", "localiser")}),
        "conflict": (0, {("select", "laterality_conflict")}),
        "by-place": (8, set()),
        "film-conflict": (0, {("select", "laterality_conflict")}),
        "film": (1, set()),
    }
    assert manifest["n_read"] == manifest["n_images"] + manifest["n_excluded"]
    assert images_of(dataset, "echoes").groupby("series_id").size().tolist() == [3, 3]
    sides = {name: images_of(dataset, name).iloc[0] for name in ("good", "by-place", "film", "echoes")}
    told = {name: (row["laterality"], row["laterality_source"]) for name, row in sides.items()}
    assert told == {
        "good": ("L", "series_laterality"),
        "by-place": ("L", "position"),
        "film": ("R", "image_laterality"),
        "echoes": ("U", ""),
    }
    confidence = [sides[name]["laterality_confidence"] for name in ("film", "good", "by-place", "echoes")]
    assert confidence == sorted(confidence, reverse=True)
    assert confidence[-1] == 0


def test_a_table_settles_sides_and_a_card_keeps_reformats(source, tmp_path, ray_session):
    (source / "sides.csv").write_text("who,side\nconflict,R\nfilm-conflict,L\n")
    facts = [{"table": "sides.csv", "key": {"patient": "who"}, "columns": {"laterality": "side"}}]
    ingest(card_with(keep_derived=True, **CARD | {"facts": facts}), str(source), str(tmp_path / "out"))
    dataset = Dataset(str(tmp_path / "out"))
    found = ends(dataset)
    assert (found["conflict"], found["film-conflict"], found["reformat"]) == ((8, set()), (1, set()), (8, set()))
    sides = pd.concat([images_of(dataset, "conflict"), images_of(dataset, "film-conflict")])
    assert sides["laterality"].tolist() == ["R"] * 8 + ["L"]
    assert set(sides["laterality_source"]) == {"table"}


def test_no_thumbnail_is_kept_of_what_may_be_lettered_whatever_else_is_wrong_with_it(tmp_path, ray_session):
    found = Source(tmp_path / "in")
    found.film("kept")
    found.film("chest", BodyPartExamined="CHEST")
    lettered = {
        "text": {"BurnedInAnnotation": "YES"},
        "text-of-chest": {"BurnedInAnnotation": "YES", "BodyPartExamined": "CHEST"},
        "screen-of-chest": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "BodyPartExamined": "CHEST"},
    }
    for name, header in lettered.items():
        found.film(name, **header)
    ingest(card_with(screened="exclude", **CARD), str(found.root), str(tmp_path / "out"))
    excluded = Dataset(str(tmp_path / "out")).excluded()
    ids = pseudonyms("trial", phi=True)
    reasons = dict(zip(excluded["patient_id"], excluded["reason"], strict=True))
    assert [reasons[ids.make("patient", name)] for name in ("chest", *lettered)] == [
        "non_knee", "burned_in_text", "burned_in_text", "screenshot",
    ]  # fmt: skip
    shown = [name for file in (tmp_path / "out" / "rejected").iterdir() for name in pd.read_parquet(file)["image_id"]]
    assert shown == excluded.loc[excluded["patient_id"] == ids.make("patient", "chest"), "image_id"].tolist()
