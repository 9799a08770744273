"""Awkward real files (unchanged bytes from public repositories)."""

import csv

import numpy as np
import pytest
from pydicom import dcmread

from orthoray.imaging import UnreadableImageError, count_frames, display_frames, read_display, read_facts, read_stored

pytestmark = pytest.mark.data


REFUSED = {
    "broken/emri_jpeg2k_too_short.dcm": "not_decodable",
    "broken/tomo-truncated-pixels.dcm": "not_decodable",
    "broken/mr-no-rows.dcm": "no_pixels",
    "broken/mr-no-file-meta.dcm": "not_decodable",  # ACR-NEMA 1.0: two pixels of 12 bits in three bytes
    "broken/mr-empty-pixeldata.dcm": "not_decodable",
    "broken/not-an-image-SR.dcm": "no_pixels",
    "mr/mr-siemens-jpll-gh1261.dcm": "blank",
}
"""Files that cannot be shown, and why. All others of the collection decode."""


def rows_of(root):
    with (root / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_decodes_or_has_its_reason(shared_data):
    root = shared_data("dicom-misc")
    rows = rows_of(root)
    assert {row["file"] for row in rows} >= set(REFUSED)
    for row in rows:
        path = root / row["file"]
        if row["file"] in REFUSED:
            with pytest.raises(UnreadableImageError) as error:
                read_display(path)
            assert error.value.reason == REFUSED[row["file"]], row["file"]
            assert not row["patient_name"] or row["patient_name"] not in str(error.value)
            continue
        frames, stored = read_display(path), read_stored(path)
        assert len(frames) == len(stored) == len(read_facts(str(path))) == count_frames(str(path)), row["file"]
        assert len(frames) == int(row["frames"] or 1), row["file"]
        assert {frame.shape for frame in frames} == {(int(row["rows"]), int(row["cols"]))}
        assert all(frame.shape == raw.shape for frame, raw in zip(frames, stored, strict=True))
        assert all(frame.min() >= 0 and frame.max() <= 1 and frame.std() > 0 for frame in frames)


def test_what_the_collection_expects_is_what_happens(shared_data):
    """Files to be decoded are; files to be quarantined, or skipped for want of pixels, have a reason here."""
    for row in rows_of(shared_data("dicom-misc")):
        expects = row["expect"]
        if expects.startswith("decode") and "blank" not in expects:
            assert row["file"] not in REFUSED
        elif row["file"].startswith("broken") and ("quarantine" in expects or "skip" in expects):
            assert row["file"] in REFUSED


def test_an_old_headless_file_is_read_as_implicit(shared_data):
    """ACR-NEMA 2.0, 12 bits in words of 16: no preamble, no file meta information, no photometric interpretation."""
    path = shared_data("dicom-misc") / "broken" / "ct-headless-retired.dcm"
    (frame,) = display_frames(str(path))
    assert (frame.low, frame.high, frame.policy) == (-100.0, 199.0, "voi")
    assert read_stored(path)[0].max() < 4096


def test_a_modality_table_is_looked_up(shared_data):
    path = shared_data("dicom-misc") / "xray" / "cr-dental-modality-lut.dcm"
    dataset = dcmread(path)
    table = dataset.ModalityLUTSequence[0]
    assert (table.LUTDescriptor[0], table.LUTDescriptor[1]) == (1024, 0)
    values = np.frombuffer(table.LUTData, "<u2")[read_stored(path)[0]].astype(float)
    low, high = np.percentile(values, [0.5, 99.5])
    np.testing.assert_allclose(read_display(path)[0], 1 - np.clip((values - low) / (high - low), 0, 1), atol=1e-6)


def test_jpeg_ls_copy_of_an_enhanced_object(shared_data):
    folder = shared_data("dicom-misc") / "multiframe"
    plain, packed = (read_stored(folder / f"emri_small{suffix}.dcm") for suffix in ("", "_jls"))
    np.testing.assert_array_equal(np.array(plain), np.array(packed))


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
