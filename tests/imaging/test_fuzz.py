"""Damaged files and hostile names: whatever happens in the child, the parent goes on and says why in a fixed word.

`ORTHORAY_FUZZ=10000` sets the number of mutants; without it the first 1700 of them are tried.
"""

import os
import resource
import stat
import zlib
from collections import Counter

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless
from tests.imaging.encodings import encode
from tests.imaging.mutants import FIXTURES, chunk, examine, memory_of, mutant, write_fixture
from tests.imaging.objects import save_dicom

from orthoray.imaging import REASONS, UnreadableImageError
from orthoray.imaging.guarded import Guarded

pytestmark = pytest.mark.slow

MIB = 1 << 20
MEMORY = 3072 * MIB
SECONDS = 10.0
MUTANTS = int(os.environ.get("ORTHORAY_FUZZ", "1700"))
EACH = -(-MUTANTS // len(FIXTURES))


@pytest.fixture(scope="module")
def guard():
    with Guarded(memory_bytes=MEMORY, timeout_s=SECONDS) as found:
        yield found


@pytest.fixture(scope="module")
def parent_before(guard):
    guard.call(abs, 1)
    return memory_of(os.getpid(), "VmRSS")


def outcome(guard, path):
    try:
        facts, frames = guard.call(examine, str(path))
    except UnreadableImageError as error:
        return error.reason, error.detail
    assert facts >= 1
    assert all(height > 0 and width > 0 for height, width, _ in frames)
    return "frames", ""


@pytest.mark.parametrize("name", FIXTURES)
def test_the_parent_survives_every_mutant(guard, parent_before, tmp_path, name):
    if name == "hdf5":
        pytest.importorskip("h5py")
    path = write_fixture(tmp_path, name)
    content = path.read_bytes()
    assert outcome(guard, path) == ("frames", "")
    counts, escaped, words = Counter(), [], set(REASONS)
    for number in range(EACH):
        path.write_bytes(mutant(name, content, number))
        reason, detail = outcome(guard, path)
        counts[reason] += 1
        assert reason == "frames" or reason in words
        if reason == "decoder_failed":
            escaped.append((number, detail))
    print(name, dict(counts))
    assert not escaped, "exceptions that the package does not turn into a reason"
    assert 0 < counts["frames"] < EACH, "mutants that are all harmless, or all the same to a reader, test nothing"
    assert memory_of(os.getpid(), "VmRSS") - parent_before < 100 * MIB
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < MEMORY
    assert memory_of(guard.pid, "VmHWM") < MEMORY


def deflated_bomb(path):
    """400 kB that inflate to 400 MB, in an element before the pixels."""
    save_dicom(path, np.zeros((8, 8), np.uint8) + np.arange(8, dtype=np.uint8))
    dataset = dcmread(path)
    dataset.add_new(0x00091001, "OB", b"\0" * (400 * MIB))
    dataset.save_as(path)
    encode(path, "deflated")
    assert path.stat().st_size < MIB


def declared(path, syntax, data, rows=20_000, columns=20_000):
    """A kilobyte that declares a large image."""
    save_dicom(path, np.zeros((8, 8), np.uint16))
    dataset = dcmread(path)
    dataset.Rows, dataset.Columns = rows, columns
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)


def png_bomb(path):
    """30000 x 30000 pixels of one value."""
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(b"\0" * 30_001) for _ in range(30_000)) + packer.flush()
    head = (30_000).to_bytes(4) * 2 + b"\x08\0\0\0\0"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


BOMBS = {
    "deflated": deflated_bomb,
    "rle": lambda path: declared(path, RLELossless, (2).to_bytes(4, "little") + b"\x40\0\0\0" * 15 + b"\x81\0" * 99),
    "j2k": lambda path: declared(path, JPEG2000Lossless, b"\xff\x4f\xff\x51\0\x29\0\0" + b"\0\0\x4e\x20" * 8),
    "frames": lambda path: declared(path, RLELossless, b"\0" * 64, rows=65_535, columns=65_535),
    "png": png_bomb,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_a_small_file_declares_or_inflates_to_is_not_believed(tmp_path, kind):
    path = tmp_path / f"bomb.{kind}"
    BOMBS[kind](path)
    with Guarded(memory_bytes=MEMORY, timeout_s=SECONDS) as guard:
        assert outcome(guard, path)[0] in ("too_large", "not_decodable")
        assert guard.pid is not None, "refused by the reader, before the limit has to"
        assert memory_of(guard.pid, "VmHWM") < 500 * MIB


NAMES = ("王小东.dcm", "a\nb.dcm", "\udcff\udc80.dcm", "*?[x].dcm", "#%20&.dcm", "~", "-x", "x" * 250)


@pytest.mark.parametrize("name", NAMES)
def test_files_of_any_name_are_read(guard, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(write_fixture(tmp_path, "explicit").read_bytes())
    assert outcome(guard, path) == ("frames", "")


@pytest.mark.parametrize(
    "name", ["../../../none", "/none/none.dcm", "none\0.dcm", "x" * 300, "", "王.dcm", "a\nb", "\udcff", "s3:/a::b"]
)
def test_names_of_nothing_are_refused(guard, tmp_path, name):
    assert outcome(guard, os.path.join(tmp_path, name))[0] in ("file_unreadable", "decoder_failed")


def test_links_that_lead_nowhere_and_folders_are_refused(guard, tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder.dcm").mkdir()
    for name in ("dangling", "loop", "folder.dcm"):
        assert outcome(guard, tmp_path / name)[0] == "file_unreadable"


def test_what_is_no_file_does_not_block_for_ever(tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")
    with Guarded(memory_bytes=MEMORY, timeout_s=1.0) as guard:
        assert outcome(guard, tmp_path / "pipe.dcm")[0] in ("timeout", "file_unreadable")
        for device in ("/dev/zero", "/dev/null", "/dev/random", "/dev/full"):
            assert stat.S_ISCHR(os.stat(device).st_mode)
            assert outcome(guard, device)[0] in ("not_dicom", "empty", "timeout", "file_unreadable")
