"""Small synthetic tasks, feature folders and datasets for the evaluation tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from orthoray import storage
from orthoray.data.codec import encode
from orthoray.data.splits import make_splits
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.features import META
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.trials import StudyJob, TaskJob
from orthoray.evaluation.writer import feature_table


def build_samples(labels, patients, images_per_sample=1):
    """Samples s0000, s0001, … with ``images_per_sample`` images each."""
    n = len(labels)
    owner = np.repeat(np.arange(n), images_per_sample)
    return Samples(
        sample_id=np.array([f"s{i:04d}" for i in range(n)], dtype=object),
        patient_id=np.array([f"p{p:04d}" for p in patients], dtype=object),
        label=np.asarray(labels, dtype=np.int64),
        image_id=np.array([f"i{i:05d}" for i in range(len(owner))], dtype=object),
        image_dataset=np.zeros(len(owner), dtype=np.int64),
        owner=owner,
    )


def write_feature_folder(uri, image_ids, features):
    """A complete feature folder without any encoder behind it."""
    storage.makedirs(uri)
    table = feature_table(list(image_ids), np.asarray(features, dtype=np.float16))
    storage.write_table(table, storage.join(uri, "a.parquet"))
    storage.write_json(storage.join(uri, META), {"dim": features.shape[1], "files": ["a.parquet"]})
    return uri


@pytest.fixture
def samples_of():
    return build_samples


@pytest.fixture
def feature_folder():
    return write_feature_folder


@pytest.fixture
def planted():
    """Return (samples, features): a binary task of 2 samples per patient with a linear signal in noise."""

    def make(n_patients=60, dim=12, strength=2.0, seed=0, classes=2):
        rng = np.random.default_rng(seed)
        patients = np.repeat(np.arange(n_patients), 2)
        labels = np.repeat(rng.permutation(np.arange(n_patients) % classes), 2)
        features = rng.normal(size=(len(labels), dim))
        features[:, 0] += strength * labels
        return build_samples(labels, patients), features

    return make


@pytest.fixture
def job_of():
    """Return a function: (out, samples, features) → a StudyJob of one task `t` and one model `m`."""

    def make(out, samples, features, *, folds=5, seeds=(0,), classes=2, components=None, **probe):
        folder = write_feature_folder(f"{out}/features/m", samples.image_id, features)
        splits = {seed: make_splits(samples.frame(), folds, seed) for seed in seeds}
        return StudyJob(
            out=str(out),
            tasks={"t": TaskJob(samples, classes, splits)},
            features={"m": [folder]},
            components={"m": components},
            aggregate="mean",
            probe=ProbeConfig(**probe),
        )

    return make


def write_dataset(uri, *, patients=12, slices=3, side=32, seed=0, tasks=("xr_tkr", "mr_acl"), dataset_id="ds-test"):
    """A dataset folder: per patient one film and one MR study of ``slices``; positive patients carry a bright bar."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        positive = patient % 2
        for place in range(1 + slices):
            pixels = rng.integers(0, 80, (side, side + 4)).astype(np.uint8)
            pixels[4:10, 4:20] += np.uint8(120 * positive)
            modality = "XR" if place == 0 else "MR"
            head = (f"img{patient:04d}-{place}", f"pat{patient:04d}", f"{modality}study{patient:04d}", modality)
            rows.append((*head, "png", encode(pixels, codec="png"), positive))
    names = ["image_id", "patient_id", "study_id", "modality", "codec", "pixels", "positive"]
    table = pd.DataFrame(rows, columns=names)
    images = table.drop(columns="positive")
    half = len(images) // 2
    for number, part in enumerate((images[:half], images[half:])):
        storage.write_table(pa.Table.from_pandas(part, preserve_index=False), f"{uri}/images/{number}.parquet")
    index = pa.Table.from_pandas(images.drop(columns="pixels"), preserve_index=False)
    storage.write_table(index, f"{uri}/index.parquet")
    for task in tasks:
        unit, modality = ("image_id", "XR") if task.startswith("xr") else ("study_id", "MR")
        part = table[table["modality"] == modality].drop_duplicates(unit)
        labels = part.rename(columns={unit: "sample_id", "positive": "label"})[["sample_id", "patient_id", "label"]]
        write_labels(uri, task, labels)
    storage.write_json(f"{uri}/manifest.json", {"dataset_id": dataset_id, "counts": {"images": len(images)}})
    return str(uri)


def write_labels(uri, task, labels):
    """A label table of a dataset."""
    classes = labels["label"].astype(str)
    full = labels.astype({"label": "int64"}).assign(label_source="test", class_name=classes)
    storage.write_table(pa.Table.from_pandas(full, preserve_index=False), f"{uri}/labels/{task}.parquet")


@pytest.fixture
def dataset_folder():
    return write_dataset


@pytest.fixture
def label_table():
    return write_labels


@pytest.fixture
def tiny_checkpoint():
    """Return a function: (uri, seed) → a checkpoint folder of a very small ViT for 32 x 32 pixels."""

    def make(uri, seed=0, steps=0, dataset_ids=()):
        return write_checkpoint(str(uri), seed, steps, list(dataset_ids))

    return make


def write_checkpoint(uri, seed, steps, dataset_ids):
    import torch

    from orthoray.models import Normalisation, Provenance, create_backbone, save_checkpoint
    from orthoray.models.checkpoint import Architecture, card_for

    torch.manual_seed(seed)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    architecture = Architecture(name="vit_tiny_patch16_224", kwargs=sizes)
    backbone = create_backbone(architecture.name, **sizes)
    provenance = Provenance(dataset_ids=dataset_ids, steps=steps, seed=seed)
    card = card_for(backbone, architecture, 32, Normalisation(mean=0.3, std=0.2), provenance)
    save_checkpoint(uri, backbone, card)
    return uri
