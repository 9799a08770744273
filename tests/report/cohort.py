"""Dataset, pretraining run and results of the small study that the tests of the report read."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.codec import encode
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.tasks import load_task

PATIENTS, FOLDS, SLICES, SIDE = 60, 5, 5, 96


def film(rng, modality, grade):
    """A knee-like picture: two shafts, a joint space that narrows with the grade, noise."""
    image = rng.normal(28, 6, (SIDE, SIDE - 16))
    gap = 10 - 2 * min(grade, 4)
    bone = 190 if modality == "XR" else 120
    for top, bottom in ((0, SIDE // 2 - gap // 2), (SIDE // 2 + gap // 2, SIDE)):
        image[top:bottom, 24:58] += bone
        image[max(0, bottom - 14) : bottom if top == 0 else top + 14, 16:66] += 20
    noisy = cv2.GaussianBlur(image, (0, 0), 1.4) + rng.normal(0, 5, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_dataset(uri):
    """60 patients, one film and one MR study of five slices each; three images were excluded."""
    rng = np.random.default_rng(3)
    rows = []
    for patient in range(PATIENTS):
        for place in range(1 + SLICES):
            modality = "XR" if place == 0 else "MR"
            facts = {
                "image_id": f"{patient:04d}{place:02d}".ljust(32, "a"),
                "patient_id": f"{patient:04d}".ljust(32, "b"),
                "study_id": f"{modality}{patient:04d}".ljust(32, "c"),
                "source": "phantom",
                "modality": modality,
                "body_part": "knee",
                "laterality": "LR"[patient % 2],
                "view": "frontal" if place == 0 else "none",
                "plane": "none" if place == 0 else "sagittal",
                "slice_index": max(0, place - 1),
                "slice_count": 1 if place == 0 else SLICES,
                "row_spacing_mm": 0.4,
                "col_spacing_mm": 0.4,
                "age": 50.0 + patient % 30,
                "sex": "FM"[patient % 2],
                "codec": "png",
            }
            rows.append({**facts, "pixels": encode(film(rng, modality, patient % 5), codec="png")})
    table = pd.DataFrame(rows)
    storage.write_table(pa.Table.from_pandas(table, preserve_index=False), f"{uri}/images/0.parquet")
    index = table.drop(columns="pixels")
    storage.write_table(pa.Table.from_pandas(index, preserve_index=False), f"{uri}/index.parquet")
    excluded = pd.DataFrame({"stage": ["read", "read", "quality"], "reason": ["no_pixels", "no_pixels", "blank"]})
    excluded = excluded.assign(image_id="x", patient_id="x", study_id="x", series_id="x", detail="")
    storage.write_table(pa.Table.from_pandas(excluded, preserve_index=False), f"{uri}/excluded.parquet")
    funnel = [{"stage": "files found", "count": 363}, {"stage": "images read", "count": 361}]
    funnel.append({"stage": "images kept", "count": len(index)})
    manifest = {"dataset_id": "d5a7c0ffee12ab34", "funnel": funnel, "code_version": "0.1.0", "config": {}}
    storage.write_json(f"{uri}/manifest.json", manifest)
    return index


def write_run(uri, steps=400):
    """A pretraining run: history, run.json, and the two checkpoint folders of a very small ViT."""
    import torch

    from orthoray.models import Normalisation, Provenance, create_backbone, save_checkpoint
    from orthoray.models.checkpoint import Architecture, card_for

    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    for seed, (name, done) in enumerate({"initial": 0, "checkpoint": steps}.items()):
        torch.manual_seed(seed)
        architecture = Architecture(name="vit_tiny_patch16_224", kwargs=sizes)
        backbone = create_backbone(architecture.name, **sizes)
        provenance = Provenance(dataset_ids=["d5a7c0ffee12ab34"], steps=done, images_seen=64 * done, seed=7)
        card = card_for(backbone, architecture, 64, Normalisation(mean=0.3, std=0.2), provenance)
        save_checkpoint(f"{uri}/{name}", backbone, card)
    lines = []
    for step in range(10, steps + 1, 10):
        t = step / steps
        facts = {"step": step, "images_seen": step * 64, "seconds": step * 0.2, "loss": 8.3 * np.exp(-1.2 * t) + 0.5}
        facts |= {"lr": 5e-4 * min(t / 0.1, 1.0) * (1 - 0.9 * t), "teacher_entropy": 6 - 3 * t, "feature_std": 0.4 + t}
        lines.append(json.dumps(facts | {"images_per_second": 310 + 8 * np.sin(step), "student_teacher_kl": 1.0}))
    storage.write_bytes(f"{uri}/history.jsonl", ("\n".join(lines) + "\n").encode())
    storage.write_bytes(f"{uri}/config.yaml", b"seed: 7\n")
    storage.write_json(f"{uri}/run.json", {"status": "done", "dataset_ids": ["d5a7c0ffee12ab34"]})


def results_of(predictions):
    """results.parquet of these predictions: each fold, and fold -1 for all folds of a seed."""
    rows, key = [], ["study", "task", "model", "protocol", "fraction", "seed"]
    for values, group in predictions.groupby(key, sort=False):
        card = load_task(values[1])
        for fold, part in [*group.groupby("fold"), (-1, group)]:
            scores = part[[f"score_{k}" for k in range(card.columns)]].to_numpy()
            time, names = (part["time"].to_numpy(), ["c_index"]) if card.kind == "survival" else (None, card.metrics)
            for metric, value in compute(names, part["label"].to_numpy(), scores, time).items():
                head = dict(zip(key, values, strict=True)) | {"fold": fold, "metric": metric, "value": value}
                counts = {"n_patients": part["patient_id"].nunique(), "n_samples": len(part)}
                rows.append({**head, **counts, "params": "{}", "run_id": "r"})
    return pd.DataFrame(rows)
