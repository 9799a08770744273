"""Feature folders: what names them, what is in them, when they are made again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from orthoray import storage
from orthoray.errors import InputError, RunError
from orthoray.features.encoders import checkpoint_spec, content_hash, pixel_spec, to_half
from orthoray.features.pixels import thumbnail
from orthoray.features.store import META, extract, extract_all, extract_pixels, read_features


def test_thumbnail_is_the_area_mean():
    image = np.random.default_rng(0).integers(0, 256, (48, 72)).astype(np.uint8)
    expected = image.reshape(24, 2, 24, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(thumbnail(image).reshape(24, 24), expected, atol=1e-5)
    assert thumbnail(image).dtype == np.float32


def test_small_image_is_interpolated_not_refused():
    assert thumbnail(np.full((10, 12), 255, np.uint8)) == pytest.approx(np.ones(576))


def test_float16_overflow_is_an_error():
    assert to_half(np.array([[65504.0]], dtype=np.float32)).dtype == np.float16
    with pytest.raises(RunError, match="1 of 2 feature rows"):
        to_half(np.array([[1.0], [1e6]], dtype=np.float32))


def test_key_depends_on_all_that_decides_the_features(tiny_checkpoint, tmp_path):
    uri = tiny_checkpoint(tmp_path / "a", seed=0)
    base = checkpoint_spec(uri)
    assert base.resolution == 32
    keys = {base.key("d", None), base.key("e", None), base.key("d", "MR"), pixel_spec().key("d", None)}
    keys |= {checkpoint_spec(uri, pooling="cls").key("d", None), checkpoint_spec(uri, resolution=48).key("d", None)}
    keys |= {checkpoint_spec(uri, precision="bf16").key("d", None)}
    keys |= {checkpoint_spec(tiny_checkpoint(tmp_path / "b", seed=1)).key("d", None)}
    assert len(keys) == 8
    assert checkpoint_spec(tiny_checkpoint(tmp_path / "c", seed=0)).key("d", None) in keys  # place does not matter


def test_resolution_must_fit_the_patches(tiny_checkpoint, tmp_path):
    with pytest.raises(InputError, match="Nearest: 40 or 48"):
        checkpoint_spec(tiny_checkpoint(tmp_path / "a"), resolution=44)


def test_content_hash_sees_every_byte(tiny_checkpoint, tmp_path):
    uri = tiny_checkpoint(tmp_path / "a")
    before = content_hash(uri)
    weights = bytearray(storage.read_bytes(f"{uri}/model.safetensors"))
    weights[-1] ^= 1
    storage.write_bytes(f"{uri}/model.safetensors", bytes(weights))
    assert content_hash(uri) != before


def test_read_features_keeps_the_asked_order_and_names_missing(feature_folder, tmp_path):
    values = np.arange(12.0).reshape(4, 3)
    folder = feature_folder(str(tmp_path / "f"), ["a", "b", "c", "d"], values)
    np.testing.assert_array_equal(read_features(folder, ["d", "a"]), values[[3, 0]])
    with pytest.raises(RunError, match="2 of 3 images have no feature"):
        read_features(folder, ["a", "x", "y"])


@pytest.mark.ray
@pytest.mark.slow
def test_pixels_counts_in_equals_counts_out(ray_session, dataset_folder, tmp_path):
    uri = dataset_folder(tmp_path / "ds", patients=8)
    folder = extract_pixels(uri, str(tmp_path / "store"))
    meta = storage.read_json(f"{folder}/{META}")
    assert (meta["images"], meta["dim"]) == (8 * 4, 576)
    table = storage.read_table(f"{uri}/images/0.parquet").to_pandas()
    first = table.iloc[0]
    image = cv2.imdecode(np.frombuffer(first["pixels"], np.uint8), cv2.IMREAD_GRAYSCALE)
    got = read_features(folder, [first["image_id"]])[0]
    np.testing.assert_allclose(got, thumbnail(image), atol=1e-3)
    only = extract_pixels(uri, str(tmp_path / "store"), modality="XR")
    assert storage.read_json(f"{only}/{META}")["images"] == 8


@pytest.mark.ray
@pytest.mark.slow
def test_checkpoint_features_are_reused_until_the_bytes_change(ray_session, dataset_folder, tiny_checkpoint, tmp_path):
    import torch

    from orthoray.models import load_checkpoint, normalise
    from orthoray.models.features import forward_tokens

    uri, store = dataset_folder(tmp_path / "ds", patients=4), str(tmp_path / "store")
    checkpoint = tiny_checkpoint(tmp_path / "ckpt", seed=0)
    folder = extract(checkpoint, uri, store, batch_size=5)
    stamp = (tmp_path / "store" / folder.rsplit("/", 1)[1] / META).stat().st_mtime_ns
    assert extract(checkpoint, uri, store) == folder
    assert (tmp_path / "store" / folder.rsplit("/", 1)[1] / META).stat().st_mtime_ns == stamp

    table = storage.read_table(f"{uri}/images/0.parquet").to_pandas().iloc[:3]
    images = [cv2.imdecode(np.frombuffer(p, np.uint8), cv2.IMREAD_GRAYSCALE) for p in table["pixels"]]
    small = np.stack([cv2.resize(i, (32, 32), interpolation=cv2.INTER_AREA) for i in images])
    backbone, card = load_checkpoint(checkpoint)
    with torch.inference_mode():
        cls, patches = forward_tokens(backbone, normalise(torch.from_numpy(small)[:, None], card))
    expected = torch.cat([cls, patches.mean(1)], 1).numpy()
    np.testing.assert_allclose(read_features(folder, table["image_id"].tolist()), expected, atol=5e-3)

    tiny_checkpoint(tmp_path / "ckpt", seed=9)
    again = extract(checkpoint, uri, store)
    assert again != folder
    assert not np.allclose(read_features(again, table["image_id"].tolist()), expected, atol=5e-3)


@pytest.mark.ray
@pytest.mark.slow
def test_incomplete_folder_is_made_again_and_lost_images_are_an_error(ray_session, dataset_folder, tmp_path):
    uri, store = dataset_folder(tmp_path / "ds", patients=4), str(tmp_path / "store")
    folder = extract_pixels(uri, store)
    storage.remove_tree(f"{folder}/{META}")
    assert extract_all([pixel_spec()], uri, store) == [folder]
    assert storage.exists(f"{folder}/{META}")

    storage.remove_tree(folder)
    storage.remove_tree(f"{uri}/images/1.parquet")
    with pytest.raises((RunError, InputError), match=r"16 images in, 8 rows out|images"):
        extract_pixels(uri, store)
    assert storage.list_files(store) == []
