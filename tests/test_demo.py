"""The whole way as a user goes it: interrupted, resumed, and judged by what it leaves behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from orthoray.data.dataset import Dataset
from orthoray.evaluation.results import KEY

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.ray, pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory whose presets make a small cohort and a short run; presets nearest to the user come first."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "jobs" / "configs", folder / "jobs" / "configs")
    for name, changes in (
        ("demo_phantom", {"patients": 40, "knee_mri": 0.5, "other_joints": 0.0, "localisers": 1}),
        ("demo_pretrain", {"steps": 120, "checkpoint": {"every_steps": 20}, "log_every_seconds": 0.2}),
        ("demo_study", {"folds": 3, "tasks": ["xr_kl", "mr_bone"]}),
    ):
        file = folder / "jobs" / "configs" / f"{name}.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))
    return folder


def demo(folder, *arguments, until=None):
    """Run the demo; with ``until``, press Ctrl-C as soon as that holds. Returns exit status and what was shown."""
    log = folder / "shown.txt"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "orthoray.cli", "demo", *arguments],
            cwd=folder, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        while until is not None and process.poll() is None and not until(log.read_text()):
            time.sleep(0.2)
        if until is not None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the whole process group
        return process.wait(timeout=400), log.read_text()


def test_the_demo_goes_on_after_ctrl_c_and_ends_with_a_report(folder):
    out = folder / "orthoray-demo"

    def halfway(_text):
        rows = (out / "pretrain" / "history.jsonl").read_text() if (out / "pretrain" / "history.jsonl").exists() else ""
        return bool(rows) and json.loads(rows.splitlines()[-1])["step"] >= 40

    def stage(number):
        return lambda text: f"{number}/5" in text

    resumed = ""
    for moment in (stage(1), stage(2), halfway, stage(4)):
        status, shown = demo(folder, until=moment)
        assert status == 1, shown
        assert "same command again" in shown
        assert "Traceback" not in shown
        assert not (out / "report.html").exists()
        assert not (out / "dataset" / "manifest.json").exists() or not list(out.glob("*.partial"))
        resumed += shown
    status, shown = demo(folder)
    assert status == 0, shown
    assert shown.count("already there") == 2  # cohort and dataset
    assert "this run has finished already" in shown
    assert re.search(r"going on at step [2-9]\d", resumed), resumed
    assert str(out / "report.html") in shown
    page = (out / "report.html").read_text()
    assert "Kellgren-Lawrence grade" in page
    assert "Bone bruise" in page


def test_every_store_follows_the_contract(folder):
    out = folder / "orthoray-demo"
    dataset = Dataset(str(out / "dataset"))
    manifest, index, excluded = dataset.manifest, dataset.index(), dataset.excluded()
    assert manifest["n_read"] == manifest["n_images"] + manifest["n_excluded"] == len(index) + len(excluded)
    assert set(excluded["reason"]) == {"localiser", "not_decodable"}
    assert {"XR", "MR"} == set(index["modality"])
    for name in ("model.safetensors", "config.yaml", "card.json", "trainer"):
        assert (out / "pretrain" / "checkpoint" / name).exists()
    card = json.loads((out / "pretrain" / "checkpoint" / "card.json").read_text())
    assert card["provenance"]["dataset_ids"] == [manifest["dataset_id"]]
    assert card["provenance"]["steps"] == 120
    results = pd.read_parquet(out / "study" / "results.parquet")
    predictions = pd.read_parquet(out / "study" / "predictions.parquet")
    assert {*KEY, "metric", "value", "n_patients", "n_samples", "params", "run_id"} <= set(results.columns)
    assert {*KEY, "sample_id", "patient_id", "label", "score_0"} <= set(predictions.columns)
    assert set(results["model"]) == {"pixels", "untrained", "pretrained"}
    assert {"accuracy", "macro_f1", "weighted_f1"} <= set(results.loc[results["task"] == "xr_kl", "metric"])
    assert {"auroc", "auprc"} <= set(results.loc[results["task"] == "mr_bone", "metric"])
    for _, part in predictions.groupby(["task", "model"]):  # every sample is tested once, no patient in two folds
        assert part["sample_id"].is_unique
        assert (part.groupby("patient_id")["fold"].nunique() == 1).all()
    note = json.loads((out / "pretrain" / "mlflow_run.json").read_text())
    run = MlflowClient(note["tracking_uri"]).get_run(note["run_id"])
    assert run.info.status == "FINISHED"
    assert {"loss", "lr", "teacher_entropy", "images_per_second", "data_wait", "mfu"} <= set(run.data.metrics)


def test_another_seed_in_the_same_folder_is_refused(folder):
    status, shown = demo(folder, "--seed", "5")
    assert status == 2, shown
    assert "another seed, size or look" in shown
