"""Damaged files: small images in every format and transfer syntax, and the ways in which their bytes can change."""

import io
import re
import struct
import zlib
from contextlib import suppress

import cv2
import numpy as np
from tests.imaging.encodings import encode
from tests.imaging.objects import lookup_table, save_dicom, save_enhanced

from orthoray.imaging import count_frames, display_frames, read_facts

SYNTAXES = ("explicit", "implicit", "big_endian", "deflated", "rle", "jpeg_ls", "jpeg_ls_near", "j2k", "jpeg_lossless")
ARRAYS = ("npy", "hdf5")
FIXTURES = (*SYNTAXES, "jpeg_baseline", "tables", "enhanced", "png", "jpeg", "tiff", *ARRAYS)
NUMBERS = (0, 1, 2, 8, 16, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
BEFORE_LENGTHS = re.compile(rb"AE|AS|CS|DA|DS|IS|LO|OB|OW|PN|SH|SQ|SS|ST|TM|UI|UL|UN|US|IHDR|IDAT|\xff[\xc0-\xfe]")
PNG_START, DICOM_META = 8, 132


def examine(path):
    """All that ingest reads of a file, reduced to little: how many facts, and size and sum of grey of each frame."""
    facts = count_frames(path) if path.endswith(ARRAYS) else len(read_facts(path))
    return facts, [(*frame.grey.shape, int(frame.grey.sum())) for frame in display_frames(path)]


def write_fixture(folder, name):
    """Write an undamaged file; return its path."""
    rng = np.random.default_rng(FIXTURES.index(name))
    ramp = np.add.outer(np.arange(32) * 40, np.arange(40) * 50)
    pixels = (ramp + rng.integers(0, 200, ramp.shape)).astype(np.uint16)
    path = folder / f"image.{name}"
    if name in SYNTAXES:
        save_dicom(path, pixels, BitsStored=12, HighBit=11, WindowCenter=1000, WindowWidth=1500, PatientID="TEST-1")
        encode(path, name)
    elif name == "jpeg_baseline":
        save_dicom(path, (pixels >> 4).astype(np.uint8))
        encode(path, name)
    elif name == "tables":
        table = lookup_table(0, range(0, 4096, 2))
        save_dicom(path, pixels, "MR", VOILUTSequence=[table], ModalityLUTSequence=[table], PixelPaddingValue=0)
    elif name == "enhanced":
        groups = [(1.5, 2.0 * number, (900, 1200), number, 10 + number) for number in range(3)]
        save_enhanced(path, np.stack([pixels] * 3), groups)
    else:
        path.write_bytes(_file(name, pixels))
    return path


def _file(name, pixels):
    buffer = io.BytesIO()
    if name == "npy":
        np.save(buffer, np.stack([pixels >> 4] * 2).astype(np.uint8))
    elif name == "hdf5":
        import h5py

        with h5py.File(buffer, "w") as file:
            volume = np.stack([pixels] * 2).astype(np.float32)
            file.create_dataset("reconstruction_rss", data=volume, chunks=(1, 32, 40))
            file.attrs["acquisition"] = "CORPD_FBK"
    else:
        grey = (pixels >> 4).astype(np.uint8) if name == "jpeg" else pixels
        buffer.write(cv2.imencode(f".{name}", grey)[1].tobytes())
    return buffer.getvalue()


def mutant(name, content, number):
    """The ``number``-th damaged copy of a file, always the same one.

    Every other copy of a file with checks or compression around its content is damaged inside of them.
    """
    rng = np.random.default_rng([FIXTURES.index(name), number])
    if number % 2 and name in INSIDE:
        return INSIDE[name](content, rng)
    return _damage(content, rng)


def _damage(content, rng):
    data = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        WAYS[int(rng.integers(len(WAYS)))](data, rng)
    return bytes(data)


def _place(data, rng):
    """Half of the places are in the first 1000 bytes, where headers are."""
    return int(rng.integers(max(1, min(len(data), 1000 if rng.random() < 0.5 else len(data)))))


def _flip(data, rng):
    for _ in range(int(rng.integers(1, 9))):
        if data:
            data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _cut(data, rng):
    del data[_place(data, rng) :]


def _insert(data, rng):
    place = _place(data, rng)
    data[place:place] = rng.bytes(int(rng.integers(1, 64)))


def _remove(data, rng):
    place = _place(data, rng)
    del data[place : place + int(rng.integers(1, 64))]


def _repeat(data, rng):
    start, place = _place(data, rng), _place(data, rng)
    data[place:place] = data[start : start + int(rng.integers(1, 512))]


def _fill(data, rng):
    place, length = _place(data, rng), int(rng.integers(1, 64))
    data[place : place + length] = bytes([int(rng.choice([0, 0x20, 0x7F, 0xFF]))]) * len(data[place : place + length])


def _number(data, rng):
    """Overwrite two or four bytes, of either order, with a number that overflows something."""
    _write(data, _place(data, rng), rng)


def _length(data, rng):
    """The same just behind a value representation, the name of a chunk, or a marker: there lengths are."""
    places = [found.end() for found in BEFORE_LENGTHS.finditer(data)]
    if places:
        _write(data, places[int(rng.integers(len(places)))] + int(rng.choice([0, 0, 2, 4])), rng)


def _write(data, place, rng):
    value = int(rng.choice(NUMBERS))
    code = str(rng.choice(["<H", ">H", "<I", ">I"]))
    packed = struct.pack(code, value & (0xFFFF if code[1] == "H" else 0xFFFFFFFF))
    data[place : place + len(packed)] = packed


WAYS = (_flip, _flip, _cut, _insert, _remove, _repeat, _fill, _number, _number, _length, _length, _length)


def _inside_png(content, rng):
    """Chunks with the checksums that they should have; in half of the copies the damage is in the packed rows."""
    chunks, place = [], PNG_START
    while place < len(content):
        end = place + 8 + struct.unpack_from(">I", content, place)[0]
        chunks.append((content[place + 4 : place + 8], content[place + 8 : end]))
        place = end + 4
    hit = b"IDAT" if rng.random() < 0.5 else chunks[int(rng.integers(len(chunks)))][0]
    damaged = [
        (name, body if name != hit else _repacked(body, rng) if name == b"IDAT" else _damage(body, rng))
        for name, body in chunks
    ]
    return content[:PNG_START] + b"".join(chunk(*part) for part in damaged)


def _repacked(body, rng):
    return zlib.compress(_damage(zlib.decompress(body), rng))


def chunk(name, content):
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _inside_deflated(content, rng):
    start = DICOM_META + 12 + struct.unpack_from("<I", content, DICOM_META + 8)[0]  # by the group's length
    return content[:start] + deflate(_damage(zlib.decompress(content[start:], -zlib.MAX_WBITS), rng))


def deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


INSIDE = {"png": _inside_png, "deflated": _inside_deflated}


def memory_of(pid, field):
    """A line of /proc/PID/status in bytes, such as VmRSS or VmHWM (the largest it was)."""
    with suppress(FileNotFoundError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0
