"""OCR in the pipeline: refused without its extra, judged, told, and what it hides; a whole run where the extra is."""

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from tests.data.sources import card_with
from tests.imaging.deid.phi_object import BIRTH_DATE, TOKENS, planted
from tests.imaging.objects import save_dicom

from orthoray import storage
from orthoray.data.codec import decode
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.data.lettered import clean_frames, lettered_ids
from orthoray.data.master import MASTER, keep_master
from orthoray.data.prepare import Treatment
from orthoray.data.schema import REPORT
from orthoray.data.screening import screen
from orthoray.data.screening_rules import ScreeningRules
from orthoray.data.shards import _made_from
from orthoray.data.state import shard_uri
from orthoray.errors import InputError
from orthoray.imaging import ocr

CARD = {"facts": [], "labels": [], "master": True, "bilateral": "split", "ocr": True}


def test_without_the_extra_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(ocr.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(InputError, match=r"card 'trial'.*pip install 'orthoray\[ocr\]'"):
        ingest(card_with(**CARD), str(tmp_path), str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_an_image_is_made_again_when_ocr_is_switched():
    row = {"version": "v", "frame": 0, "part": "", "inverted": "", "modality": "XR"}
    assert _made_from(row, Treatment("header", 32)) == _made_from(row, Treatment("header", 32, ocr=False))
    assert _made_from(row, Treatment("header", 32)) != _made_from(row, Treatment("header", 32, ocr=True))


def outcome(words, identity, **rule):
    frame = pd.DataFrame({"image_id": ["a"], "modality": "XR", "quality.ocr_words": words})
    frame["quality.ocr_identity"] = identity
    found = screen(frame, ScreeningRules(burned_in_text=rule)).exclusions
    return found[["reason", "severity", "detail", "value"]].to_numpy().tolist()


def test_words_that_were_read_follow_the_rule():
    assert outcome(0.0, 0.0) == outcome(np.nan, np.nan) == []
    assert outcome(1.0, 0.0) == [["burned_in_text", "exclude", "ocr_words, limit 0", 1.0]]
    assert outcome(1.0, 0.0, severity="review") == [["burned_in_text", "review", "ocr_words, limit 0", 1.0]]
    assert outcome(2.0, 0.0, ocr_words=2) == outcome(2.0, 0.0, on=False) == []


def test_no_rule_lets_an_image_stay_that_names_its_patient():
    wanted = [["burned_in_text", "always", "ocr_identity, limit 0", 1.0]]
    for rule in ({}, {"severity": "review"}, {"ocr_words": 9}, {"on": False}):
        assert outcome(3.0, 1.0, **rule) == wanted


def report(*rows):
    made = [
        {"image_id": image, "file_key": file, "frame": frame, "quality": {"ocr_words": words, "ocr_identity": identity}}
        for image, file, frame, words, identity in rows
    ]
    return pa.Table.from_pylist(made, schema=REPORT)


def test_what_was_read_is_told_from_what_was_not():
    table = report(
        ("a", "f", 0, 0.0, 0.0), ("b", "f", 0, 0.0, 0.0), ("c", "f", 1, 2.0, 0.0), ("d", "g", 0, 0.0, 1.0),
        ("e", "h", 0, None, None),
    )  # fmt: skip
    assert lettered_ids(table) == {"c", "d"}
    assert clean_frames(table) == {"f": 1}


def test_a_file_of_which_one_image_is_hidden_leaves_the_master(tmp_path):
    rows = [
        {"file_key": key, "image_ids": ids, "dicom": b"x", "reason": None} for key, ids in (("f", "ab"), ("g", "cd"))
    ]
    uri = shard_uri(str(tmp_path), "master", 0)
    storage.write_table(pa.Table.from_pylist(rows, schema=MASTER), uri)
    keep_master(str(tmp_path), 0, {"a", "c"}, frozenset("d"))
    assert storage.read_table(uri)["file_key"].to_pylist() == ["f"]


GREY = np.linspace(300, 1500, 240 * 320).reshape(240, 320)


def lettered(text="", noise=0, side=""):
    """Stored values (12 bits) of 240 x 320 pixels with letters 14 pixels high, and a large one for the side."""
    values = (GREY + np.random.default_rng(noise).normal(0, 15, GREY.shape)).astype(np.uint16)
    stamp = np.zeros(GREY.shape, np.uint8)
    cv2.putText(stamp, text, (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.66, 255, 2, cv2.LINE_AA)
    cv2.putText(stamp, side, (10, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 3, cv2.LINE_AA)
    return np.maximum(values, stamp.astype(np.uint16) * 16)


BURNED = [TOKENS["PatientName"], TOKENS["InstitutionName"], TOKENS["unknown even tag"], f"{BIRTH_DATE[:4]}-06-07"]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Slices of the planted object, four with tokens burned in and two without; films of Mr Wu, clean and not."""
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed: pip install 'orthoray[ocr]'")
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
    folder = tmp_path / "source"
    folder.mkdir()
    for number, text in enumerate([*BURNED, "", ""]):
        content = planted(
            SOPInstanceUID=f"{TOKENS['image UID']}.{number}", InstanceNumber=number + 1, WindowCenter=2000.0,
            WindowWidth=4000.0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            ImagePositionPatient=[3.0 * number, 0, 0], Rows=240, Columns=320,
            PixelData=lettered(text, noise=number).tobytes(),
        )  # fmt: skip
        (folder / f"{number}.dcm").write_bytes(content)
    for name, text, patient in (("wu", "Wu", "Wu^Li"), ("ap", "AP", "Wu^Li"), ("other", "SCHMIDT", "Roe^Jane")):
        save_dicom(
            folder / f"{name}.dcm", lettered(text, len(name) + 50, "R"), "DX", PatientID=f"MRN77-{name}",
            PatientName=patient, WindowCenter=2000, WindowWidth=4000, BodyPartExamined="KNEE", ViewPosition="AP",
            Laterality="B", StudyInstanceUID=f"2.25.9{len(name)}",
        )  # fmt: skip
    return folder


def artefacts(out):
    """Every picture that a dataset holds in any tier."""
    for tier in ("images", "rejected"):
        for file in Path(out).rglob(f"{tier}/*.parquet"):
            for row in pq.read_table(file).to_pylist():
                yield decode(row["pixels"], row["codec"])
    for file in Path(out).rglob("master/*.parquet"):
        for row in pq.read_table(file).to_pylist():
            values = pydicom.dcmread(io.BytesIO(row["dicom"])).pixel_array
            yield np.clip(values / 4000 * 255, 0, 255).astype(np.uint8)


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_with_ocr_keeps_no_burned_in_name(source, tmp_path, ray_session):
    """Every rule is off or only says; what names its patient leaves all the same, and OCR is switched on afterwards."""
    out = tmp_path / "dataset"
    lenient = {"screened": "review", "short_side": 240, "screening": {"burned_in_text": {"on": False}}}
    before = ingest(card_with(**CARD | lenient | {"ocr": False}), str(source), str(out))
    assert (before["n_images"], before["ocr"]) == (12, None)
    assert Dataset(str(out)).index()["quality"].map(lambda row: row["ocr_words"]).isna().all()

    manifest = ingest(card_with(**CARD | lenient), str(source), str(out))
    told = manifest["ocr"]
    assert (told["images_read"], told["with_words"], told["with_identity"]) == (12, 6, 6)
    assert manifest["n_images"] == 12 - 4 - 2  # tokens, and both halves of the film that says Wu
    excluded = Dataset(str(out)).excluded()
    assert excluded["reason"].tolist() == ["burned_in_text"] * 6
    assert excluded["detail"].str.startswith("ocr_identity").all()

    needles = [*BURNED, "WU", "19510607"]
    pictures = list(artefacts(out))
    assert len(pictures) == 6 + 0 + 4  # images, no thumbnail, files
    for picture in pictures:
        read = "".join(ocr.read_lines(picture)).upper().replace("-", "")
        assert not [needle for needle in needles if needle.replace("-", "") in read]
    contents = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    leaked = [(str(file), token) for file, text in contents.items() for token in BURNED if token.encode() in text]
    assert not leaked
    claims = {
        clean_pixels(row["dicom"]) for file in out.rglob("master/*.parquet") for row in pq.read_table(file).to_pylist()
    }
    assert claims == {(True, "NO"), (False, None)}


def clean_pixels(content):
    dataset = pydicom.dcmread(io.BytesIO(content))
    codes = [code.CodeValue for code in dataset.DeidentificationMethodCodeSequence]
    return "113101" in codes, dataset.get("BurnedInAnnotation")
