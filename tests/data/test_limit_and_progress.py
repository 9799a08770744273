"""`--limit` takes the first files and the rest later; what a person sees meanwhile has rate and time left."""

import re
import time

import numpy as np
import pytest
from tests.data.sources import card_with
from tests.imaging.objects import save_dicom

import orthoray.progress as module
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.progress import Progress


def test_a_line_has_share_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 0.0)
    with Progress(1000, "reading", "files") as bar:
        bar.start_at(400)  # of an earlier run: they count for the share and not for the rate
        begun = time.monotonic()
        time.sleep(0.25)
        bar.advance(100)
        elapsed = time.monotonic() - begun
        bar.advance(500)
    first, *_, last = capsys.readouterr().out.splitlines()
    share, rate, minutes, seconds = re.fullmatch(
        r"  reading: (\S+) files  (\S+) files/s  ETA (\d+):(\d\d)", first
    ).groups()
    assert share == "500/1000"
    assert 100 / elapsed * 0.9 <= float(rate) <= 100 / 0.25 * 1.01
    assert abs(60 * int(minutes) + int(seconds) - 500 / float(rate)) <= 1
    assert re.fullmatch(r"  reading: 1000/1000 files  \S+ files/s", last)  # nothing is left, so no time is told


@pytest.mark.ray
@pytest.mark.slow
def test_the_first_files_now_and_the_rest_later(tmp_path, ray_session, monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
    rng = np.random.default_rng(0)
    for number in range(7):
        image = rng.integers(0, 4000, (40, 40)).astype(np.uint16)
        save_dicom(tmp_path / "in" / f"{number}.dcm", image, "DX", PatientID=f"P{number}", BodyPartExamined="KNEE")
    card, source = card_with(facts=[], labels=[], bilateral="keep"), str(tmp_path / "in")
    some = ingest(card, source, str(tmp_path / "out"), limit=3)
    assert (some["n_files"], some["n_images"]) == (3, 3)
    first = set(Dataset(str(tmp_path / "out")).index()["image_id"])
    whole = ingest(card, source, str(tmp_path / "out"))
    assert (whole["n_files"], whole["n_images"]) == (7, 7)
    assert whole["dataset_id"] == ingest(card, source, str(tmp_path / "fresh"))["dataset_id"]
    assert first < set(Dataset(str(tmp_path / "out")).index()["image_id"])
    assert ingest(card, source, str(tmp_path / "more"), limit=100)["n_files"] == 7
