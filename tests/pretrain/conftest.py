"""A tiny dataset folder and a tiny configuration for the pretraining tests."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.pretrain.commands import EVERY, STEPS, run

from orthoray import storage
from orthoray.config import parse_config
from orthoray.data.codec import encode
from orthoray.data.schema import IMAGES, INDEX
from orthoray.pretrain.config import PretrainConfig


def film(number, rng):
    """A (40, 36) image with a bar whose place and brightness follow from ``number``."""
    pixels = rng.integers(0, 60, (40, 36)).astype(np.uint8)
    row = 4 + 3 * (number % 8)
    pixels[row : row + 6, 4:28] += np.uint8(60 + 20 * (number % 5))
    return pixels


def write_dataset(uri, files=((8, 5, 8), (7, 4)), modalities=("XR",), seed=0, dataset_id="ds-tiny", blank=False):
    """A dataset folder as ingest writes it: one shard per entry of ``files``, with row groups of these sizes.

    Images take the modalities in turn. With ``blank`` all share the same pixels (for tests of the plan alone).
    """
    uri, rng = str(uri), np.random.default_rng(seed)
    same = encode(film(0, rng))
    index, number = [], 0
    storage.makedirs(f"{uri}/images")
    for shard, groups in enumerate(files):
        with pq.ParquetWriter(f"{uri}/images/shard-{shard:05d}.parquet", IMAGES, compression="zstd") as writer:
            for size in groups:
                rows = [
                    {
                        "image_id": f"img{number + place:05d}",
                        "patient_id": f"pat{(number + place) // 2:05d}",
                        "study_id": f"study{(number + place) // 2:05d}",
                        "modality": modalities[(number + place) % len(modalities)],
                        "codec": "png",
                        "pixels": same if blank else encode(film(number + place, rng)),
                    }
                    for place in range(size)
                ]
                number += size
                index.extend(rows)
                writer.write_table(pa.Table.from_pylist(rows, schema=IMAGES))
    storage.write_table(pa.Table.from_pylist(index, schema=INDEX), f"{uri}/index.parquet")
    storage.write_json(f"{uri}/manifest.json", {"dataset_id": dataset_id, "n_images": number})
    return uri


def tiny_values(dataset="dataset", out="run", **changes):
    """A tiny run as nested mappings; ``changes`` with dots written as two underscores (``crops__n_local=0``)."""
    values = {
        "out": str(out),
        "data": {"datasets": [{"uri": str(dataset)}], "shuffle_window": 16},
        "model": {
            "backbone": "vit_tiny_patch16_224",
            "img_size": 32,
            "patch_size": 8,
            "kwargs": {"embed_dim": 32, "depth": 2, "num_heads": 2},
        },
        "head": {"prototypes": 64, "hidden_dim": 32, "bottleneck_dim": 16},
        "crops": {"global_size": 32, "local_size": 16, "n_local": 2},
        "batch_size": 8,
        "steps": 20,
        "resources": {"precision": "fp32", "threads": 1, "workers": 1},
    }
    for key, value in changes.items():
        *parents, leaf = key.split("__")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = value
    return values


@pytest.fixture(scope="session")
def dataset_folder():
    """Return a function: (folder, row groups per file …) → a dataset there."""
    return write_dataset


@pytest.fixture(scope="session")
def values_of():
    """Return a function: changes → a tiny run as nested mappings, ready to be written as YAML."""
    return tiny_values


@pytest.fixture(scope="session")
def config_of():
    """Return a function: changes → a tiny `PretrainConfig`."""

    def make(**changes):
        return parse_config(PretrainConfig, tiny_values(**changes), "tiny")

    return make


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory):
    """A dataset of 32 images in five row groups of two files."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with a dataset and a configuration, with relative paths as a user writes them."""
    place = tmp_path_factory.mktemp("runs")
    write_dataset(place / "dataset")
    saved = {"every_steps": EVERY, "every_seconds": 600.0}
    made = tiny_values(steps=STEPS, log_every_seconds=0.0005, checkpoint=saved)
    (place / "config.yaml").write_text(yaml.safe_dump(made))
    return place


@pytest.fixture(scope="session")
def whole(folder):
    """The run folder of a run that nothing disturbed."""
    status, shown = run(folder, "config.yaml", "out=whole")
    assert status == 0, shown
    assert f"{STEPS} steps of 8 = 3,200 images = 100.0 epochs" in shown
    assert f"{STEPS} steps in" in shown
    return folder / "whole"
