"""Awkward real files (unchanged bytes from public repositories)."""

import csv

import numpy as np
import pytest

from orthoray.imaging import UnreadableImageError, read_display, read_facts, read_stored

pytestmark = pytest.mark.data


def test_every_file_decodes_or_has_a_reason(shared_data):
    root = shared_data("dicom-misc")
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        path = root / row["file"]
        if row["expect"].startswith("decode") and "blank" not in row["expect"]:
            frames, stored = read_display(path), read_stored(path)
            assert len(frames) == len(stored) == len(read_facts(str(path))) == int(row["frames"] or 1), row["file"]
            assert all(frame.shape == raw.shape for frame, raw in zip(frames, stored, strict=True))
            assert all(frame.min() >= 0 and frame.max() <= 1 and frame.std() > 0 for frame in frames)
        elif row["file"].startswith("broken"):
            with pytest.raises(UnreadableImageError):
                read_display(path)


def test_genuine_monochrome1_shows_dark_lungs(shared_data):
    path = shared_data("dicom-misc") / "xray" / "CR-MONO1-10-chest.dcm"
    shown, stored = read_display(path)[0], read_stored(path)[0]
    assert np.corrcoef(shown.ravel(), stored.ravel())[0, 1] < -0.9


def test_big_endian_files_read_as_their_little_endian_copies(shared_data):
    root = shared_data("dicom-knee-mri")
    originals = {read_stored(path)[0].tobytes() for path in sorted((root / "original").rglob("*.dcm"))[:60]}
    copies = [read_stored(path)[0].tobytes() for path in sorted((root / "anonymised-echo1").rglob("*.dcm"))[:4]]
    big = sorted((root / "original").rglob("*.dcm"))[0]
    assert read_display(big)[0].std() > 0.05
    assert len(originals) == 60
    assert sum(copy in originals for copy in copies) > 0
