"""Rows, part files, and the two tables made of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from orthoray import storage
from orthoray.errors import RunError
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.results import POOLED, RESULTS, collect
from orthoray.evaluation.rows import Row, finished, read_part, samples_digest, write_part
from orthoray.evaluation.tasks import load_task
from orthoray.evaluation.trials import batches, run_unit
from orthoray.evaluation.tuning import check_results


def rows_of(task="mr_acl", model="m", folds=5, seeds=(0,)):
    return [Row(task, model, "lp", 1.0, seed, fold, "d") for seed in seeds for fold in range(folds)]


@pytest.fixture
def study(planted, job_of, tmp_path):
    """A finished study of one task and model with two seeds, run without Ray."""
    samples, features = planted(n_patients=30)
    job = job_of(tmp_path, samples, features, seeds=(0, 1), c_steps=3)
    job.tasks["mr_acl"] = job.tasks.pop("t")
    rows = rows_of(seeds=(0, 1))
    run_unit(job, rows)
    return job, rows, samples


def test_part_round_trip_and_finished(study):
    job, rows, samples = study
    assert finished(rows, job.out) == set(rows)
    table, params = read_part(rows[0].part(job.out))
    assert table.column_names == ["sample_id", "patient_id", "label", "score_0", "score_1"]
    truth = dict(zip(samples.sample_id, samples.label, strict=True))
    assert [truth[s] for s in table["sample_id"].to_pylist()] == table["label"].to_pylist()
    assert {"c", "inner_scores", "converged", "n_train", "n_train_patients"} <= set(params)
    assert finished([replace(rows[0], digest="other")], job.out) == set()


def test_part_is_whole_or_absent(study, monkeypatch, tmp_path):
    job, rows, samples = study
    row = replace(rows[0], digest="new")

    def broken(table, path, **options):
        with options["filesystem"].open_output_stream(path) as stream:
            stream.write(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", broken)
    with pytest.raises(OSError, match="disk full"):
        write_part(row.part(job.out), row, samples, np.arange(3), np.full((3, 2), 0.5), {})
    assert not storage.exists(row.part(job.out))
    assert finished([row], job.out) == set()
    assert not [file for file in storage.list_files(job.out) if file.endswith(".tmp")]


def test_tables_follow_the_contract(study):
    job, rows, samples = study
    card = load_task("mr_acl")
    results, predictions = collect("s", job.out, rows, {"mr_acl": card}, "run-1")
    stored = storage.read_table(f"{job.out}/results.parquet")
    assert stored.schema.equals(RESULTS)
    assert len(stored) == 2 * 6 * len(card.metrics)  # 2 seeds x (5 folds + pooled)
    assert list(predictions.columns[:10]) == (
        ["study", "task", "model", "protocol", "fraction", "seed", "fold", "sample_id", "patient_id", "label"]
    )
    assert list(predictions.columns[10:]) == ["score_0", "score_1"]
    per_seed = predictions.groupby("seed")["sample_id"].agg(["count", "nunique"])
    assert (per_seed == len(samples.label)).all().all()
    assert set(results["run_id"]) == {"run-1"}
    assert all("c" in json.loads(text) for text in results.loc[results["fold"] >= 0, "params"])


def test_every_value_can_be_recomputed_from_the_predictions(study):
    job, rows, samples = study
    results, predictions = collect("s", job.out, rows, {"mr_acl": load_task("mr_acl")}, "")
    for row in results.itertuples():
        part = predictions[predictions["seed"] == row.seed]
        part = part if row.fold == POOLED else part[part["fold"] == row.fold]
        got = compute([row.metric], part["label"].to_numpy(), part[["score_0", "score_1"]].to_numpy())
        assert got[row.metric] == row.value
        assert row.n_samples == len(part)
        assert row.n_patients == part["patient_id"].nunique()
    pooled = results[results["fold"] == POOLED]
    assert (pooled["n_samples"] == len(samples.label)).all()


def test_missing_part_and_doubly_tested_sample_are_refused(study):
    job, rows, _ = study
    cards = {"mr_acl": load_task("mr_acl")}
    with pytest.raises(RunError, match="fold 9 is missing"):
        collect("s", job.out, [*rows, replace(rows[0], fold=9)], cards, "")
    twin = replace(rows[0], fold=7)
    storage.write_bytes(twin.part(job.out), storage.read_bytes(rows[0].part(job.out)))
    with pytest.raises(RunError, match="tested in two folds"):
        collect("s", job.out, [*rows, twin], cards, "")


def test_digest_depends_on_labels_patients_and_images(samples_of):
    base = samples_of([0, 1, 0, 1], [0, 1, 2, 3])
    assert samples_digest(base) == samples_digest(samples_of([0, 1, 0, 1], [0, 1, 2, 3]))
    others = [samples_of([0, 1, 1, 1], [0, 1, 2, 3]), samples_of([0, 1, 0, 1], [0, 1, 2, 2])]
    others.append(samples_of([0, 1, 0, 1], [0, 1, 2, 3], images_per_sample=2))
    assert len({samples_digest(s) for s in [base, *others]}) == 4


def test_batches_keep_units_whole_and_lose_nothing(study):
    job, _, _ = study
    job.features["n"], job.components["n"] = job.features["m"], 30
    rows = rows_of(model="m") + rows_of(model="n")
    for count in (1, 2, 7):
        groups = batches(rows, job, count)
        assert len(groups) == min(count, 2)
        flat = [row for group in groups for unit in group for row in unit]
        assert sorted(flat, key=str) == sorted(rows, key=str)
        assert all(len({(r.task, r.model) for r in unit}) == 1 for group in groups for unit in group)


def test_trials_that_never_came_back_are_an_error():
    check_results(["one", "two"], 2)
    with pytest.raises(RunError, match="1 of 2 trials came back"):
        check_results(["one"], 2)


def test_results_survive_pandas(study):
    job, rows, _ = study
    collect("s", job.out, rows, {"mr_acl": load_task("mr_acl")}, "")
    frame = pd.read_parquet(f"{job.out}/results.parquet")
    assert frame["value"].between(0, 1).all()
