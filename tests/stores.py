"""Small datasets and checkpoints, written without ingest and training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.codec import encode
from orthoray.features.store import META
from orthoray.features.writer import feature_table


def write_dataset(
    uri, *, patients=12, slices=3, side=32, seed=0, tasks=("xr_tkr", "mr_acl"), dataset_id="ds-test", places=False
):
    """A dataset folder: per patient one film and one MR study of ``slices``; positive patients carry a bright bar.

    ``places``: whether the index tells plane, slice_index and slice_count.
    """
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
    index = images.drop(columns="pixels")
    if places:
        number, film = index["image_id"].str.rpartition("-")[2].astype(int), index["modality"] == "XR"
        index = index.assign(plane=np.where(film, "none", "sagittal"), slice_index=(number - 1).clip(lower=0))
        index = index.assign(slice_count=np.where(film, 1, slices))
    storage.write_table(pa.Table.from_pandas(index, preserve_index=False), f"{uri}/index.parquet")
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


def write_checkpoint(uri, seed, steps, dataset_ids, depth=2, body_parts=()):
    import torch

    from orthoray.models import Normalisation, Provenance, create_backbone, save_checkpoint
    from orthoray.models.checkpoint import Architecture, card_for

    torch.manual_seed(seed)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": depth, "num_heads": 2}
    architecture = Architecture(name="vit_tiny_patch16_224", kwargs=sizes)
    backbone = create_backbone(architecture.name, **sizes)
    provenance = Provenance(dataset_ids=dataset_ids, steps=steps, seed=seed, body_parts=list(body_parts))
    card = card_for(backbone, architecture, 32, Normalisation(mean=0.3, std=0.2), provenance)
    save_checkpoint(uri, backbone, card)
    return uri


def write_feature_folder(uri, image_ids, features):
    """A complete feature folder without any encoder behind it."""
    storage.makedirs(uri)
    table = feature_table(list(image_ids), np.asarray(features, dtype=np.float16))
    storage.write_table(table, storage.join(uri, "a.parquet"))
    storage.write_json(storage.join(uri, META), {"dim": features.shape[1], "files": ["a.parquet"]})
    return uri
