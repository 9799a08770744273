"""fastMRI's HDF5 and MRNet's NPY through the same functions as DICOM."""

import h5py
import numpy as np
import pytest

from orthoray.imaging import (
    UnreadableImageError,
    count_frames,
    display_frames,
    hdf5_attributes,
    read_display,
    read_stored,
    sniff,
)

SCALE = 3e-5
"""fastMRI's values are of the order of 1e-5 to 1e-3, another order in every volume."""


def reason_of(call, path):
    with pytest.raises(UnreadableImageError) as error:
        call(str(path))
    assert str(path.parent) not in str(error.value)
    return error.value.reason


@pytest.fixture
def volume():
    slices = np.random.default_rng(0).gamma(2.0, SCALE, (4, 32, 24)).astype(np.float32)
    slices[0] *= 0.1
    return slices


def save_hdf5(path, images, name="reconstruction_rss", **options):
    with h5py.File(path, "w") as file:
        file["kspace"] = np.zeros((len(images), 2, 8, 8), np.complex64)
        file["ismrmrd_header"] = b"<xml/>"
        file.create_dataset(name, data=images, **options)
        file.attrs.update(acquisition="CORPDFS_FBK", patient_id="made-up-7", max=np.float64(images.max()), norm=1.5)
    return path


@pytest.mark.parametrize("name", ["reconstruction_rss", "reconstruction_esc"])
def test_fastmri_is_read_as_stored(tmp_path, volume, name):
    path = save_hdf5(tmp_path / "file1000001", volume, name)
    frames = read_stored(path)
    assert sniff(str(path)) == "hdf5"
    assert count_frames(str(path)) == len(frames) == 4
    assert {frame.dtype for frame in frames} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.array(frames), volume)


def test_slices_of_a_volume_stay_comparable(tmp_path, volume):
    shown = display_frames(str(save_hdf5(tmp_path / "a.h5", volume)))
    low, high = np.percentile(volume.astype(float), [0.5, 99.5])
    assert {(frame.low, frame.high, frame.policy) for frame in shown} == {(low, high, "percentile")}
    for frame, raw in zip(shown, volume, strict=True):
        np.testing.assert_allclose(frame.pixels, np.clip((raw - low) / (high - low), 0, 1), atol=1e-6)
        np.testing.assert_array_equal(frame.grey, np.rint(frame.pixels * np.float32(255)).astype(np.uint8))
    assert shown[0].pixels.mean() < 0.25 * shown[1].pixels.mean()


def test_what_is_no_number_is_black_and_out_of_the_window(tmp_path, volume):
    clean = display_frames(str(save_hdf5(tmp_path / "a.h5", volume[:, 1:])))
    volume[:, 0] = np.nan
    volume[1, 0, 0] = np.inf
    holed = display_frames(str(save_hdf5(tmp_path / "b.h5", volume)))
    assert (holed[0].low, holed[0].high) == (clean[0].low, clean[0].high)
    for frame, whole in zip(holed, clean, strict=True):
        assert (frame.pixels[0] == 0).all()
        np.testing.assert_array_equal(frame.pixels[1:], whole.pixels)


def test_attributes_are_texts_of_moderate_length(tmp_path, volume):
    path = save_hdf5(tmp_path / "a.h5", volume)
    with h5py.File(path, "a") as file:
        file.attrs.update(bytes=b"abc", long="x" * 300, several=[1, 2, 3], one=np.array([7]))
    assert hdf5_attributes(str(path)) == {
        "acquisition": "CORPDFS_FBK", "patient_id": "made-up-7", "max": str(float(volume.max())), "norm": "1.5",
        "bytes": "abc", "one": "7",
    }  # fmt: skip
    other = tmp_path / "b.npy"
    np.save(other, np.zeros((2, 8, 8), np.uint8))
    assert reason_of(hdf5_attributes, other) == "not_decodable"


