"""Small files that declare, or inflate to, much more than they hold: refused before the memory is asked for.

All of them are read in one process whose address space is limited and whose peak is measured.
"""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from tests.imaging.encodings import encode
from tests.imaging.objects import save_dicom

from orthoray.imaging import UnreadableImageError, read_stored
from orthoray.imaging.codestream import Declared, check_frame, j2k_size, jpeg_size
from orthoray.imaging.limits import MAX_FILE_BYTES, MAX_FRAMES, MAX_PIXEL_BYTES, check_size
from orthoray.imaging.parsing import InflatedStream

ADDRESS_SPACE = 3 << 29
PEAK_BYTES = 400 << 20
RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)

CHILD = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
from orthoray.imaging import UnreadableImageError, count_frames, read_display, read_facts, read_stored
found = {}
for path in sys.argv[2:]:
    reasons = []
    for call in (read_facts, count_frames, read_stored, read_display):
        if call is read_facts and not path.endswith(".dcm"):
            continue
        try:
            call(path)
            reasons.append("read")
        except UnreadableImageError as error:
            reasons.append(error.reason)
    found[path] = reasons
with open("/proc/self/status") as status:  # ru_maxrss would count the parent before the child's program was loaded
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"found": found, "peak": 1024 * peak}))
"""

DECLARED = {"Rows": 60000, "Columns": 60000}


def edited(path, syntax=None, pixels=None, **attributes):
    """A small image, with what it says of itself changed."""
    save_dicom(path, RAMP)
    if syntax:
        encode(path, syntax)
    dataset = dcmread(path)
    if pixels:
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([pixels(frame)])
        dataset["PixelData"].is_undefined_length = True
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return path


def deflated(path, before=b"", zeros=0, length=None, behind=0, **attributes):
    """A deflated file.

    ``before``: bytes in front of the pixel data, and so many MiB of ``zeros``. ``length``: of the pixel data, in MiB.
    ``behind``: MiB of zeros that follow.
    """
    edited(path, **attributes)
    encode(path, "deflated")
    content = path.read_bytes()
    place = 132 + 12 + struct.unpack_from("<I", content, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain = zlib.decompress(content[place:], -zlib.MAX_WBITS)
    header, tag, rest = plain.partition(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    assert tag
    packed = [packer.compress(header + before), *(packer.compress(bytes(1 << 20)) for _ in range(zeros))]
    if length is not None:
        rest = struct.pack("<HI", 0, length << 20)
        behind = length
    packed += [packer.compress(tag + rest), *(packer.compress(bytes(1 << 20)) for _ in range(behind)), packer.flush()]
    path.write_bytes(content[:place] + b"".join(packed))
    return path


def swapped(old, new):
    def change(frame):
        assert old in frame
        return frame.replace(old, new, 1)

    return change


def png(rows, columns):
    header = struct.pack(">IIBBBBB", columns, rows, 16, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + bytes(100)


def tiff(rows, columns, tile=None, following=0):
    fields = [(256, columns), (257, rows), (258, 16), (259, 1), (262, 1), (277, 1)]
    fields += [(322, tile), (323, tile)] if tile else []
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + struct.pack("<I", following) + bytes(100)


def sparse(path, size):
    """A file that takes no room on the disk."""
    with path.open("r+b") as file:
        file.truncate(size)
    return path


def bombs(folder):
    """Path → reason that it has to be refused for."""
    size = struct.pack(">HH", 64, 64)
    large = struct.pack(">HH", 60000, 60000)
    private = struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, 200 << 20)
    found = {
        edited(folder / "declared.dcm", **DECLARED): "too_large",
        edited(folder / "frames.dcm", Rows=1, Columns=1, NumberOfFrames=2**31 - 1): "too_large",
        edited(folder / "jpeg-ls-declared.dcm", "jpeg_ls", **DECLARED): "too_large",
        edited(folder / "rle.dcm", "rle", lambda frame: frame[:200], Rows=16000, Columns=16000): "not_decodable",
        edited(folder / "jpeg-ls.dcm", "jpeg_ls", swapped(size, large)): "not_decodable",
        edited(folder / "jpeg.dcm", "jpeg_lossless_sv1", swapped(size, large)): "not_decodable",
        edited(folder / "j2k.dcm", "j2k", swapped(struct.pack(">II", 64, 64), struct.pack(">II", 60000, 60000))):
            "not_decodable",
        deflated(folder / "deflated-declared.dcm", **DECLARED): "too_large",
        deflated(folder / "deflated-pixels.dcm", length=400): "too_large",
        deflated(folder / "deflated-header.dcm", private, zeros=200): "too_large",
        deflated(folder / "deflated-elements.dcm", zeros=30): "header_unreadable",
        deflated(folder / "deflated-behind.dcm", behind=400): "read",
    }  # fmt: skip
    pictures = {"a.png": png(60000, 60000), "a.tiff": tiff(60000, 60000), "tile.tiff": tiff(64, 64, tile=60000)}
    pictures["a.jpg"] = b"\xff\xd8\xff\xc0\x00\x0b\x08" + large + b"\x01\x01\x11\x00" + bytes(100)
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
        found[folder / name] = "too_large"
    np.lib.format.write_array_header_1_0(
        (folder / "a.npy").open("wb"), {"descr": "|u1", "fortran_order": False, "shape": (30000, 256, 256)}
    )
    found[folder / "a.npy"] = "too_large"
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("reconstruction_rss", (30000, 320, 320), "f4", chunks=(1, 320, 320))
    found[folder / "a.h5"] = "too_large"
    found[sparse(edited(folder / "long.dcm", **DECLARED), MAX_FILE_BYTES - 1)] = "too_large"
    return found


def run_child(paths):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ADDRESS_SPACE), *map(str, paths)], capture_output=True, text=True, check=True,
        timeout=100, env=os.environ | dict.fromkeys(names, "1"),
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow
def test_bombs_are_refused_at_once(tmp_path):
    expected = bombs(tmp_path)
    assert all(path.stat().st_blocks * 512 < 1 << 20 for path in expected)
    answer = run_child(expected)
    assert answer["peak"] < PEAK_BYTES
    for path, reason in expected.items():
        reasons = answer["found"][str(path)]
        header_only = 2 if path.suffix == ".dcm" else 1
        assert set(reasons[header_only:]) == {reason}, path.name
        assert set(reasons[:header_only]) <= {reason, "read"}, path.name


def test_headers_alone_are_limited_too(tmp_path):
    """Frames that are only declared would each become a row."""
    path = edited(tmp_path / "a.dcm", Rows=1, Columns=1, NumberOfFrames=MAX_FRAMES + 1)
    assert run_child([path])["found"][str(path)] == ["too_large"] * 4


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.tiff"])
def test_long_files_are_not_read(tmp_path, name):
    path = tmp_path / name
    edited(path)
    if name != "a.dcm":
        path.write_bytes(png(64, 64) if name == "a.png" else tiff(64, 64))
    sparse(path, MAX_FILE_BYTES + 1)
    assert run_child([path])["found"][str(path)][-2:] == ["too_large"] * 2


def test_structures_that_never_end(tmp_path):
    path = tmp_path / "loop.tiff"
    path.write_bytes(tiff(8, 8, following=8))
    nested = Path(save_dicom(tmp_path / "nested.dcm", RAMP))
    endless = 0xFFFFFFFF
    start = struct.pack("<HH2sHIHHI", 0x0008, 0x1111, b"SQ", 0, endless, 0xFFFE, 0xE000, endless)
    head, rows, rest = nested.read_bytes().partition(struct.pack("<HH2s", 0x0010, 0x0020, b"LO"))
    nested.write_bytes(head + start * 20000 + rows + rest)
    for file in (path, nested):
        with pytest.raises(UnreadableImageError) as error:
            read_stored(file)
        assert error.value.reason in ("not_decodable", "header_unreadable", "no_pixels")


def test_run_lengths_that_go_on_beyond_the_frame(tmp_path):
    """4 MB of runs stand for 256 MB; the frame has 8 kB."""

    def longer(frame):
        return frame + b"\x81\x07" * (2 << 20)

    path = edited(tmp_path / "a.dcm", "rle", longer)
    answer = run_child([path])
    assert answer["peak"] < PEAK_BYTES // 2
    assert answer["found"][str(path)][:2] == ["read", "read"]
    assert set(answer["found"][str(path)][2:]) <= {"read", "not_decodable"}


@pytest.mark.parametrize("syntax", ["jpeg_ls", "j2k", "jpeg_lossless", "jpeg_lossless_sv1", "jpeg_baseline"])
def test_compressed_frames_say_their_size(tmp_path, syntax):
    save_dicom(tmp_path / "a.dcm", np.zeros((40, 72), np.uint8))
    encode(tmp_path / "a.dcm", syntax)
    (frame,) = generate_frames(dcmread(tmp_path / "a.dcm").PixelData, number_of_frames=1)
    assert (j2k_size if syntax == "j2k" else jpeg_size)(frame) == (40, 72, 1)
    check_frame(frame, Declared(40, 72, 1), 1, run_length=False)
    for other in ((72, 40, 1), (40, 72, 3), (40, 71, 1)):
        with pytest.raises(UnreadableImageError, match="not_decodable"):
            check_frame(frame, Declared(*other), 1, run_length=False)
    for length in range(0, len(frame), 7):
        assert (j2k_size(frame[:length]) or jpeg_size(frame[:length])) in (None, (40, 72, 1))


def test_what_is_within_the_limits_is_allowed():
    check_size(1, 4300, 3500, 2)
    check_size(1, 1, MAX_PIXEL_BYTES, 1)
    for size in ((1, 1, MAX_PIXEL_BYTES, 2), (MAX_FRAMES + 1, 1, 1, 1)):
        with pytest.raises(UnreadableImageError, match="too_large"):
            check_size(*size)


@pytest.mark.parametrize("level", [0, 1, 9])
def test_an_inflated_stream_reads_like_the_bytes_it_stands_for(tmp_path, level):
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 4, 300_000).astype(np.uint8).tobytes()
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    (tmp_path / "a").write_bytes(packer.compress(plain) + packer.flush())
    whole = b"start" + plain
    with (tmp_path / "a").open("rb") as source:
        stream = InflatedStream(b"start", source, len(whole))
        for place, size in rng.integers(0, len(whole), (50, 2)):
            stream.seek(int(place))
            assert stream.read(int(size)) == whole[place : place + size]
            assert stream.tell() == min(len(whole), place + size)
        place = stream.seek(-7, os.SEEK_CUR)
        assert stream.read() == whole[place:]
        assert stream.seek(0, os.SEEK_END) == len(whole)
    with (tmp_path / "a").open("rb") as source, pytest.raises(UnreadableImageError, match="too_large"):
        InflatedStream(b"start", source, len(whole) - 1).read()


def test_a_deflated_stream_that_is_cut_off_ends(tmp_path):
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(RAMP.tobytes()) + packer.flush()
    (tmp_path / "a").write_bytes(packed[: len(packed) // 2])
    with (tmp_path / "a").open("rb") as source:
        assert RAMP.tobytes().startswith(InflatedStream(b"", source, 1 << 20).read())
