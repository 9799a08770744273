"""Small labelled datasets and checkpoints for probes: films whose bar is bright where the label is positive."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import nn

from orthoray import storage
from orthoray.data.codec import encode
from orthoray.models import Normalisation, Provenance, create_backbone, save_checkpoint
from orthoray.models.checkpoint import Architecture, card_for


def write_labelled(uri, patients=24, per_patient=2, task="xr_tkr", strength=120, dataset_id="ds-labelled"):
    """A dataset folder with labels of ``task``: ``per_patient`` films of each patient, every other one positive."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(patients):
        for place in range(per_patient):
            pixels = rng.integers(0, 80, (32, 36)).astype(np.uint8)
            pixels[4:10, 4:20] += np.uint8(strength * (patient % 2))
            head = (f"img{patient:04d}-{place}", f"pat{patient:04d}", f"study{patient:04d}", "XR", "png")
            rows.append((*head, encode(pixels), patient % 2))
    names = ["image_id", "patient_id", "study_id", "modality", "codec", "pixels", "label"]
    table = pd.DataFrame(rows, columns=names)
    images = table.drop(columns="label")
    storage.write_table(pa.Table.from_pandas(images, preserve_index=False), f"{uri}/images/0.parquet")
    storage.write_table(
        pa.Table.from_pandas(images.drop(columns="pixels"), preserve_index=False), f"{uri}/index.parquet"
    )
    labels = table.rename(columns={"image_id": "sample_id"})[["sample_id", "patient_id", "label"]]
    labels = labels.assign(label_source="made", class_name=labels["label"].astype(str))
    storage.write_table(pa.Table.from_pandas(labels, preserve_index=False), f"{uri}/labels/{task}.parquet")
    storage.write_json(f"{uri}/manifest.json", {"dataset_id": dataset_id, "n_images": len(table)})
    return str(uri)


def write_backbone(uri, seed=0, steps=0, dead=False):
    """A checkpoint folder of a very small ViT; ``dead`` = it gives the same features for every image."""
    torch.manual_seed(seed)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    architecture = Architecture(name="vit_tiny_patch16_224", kwargs=sizes)
    backbone = create_backbone(architecture.name, **sizes)
    if dead:
        nn.init.zeros_(backbone.norm.weight)
    card = card_for(backbone, architecture, 32, Normalisation(mean=0.3, std=0.2), Provenance(steps=steps, seed=seed))
    save_checkpoint(str(uri), backbone, card)
    return str(uri)