def test_raw_data_without_images_have_no_pixels(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.zeros((2, 2, 8, 8), np.complex64)
    assert reason_of(read_stored, tmp_path / "a.h5") == reason_of(count_frames, tmp_path / "a.h5") == "no_pixels"


def test_damaged_hdf5(tmp_path, volume):
    path = save_hdf5(tmp_path / "a.h5", volume)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert reason_of(read_display, path) == "not_decodable"


def test_an_hdf5_file_cannot_make_us_read_another_file(tmp_path, volume):
    secret = save_hdf5(tmp_path / "secret.h5", volume)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(volume.tobytes())
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["reconstruction_rss"] = h5py.ExternalLink("secret.h5", "/reconstruction_rss")
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["out"] = h5py.ExternalLink("secret.h5", "/")
        file["reconstruction_rss"] = h5py.SoftLink("/out/reconstruction_rss")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("reconstruction_rss", volume.shape, "f4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    layout = h5py.VirtualLayout(volume.shape, "f4")
    layout[:] = h5py.VirtualSource(str(secret), "reconstruction_rss", volume.shape)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("reconstruction_rss", layout)
    for name in ("link", "soft", "external", "virtual"):
        assert reason_of(read_stored, tmp_path / f"{name}.h5") == "not_decodable"


def test_declared_shapes_are_limited_before_anything_is_read(tmp_path):
    with h5py.File(tmp_path / "big.h5", "w") as file:
        file.create_dataset("reconstruction_rss", (4000, 4000, 4000), "f4", chunks=(1, 64, 64))
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        file.create_dataset("reconstruction_rss", (2, 8, 8), "f4", chunks=(2, 20000, 20000), maxshape=(2, None, None))
    for name in ("big.h5", "chunk.h5"):
        assert (tmp_path / name).stat().st_size < 1 << 16
        assert reason_of(read_stored, tmp_path / name) == "too_large"
    assert reason_of(count_frames, tmp_path / "big.h5") == "too_large"


def test_mrnet_is_shown_as_it_is(tmp_path):
    exam = np.random.default_rng(1).integers(5, 200, (3, 16, 16)).astype(np.uint8)
    np.save(tmp_path / "0000.npy", exam)
    path = tmp_path / "0000"
    (tmp_path / "0000.npy").rename(path)
    np.testing.assert_array_equal(np.array(read_stored(path)), exam)
    shown = display_frames(str(path))
    assert count_frames(str(path)) == len(shown) == 3
    assert {(frame.low, frame.high, frame.policy) for frame in shown} == {(0.0, 255.0, "full_range")}
    for frame, raw in zip(shown, exam, strict=True):
        np.testing.assert_allclose(frame.pixels, raw / 255, atol=1e-7)
        np.testing.assert_array_equal(frame.grey, raw)
    low, high = np.percentile(exam, [0.5, 99.5])
    assert {(f.low, f.high, f.policy) for f in display_frames(str(path), "percentile")} == {(low, high, "percentile")}


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, ">u2"])
def test_arrays_of_other_types_get_one_window(tmp_path, dtype):
    exam = np.random.default_rng(2).integers(0, 3000, (3, 16, 16)).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(exam))
    np.testing.assert_array_equal(np.array(read_stored(tmp_path / "a.npy")), exam)
    low, high = np.percentile(exam.astype(float), [0.5, 99.5])
    for frame, raw in zip(read_display(tmp_path / "a.npy"), exam, strict=True):
        np.testing.assert_allclose(frame, np.clip((raw - low) / (high - low), 0, 1), atol=1e-6)


def test_arrays_that_are_refused(tmp_path):
    arrays = {
        "objects": (np.array([[{}]], dtype=object), "not_decodable"),
        "complex": (np.zeros((2, 8, 8), np.complex64), "not_decodable"),
        "four": (np.zeros((2, 2, 8, 8), np.uint8), "not_decodable"),
        "colour": (np.zeros((8, 8, 3), np.uint8), "colour"),
        "none": (np.zeros((0, 8, 8), np.uint8), "no_pixels"),
        "blank": (np.full((2, 8, 8), 4, np.uint8), "blank"),
    }
    for name, (array, reason) in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert reason_of(read_display, tmp_path / f"{name}.npy") == reason
    np.save(tmp_path / "cut.npy", np.zeros((2, 64, 64), np.uint8))
    content = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-10])
    assert reason_of(read_stored, tmp_path / "cut.npy") == "not_decodable"
