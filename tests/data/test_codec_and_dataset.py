"""Pixels in and out of a dataset folder."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray import storage
from orthoray.data.codec import decode, encode
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError, RunError


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
def test_codec_loses_nothing(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    np.testing.assert_array_equal(decode(encode(image), "png"), image)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 3), np.uint8)])
def test_other_arrays_are_refused(image):
    with pytest.raises(RunError):
        encode(image)


def test_damage_and_unknown_codecs_are_told():
    with pytest.raises(RunError, match="damaged"):
        decode(b"\x89PNG nothing", "png")
    with pytest.raises(RunError, match="unknown codec 'jxl'"):
        decode(b"", "jxl")


@pytest.fixture
def folder(tmp_path):
    images = {f"i{n}": np.full((4, 5), n, np.uint8) for n in range(20)}
    table = pa.table(
        {
            "image_id": list(images),
            "codec": ["png"] * 20,
            "pixels": [encode(image) for image in images.values()],
        }
    )
    (tmp_path / "images").mkdir()
    for number, start in enumerate((0, 10)):
        pq.write_table(table.slice(start, 10), tmp_path / "images" / f"{number}.parquet", row_group_size=4)
    storage.write_table(table.drop(["pixels"]), tmp_path / "index.parquet")
    storage.write_table(pa.table({"sample_id": ["i0"]}), tmp_path / "labels" / "xr_kl.parquet")
    storage.write_json(tmp_path / "manifest.json", {"dataset_id": "ds"})
    return str(tmp_path)


def test_chosen_images_come_back(folder):
    dataset = Dataset(folder + "/")
    found = dataset.read_images(["i3", "i17", "i0", "i3"])
    assert {name: int(image.max()) for name, image in found.items()} == {"i3": 3, "i17": 17, "i0": 0}
    assert dataset.read_images([]) == {}
    assert len(dataset.index()) == 20
    assert "pixels" not in dataset.index()
    assert [file.rsplit("/", 1)[1] for file in dataset.image_files()] == ["0.parquet", "1.parquet"]
    with pytest.raises(InputError, match="i99"):
        dataset.read_images(["i1", "i99"])


def test_only_row_groups_that_hold_them_are_decoded(folder, monkeypatch):
    read = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, i, columns: read.append(columns) or original(self, i, columns)
    )
    Dataset(folder).read_images(["i5"])
    assert sum("pixels" in columns for columns in read) == 1


def test_what_is_no_dataset_says_what_to_do(tmp_path, folder):
    with pytest.raises(InputError, match=r"no such folder.*orthoray ingest"):
        Dataset(str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no manifest.json.*orthoray ingest"):
        Dataset(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="Did you mean 'xr_kl'"):
        Dataset(folder).labels("xr_k")
