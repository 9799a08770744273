"""A small study folder with its dataset and pretraining run, written file by file as the contract says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from orthoray import storage
from orthoray.data.codec import encode
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.tasks import load_task

STRENGTH = {  # how well each model separates the classes of each task
    "xr_kl": {"pixels": 0.5, "untrained": 0.8, "pretrained": 2.6},
    "mr_acl": {"pixels": 0.3, "untrained": 0.7, "pretrained": 2.4},
    "xr_tkr": {"pixels": 1.2, "untrained": 1.0, "pretrained": 1.1},
}
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


def predictions_of(index, seeds=(0,)):
    """Scores of every (task, model): a noisy one-hot of the label, with the strength above."""
    rng, tables = np.random.default_rng(11), []
    for task, strengths in STRENGTH.items():
        card = load_task(task)
        part = index[index["modality"] == card.modality].drop_duplicates(card.unit)
        patient = part["patient_id"].str[:4].astype(int).to_numpy()
        label = patient % len(card.classes)
        fold = (patient // len(card.classes)) % FOLDS
        for seed in seeds:
            for model, strength in strengths.items():
                logit = rng.normal(size=(len(part), len(card.classes)))
                logit[np.arange(len(part)), label] += strength
                score = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
                head = {"study": "demo", "task": task, "model": model, "protocol": "lp", "fraction": 1.0, "seed": seed}
                frame = pd.DataFrame({**head, "fold": fold, "sample_id": part[card.unit].to_numpy()})
                frame = frame.assign(patient_id=part["patient_id"].to_numpy(), label=label)
                tables.append(frame.assign(**{f"score_{k}": score[:, k] for k in range(len(card.classes))}))
    return pd.concat(tables, ignore_index=True)


def results_of(predictions):
    """results.parquet of these predictions: each fold, and fold -1 for all folds of a seed."""
    rows, key = [], ["study", "task", "model", "protocol", "fraction", "seed"]
    for values, group in predictions.groupby(key, sort=False):
        card = load_task(values[1])
        for fold, part in [*group.groupby("fold"), (-1, group)]:
            scores = part[[f"score_{k}" for k in range(len(card.classes))]].to_numpy()
            for metric, value in compute(card.metrics, part["label"].to_numpy(), scores).items():
                head = dict(zip(key, values, strict=True)) | {"fold": fold, "metric": metric, "value": value}
                counts = {"n_patients": part["patient_id"].nunique(), "n_samples": len(part)}
                rows.append({**head, **counts, "params": "{}", "run_id": "r"})
    return pd.DataFrame(rows)


def study_facts(root, index):
    """study.json as `orthoray study` writes it."""
    tasks = {}
    for task in STRENGTH:
        card = load_task(task)
        part = index[index["modality"] == card.modality]
        n = part[card.unit].nunique()
        labels = np.arange(PATIENTS) % len(card.classes)
        tasks[task] = {
            **{
                name: getattr(card, name)
                for name in ("title", "kind", "classes", "metrics", "unit", "modality", "joint")
            },
            "metric": card.headline,
            "n_samples": n,
            "n_patients": PATIENTS,
            "n_images": len(part),
            "class_counts": np.bincount(labels, minlength=len(card.classes)).tolist(),
        }
    run, models = f"{root}/run", []
    for order, name in enumerate(("pixels", "untrained", "pretrained")):
        folder = {"untrained": f"{run}/initial", "pretrained": f"{run}/checkpoint"}.get(name)
        facts = {"name": name, "kind": "checkpoint" if folder else "pixels", "checkpoint": folder, "order": order}
        facts |= {"pretrain_run": run if folder else None, "content": None, "resolution": 64, "pooling": "cls+mean"}
        models.append(facts | {"pretrained_on_evaluated": ["d5a7c0ffee12ab34"] if name == "pretrained" else []})
    protocol = {
        "protocols": ["lp"],
        "folds": FOLDS,
        "seeds": [0],
        "fractions": [1.0],
        "grouping": "patient",
        "stratified_by": "label",
        "aggregate": "mean",
        "c_grid": [0.01, 1.0, 100.0],
        "inner_metric": "log_loss",
        "probe": "logistic regression with an L2 penalty on features standardised on the training part",
        "inner": "patient-grouped 4-fold inside the training part",
        "class_weight": "none",
        "pixels": "24 x 24 grey values, 30 principal components of the training part",
        "sd": "sample standard deviation over folds (and seeds)",
        "pooled": "metric over all test predictions",
    }
    return {
        "name": "demo",
        "status": "done",
        "tasks": tasks,
        "skipped": {"mr_pcl": "no labels"},
        "models": models,
        "datasets": [{"uri": f"{root}/dataset", "dataset_id": "d5a7c0ffee12ab34"}],
        "headline": {name: task["metric"] for name, task in tasks.items()},
        "protocol": protocol,
        "overlap": {"transductive": True, "models": {"pretrained": ["d5a7c0ffee12ab34"]}, "text": "Transductive: yes."},
    }


def write_study(root, seeds=(0,)):
    """Dataset, run and study below ``root``; returns their URIs and the predictions."""
    root = str(root)
    index = write_dataset(f"{root}/dataset")
    write_run(f"{root}/run")
    predictions = predictions_of(index, seeds)
    facts = study_facts(root, index)
    save_study(f"{root}/study", facts, predictions)
    storage.write_bytes(f"{root}/study/config.yaml", b"name: demo\n")
    return SimpleNamespace(root=Path(root), study=f"{root}/study", predictions=predictions, facts=facts)


def save_study(uri, facts, predictions):
    """The three files that a report needs."""
    storage.write_json(f"{uri}/study.json", facts)
    for name, table in (("results", results_of(predictions)), ("predictions", predictions)):
        storage.write_table(pa.Table.from_pandas(table, preserve_index=False), f"{uri}/{name}.parquet")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """One study that tests read but do not change."""
    return write_study(tmp_path_factory.mktemp("report"))


@pytest.fixture
def fresh(tmp_path, made):
    """A copy of the study folder (not of dataset and run) that a test may change."""
    import shutil

    folder = tmp_path / "study"
    shutil.copytree(made.study, folder, ignore=shutil.ignore_patterns("report.html"))
    return SimpleNamespace(study=str(folder), facts=json.loads((folder / "study.json").read_text()), root=tmp_path)


@pytest.fixture
def save():
    """`save_study`: (uri, facts, predictions) → the files of a study."""
    return save_study
