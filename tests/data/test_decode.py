"""Decoding against two other decoders, and what becomes of damaged bytes."""

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orthoray.data.codec import SIGNATURE, decode, encode
from orthoray.errors import RunError

SIDES = st.integers(1, 90)


def film(height, width, seed):
    """Noise on a slope, so that every filter of rows is worth while somewhere."""
    rng = np.random.default_rng(seed)
    slope = np.add.outer(np.arange(height) * rng.integers(0, 5), np.arange(width) * rng.integers(0, 5))
    return (slope + rng.integers(0, 1 + int(rng.integers(0, 250)), (height, width))).astype(np.uint8)


def by_cv2(image, strategy=cv2.IMWRITE_PNG_STRATEGY_DEFAULT):
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_STRATEGY, strategy, cv2.IMWRITE_PNG_COMPRESSION, 6])[
        1
    ].tobytes()


def by_pillow(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def parts(content):
    """[(name, content)] of the chunks."""
    place, found = 8, []
    while place < len(content):
        size = int.from_bytes(content[place : place + 4])
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    return found


def joined(chunks):
    return SIGNATURE + b"".join(chunk(*part) for part in chunks)


WRITERS = {"encode": encode, "cv2": by_cv2, "pillow": by_pillow}


@settings(max_examples=120, deadline=None)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 2**31), writer=st.sampled_from(sorted(WRITERS)))
def test_three_decoders_agree_on_what_three_encoders_wrote(height, width, seed, writer):
    image = film(height, width, seed)
    content = WRITERS[writer](image)
    found = decode(content)
    np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE), image)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), image)
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.dtype == np.uint8


def test_pixels_in_several_chunks_and_other_chunks_are_read():
    image = film(37, 20, 1)
    (_, header), (_, data), end = parts(encode(image))
    cut = len(data) // 3
    content = joined(
        [(b"IHDR", header), (b"tEXt", b"k\0v"), (b"IDAT", data[:cut]), (b"IDAT", b""), (b"IDAT", data[cut:]), end]
    )
    np.testing.assert_array_equal(decode(content), image)


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), writer=st.sampled_from(sorted(WRITERS)))
def test_no_flipped_bit_goes_unnoticed(place, bits, writer):
    content = bytearray(WRITERS[writer](film(24, 31, 5)))
    content[int(place * len(content))] ^= bits
    with pytest.raises(RunError, match=r"damaged \(.+\)\. Ingest the dataset again"):
        decode(bytes(content))


@settings(max_examples=120, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), writer=st.sampled_from(sorted(WRITERS)))
def test_nor_one_below_a_checksum_that_was_mended(place, bits, writer):
    """Bytes damaged before they were packed: the pixels' own checksum finds them, or they say the same."""
    image = film(24, 31, 5)
    chunks = parts(WRITERS[writer](image))
    at = next(number for number, (name, _) in enumerate(chunks) if name == b"IDAT")
    data = bytearray(chunks[at][1])
    data[int(place * len(data))] ^= bits
    chunks[at] = (b"IDAT", bytes(data))
    with contextlib.suppress(RunError):
        np.testing.assert_array_equal(decode(joined(chunks)), image)


@settings(max_examples=60, deadline=None)
@given(keep=st.floats(0, 1, exclude_max=True), writer=st.sampled_from(sorted(WRITERS)))
def test_a_file_that_was_cut_off_is_refused(keep, writer):
    content = WRITERS[writer](film(24, 31, 5))
    with pytest.raises(RunError, match="damaged"):
        decode(content[: int(keep * len(content))])


@pytest.mark.parametrize(("height", "width"), [(0, 31), (24, 0), (23, 31), (25, 31), (24, 30), (2**31, 2**31)])
def test_a_header_with_other_sizes_is_refused(height, width):
    (_, header), *rest = parts(encode(film(24, 31, 5)))
    with pytest.raises(RunError, match="damaged"):
        decode(joined([(b"IHDR", struct.pack(">II", height, width) + header[8:]), *rest]))


def test_pixels_with_something_behind_them_are_refused():
    header, (_, data), end = parts(encode(film(24, 31, 5)))
    with pytest.raises(RunError, match="more or fewer pixels"):
        decode(joined([header, (b"IDAT", data + b"more"), end]))


def test_files_without_header_or_pixels_are_refused():
    header, data, end = parts(encode(film(24, 31, 5)))
    for chunks in ([header, end], [data, end], [end]):
        with pytest.raises(RunError, match="holds no pixels"):
            decode(joined(chunks))
