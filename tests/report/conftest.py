"""A small study folder with its dataset and pretraining run, written file by file as the contract says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.report import conclusions
from tests.report.cohort import FOLDS, PATIENTS, results_of, write_dataset, write_run

from orthoray import storage
from orthoray.evaluation.tasks import load_task
from orthoray.report import build_report

STRENGTH = {  # how well each model separates the classes of each task
    "xr_kl": {"pixels": 0.5, "untrained": 0.8, "pretrained": 2.6},
    "mr_acl": {"pixels": 0.3, "untrained": 0.7, "pretrained": 2.4},
    "xr_tkr": {"pixels": 1.2, "untrained": 1.0, "pretrained": 1.1},
}


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


@pytest.fixture(scope="session")
def told(made):
    """Predictions at three shares and the tables that a study draws from them."""
    predictions = conclusions.with_fewer_labels(made.predictions)
    return predictions, conclusions.conclude(predictions, conclusions.SITES)


@pytest.fixture(scope="session")
def whole_page(made, told, tmp_path_factory):
    """The page of a study with all of these tables."""
    folder = str(tmp_path_factory.mktemp("all"))
    save_study(folder, made.facts, told[0])
    conclusions.write(folder, **told[1])
    return build_report(folder).read_text(encoding="utf-8")


@pytest.fixture
def page_of(fresh):
    """(predictions, name=table, …) → the page of a study with these tables."""

    def build(predictions, **tables):
        save_study(fresh.study, fresh.facts, predictions)
        conclusions.write(fresh.study, **tables)
        return build_report(fresh.study).read_text(encoding="utf-8")

    return build
