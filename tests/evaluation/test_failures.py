"""Rows that failed: listed with reasons, counted on, run again alone; what is whole is in the tables."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from tests.evaluation.conftest import study_config, study_values

from orthoray import storage
from orthoray.errors import InputError, RunError
from orthoray.evaluation.failures import failure_lines, only_failed, read_failures, write_failures
from orthoray.evaluation.live import Live
from orthoray.evaluation.rows import Row, whole_groups, write_part
from orthoray.evaluation.study import run_study
from orthoray.evaluation.tasks import load_task


def row(fold, model="m", fraction=1.0, seed=0):
    return Row("xr_tkr", model, "lp", fraction, seed, fold, "0123456789ab")


def write(out, one, samples):
    scores = np.tile([[0.4, 0.6], [0.7, 0.3]], (len(samples.label) // 2, 1))
    write_part(one.part(out), one, samples, np.arange(len(samples.label)), scores, {})


def test_the_list_is_kept_counted_on_and_emptied(tmp_path):
    out, rows = str(tmp_path), [row(0), row(1), row(0, "n")]
    write_failures(out, {rows[0]: "no luck", rows[2]: "no luck"})
    assert only_failed(out, rows) == [rows[0], rows[2]]
    write_failures(out, {rows[2]: "again"})
    assert read_failures(out) == {rows[2]: ("again", 2)}
    write_failures(out, {})
    assert read_failures(out) == {}
    assert only_failed(out, rows) == []


def test_reasons_are_told_once_each():
    lines = failure_lines({row(0): "a", row(1): "a", row(2): "b"})
    assert lines == [
        "2 rows, the first xr_tkr, m, lp, 100%, seed 0, fold 0: a",
        "1 row, xr_tkr, m, lp, 100%, seed 0, fold 2: b",
    ]


def test_a_group_of_folds_is_whole_or_not_there(tmp_path, samples_of):
    out, rows = str(tmp_path), [row(fold, model, seed=seed) for model in "mn" for seed in (0, 1) for fold in (0, 1)]
    samples = samples_of([0, 1] * 4, range(8))
    for one in rows:
        if not (one.model == "n" and one.seed == 1 and one.fold == 0):
            write(out, one, samples)
    assert whole_groups(rows, out) == [one for one in rows if not (one.model == "n" and one.seed == 1)]


def test_results_are_told_as_soon_as_all_folds_and_seeds_are_there(tmp_path, samples_of, capsys):
    out, rows = str(tmp_path), [row(fold, model) for model in "mn" for fold in (0, 1)]
    samples = samples_of([1, 0] * 4, range(8))
    now = [0.0]
    write(out, rows[0], samples)
    live = Live(out, rows, {rows[0]}, {"xr_tkr": load_task("xr_tkr")}, "study", lambda: now[0])
    write(out, rows[2], samples)
    live.ended(rows[2:3])
    assert capsys.readouterr().out == ""
    write(out, rows[1], samples)
    live.ended(rows[1:2])
    live.ended(rows[1:2])
    assert capsys.readouterr().out == "  xr_tkr, m, lp, 100%: auroc 1.000 ± 0.000\n"
    assert not (tmp_path / "results.parquet").exists()


@pytest.fixture
def cohort(cohort_of):
    return cohort_of()


def config(folder, **change):
    return study_config(folder, resamples=100, **change)


def runs_of(folder):
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("orthoray").experiment_id
    return client.search_runs([experiment], max_results=1000)


@pytest.mark.ray
@pytest.mark.slow
def test_features_that_are_not_finite_fail_their_rows_alone(ray_session, cohort, capsys):
    out = run_study(config(cohort, tasks=["xr_tkr"]))
    whole = pd.read_parquet(f"{out}/results.parquet")
    folders = [f for f in (cohort / "out" / "features").iterdir() if f.name.startswith("checkpoint")]
    broken = next(folders[0].glob("*.parquet"))
    kept = broken.read_bytes()
    table = storage.read_table(str(broken))
    bad = np.full(len(table) * table["feature"].type.list_size, np.nan, np.float16)
    from orthoray.features.writer import feature_table

    ids = table["image_id"].to_pylist()
    storage.write_table(feature_table(ids, bad.reshape(len(ids), -1)), str(broken))
    for part in (cohort / "out" / "parts").rglob("*-lp-*.parquet"):
        part.unlink()
    capsys.readouterr()
    with pytest.raises(RunError, match=r"3 of 18 rows failed.*--retry-failed"):
        run_study(config(cohort, tasks=["xr_tkr"]))
    shown = capsys.readouterr().out
    assert "feature rows are not finite" in shown
    assert "the tables hold 15 of 18 rows" in shown
    listed = read_failures(out)
    assert len(listed) == 3
    assert {one.protocol for one in listed} == {"lp"}
    partial = pd.read_parquet(f"{out}/results.parquet")
    assert 0 < len(partial) < len(whole)
    assert storage.read_json(f"{out}/study.json")["status"] == "partial"
    broken.write_bytes(kept)
    run_study(config(cohort, tasks=["xr_tkr"]), retry_failed=True)
    again = pd.read_parquet(f"{out}/results.parquet")
    pd.testing.assert_frame_equal(again.drop(columns=["params", "run_id"]), whole.drop(columns=["params", "run_id"]))
    assert not (cohort / "out" / "failed.parquet").exists()
    with pytest.raises(InputError, match="leave --retry-failed out"):
        run_study(config(cohort, tasks=["xr_tkr"]), retry_failed=True)
    children = [run for run in runs_of(cohort) if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 3 * 2
    assert {run.info.status for run in children} == {"FINISHED"}
    assert all("auroc/mean" in run.data.metrics for run in children)
    assert all(any(tag.startswith("orthoray.split.") for tag in run.data.tags) for run in children)


@pytest.mark.slow
def test_a_dry_run_tells_the_grid_and_writes_nothing(cohort):
    file = cohort / "study.yaml"
    file.write_text(yaml.safe_dump(study_values(cohort, protocols=["lp", "knn", "ft"])))
    command = [sys.executable, "-m", "orthoray.cli", "study", str(file)]
    shown = subprocess.run([*command, "--dry-run", "--price-per-hour", "3600"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    rows = 2 * 3 * (3 + 3 + 3) - 2 * 3  # pixels are not fine-tuned
    assert (
        f"2 tasks x 3 models x 3 protocols x 1 fractions x 1 seeds x 3 folds: {rows} rows (0 done, 0 failed"
        in shown.stdout
    )
    for protocol, count in (("lp", 18), ("knn", 18), ("ft", 12)):
        assert f"{protocol}: {count} of {count} rows left" in shown.stdout
    assert "features of pretrained: 72 images" in shown.stdout
    assert "at 3600 an hour" in shown.stdout
    assert not (cohort / "out").exists()
    refused = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds no study" in refused.stderr


def killed(folder, file, until):
    """Start the study as a user does and kill it as soon as ``until`` holds; True if it was still at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orthoray.cli", "study", str(file)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not until():
        time.sleep(0.02)
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


@pytest.mark.ray
@pytest.mark.e2e
@pytest.mark.slow
def test_killed_twice_on_the_way_it_ends_with_the_same_table(cohort):
    file = cohort / "study.yaml"
    more = {"tasks": ["xr_tkr"], "seeds": [0, 1], "fractions": [0.5, 1.0], "trials": 3}
    file.write_text(yaml.safe_dump(study_values(cohort, resamples=100, **more)))
    parts = cohort / "out" / "parts"

    def stamps():
        return {part: part.stat().st_mtime_ns for part in parts.rglob("*.parquet")} if parts.exists() else {}

    first = killed(cohort, file, lambda: len(stamps()) >= 3)
    after_first = stamps()
    second = killed(cohort, file, lambda: len(stamps()) >= len(after_first) + 8)
    after_second = stamps()
    assert first
    assert second
    whole = 3 * 2 * 2 * 2 * 3  # models x protocols x fractions x seeds x folds
    assert 3 <= len(after_first) < len(after_second) < whole
    done = subprocess.run([sys.executable, "-m", "orthoray.cli", "study", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before = re.search(rf"{whole} fits, (\d+) of them done before", done.stdout)
    assert before is not None
    assert len(after_second) <= int(before[1]) < whole  # workers may end a row after their driver is gone
    after = stamps()
    assert len(after) == whole
    assert all(after[part] == stamp for part, stamp in after_second.items())  # nothing was run again
    reference = subprocess.run(
        [sys.executable, "-m", "orthoray.cli", "study", str(file), f"out={cohort / 'straight'}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert reference.returncode == 0, reference.stderr
    for name in ("results", "predictions", "comparisons"):
        left, right = (pd.read_parquet(cohort / folder / f"{name}.parquet") for folder in ("out", "straight"))
        drop = [column for column in ("params", "run_id") if column in left]
        pd.testing.assert_frame_equal(left.drop(columns=drop), right.drop(columns=drop))
    runs = [run for run in runs_of(cohort) if run.data.tags.get("mlflow.parentRunId")]
    assert len(runs) == 2 * 3 * 2  # once for each study: models x protocols
    assert {run.info.status for run in runs_of(cohort)} == {"FINISHED"}
