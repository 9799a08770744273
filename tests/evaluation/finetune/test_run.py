"""Fine-tuned rows of a study through Ray Tune: alone, searched, interrupted, broken, and by two workers."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from tests.evaluation.conftest import study_config

from orthoray import storage
from orthoray.errors import RunError
from orthoray.evaluation.rows import read_part
from orthoray.evaluation.study import run_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]
QUICK = {"epochs": 4, "base_lr": 0.2, "layer_decay": 1.0, "drop_path": 0.0, "batch_size": 8}


@pytest.fixture
def cohort(ray_session, cohort_of):
    return cohort_of(24)


def config(folder, **change):
    values = {"folds": 2, "protocols": ["lp", "ft"], "resamples": 100, "finetune": QUICK}
    return study_config(folder, **{**values, **change})


def parts(folder):
    return {file.name: file.stat().st_mtime_ns for file in (folder / "out" / "parts").rglob("*-ft-*.parquet")}


def test_a_study_with_fine_tuning_and_its_resumption(cohort, capsys, monkeypatch):
    monkeypatch.chdir(cohort)
    out = run_study(config(cohort, pretrain_run="run"))  # workers are elsewhere than where paths begin
    results = pd.read_parquet(f"{out}/results.parquet")
    tuned = results[(results["protocol"] == "ft") & (results["fold"] >= 0)].set_index("metric")
    assert set(tuned["model"]) == {"untrained", "pretrained"}
    assert set(tuned["task"]) == {"xr_tkr", "mr_acl"}
    assert tuned.loc["auroc", "value"].mean() > 0.9
    folds = results[(results["protocol"] == "ft") & (results["fold"] == 0)]
    facts = [json.loads(text) for text in folds["params"]]
    assert {fact["head"] for fact in facts} == {"linear"}
    assert all(fact["n_train"] == 12 for fact in facts)
    shown = capsys.readouterr().out
    assert "ft does not apply to pixels on" in shown

    before = parts(cohort)
    assert len(before) == 2 * 2 * 2
    lost = sorted(before)[3]
    next((cohort / "out").rglob(lost)).unlink()
    run_study(config(cohort, pretrain_run="run"))
    after = parts(cohort)
    assert [name for name in after if after[name] != before.get(name)] == [lost]
    again = pd.read_parquet(f"{out}/results.parquet").drop(columns=["params", "run_id"])
    pd.testing.assert_frame_equal(again, results.drop(columns=["params", "run_id"]))


def test_a_search_spends_the_same_on_every_row_and_goes_on_after_an_interruption(cohort):
    change = {
        "tasks": ["xr_tkr"],
        "protocols": ["ft"],
        "search": {"trials": 3, "space": {"base_lr": {"low": 0.02, "high": 0.4, "log": True}}, "grace": 1},
    }
    out = run_study(config(cohort, **change))
    rows = sorted((cohort / "out" / "parts").rglob("*-ft-*.parquet"))
    assert len(rows) == 4
    for file in rows:
        params = read_part(str(file))[1]
        assert len(params["search"]) == 3
        assert params["search"][0]["base_lr"] == 0.2
        done = [at for at, one in enumerate(params["search"]) if one["state"] == "completed"]
        assert params["chosen"] == max(done, key=lambda at: params["search"][at]["log_loss"])
    whole = {file.name: read_part(str(file)) for file in rows}
    records = sorted((cohort / "out" / "search").rglob("*.json"))
    assert len(records) == 4 * 3
    times = {file: file.stat().st_mtime_ns for file in records}
    rows[0].unlink()  # the driver died after two of three fits of this row
    third = next(file for file in records if file.name == "002.json" and rows[0].stem in str(file))
    third.unlink()
    run_study(config(cohort, **change))
    table, params = read_part(str(rows[0]))
    assert table.equals(whole[rows[0].name][0])
    assert params["search"] == whole[rows[0].name][1]["search"]
    assert [file for file in records if file.stat().st_mtime_ns != times[file]] == [third]
    assert storage.exists(f"{out}/results.parquet")


def test_rows_that_fail_have_reasons_and_the_others_their_results(cohort, capsys):
    broken = config(cohort, tasks=["xr_tkr"], finetune={**QUICK, "base_lr": 1e12, "warmup": 0.0, "clip": 1e12})
    with pytest.raises(RunError, match="4 of 10 rows failed"):
        run_study(broken)
    listed = pd.read_parquet(cohort / "out" / "failed.parquet")
    assert set(listed["protocol"]) == {"ft"}
    assert listed["reason"].str.contains("not finite").all()
    assert "not finite" in capsys.readouterr().out
    results = pd.read_parquet(cohort / "out" / "results.parquet")
    assert set(results["protocol"]) == {"lp"}
    assert set(results["model"]) == {"pixels", "untrained", "pretrained"}


def test_workers_of_ray_train_give_the_numbers_of_one(cohort):
    change = {"tasks": ["xr_tkr"], "protocols": ["ft"], "pretrain_run": None}
    change["models"] = [{"name": "m", "kind": "checkpoint", "checkpoint": str(cohort / "run" / "initial")}]
    out = run_study(config(cohort, **change))
    alone = pd.read_parquet(f"{out}/predictions.parquet")
    redone = next((cohort / "out" / "parts").rglob("*-k1-*.parquet"))
    stamp = redone.stat().st_mtime_ns
    redone.unlink()
    run_study(config(cohort, **change, finetune={**QUICK, "workers": 2, "cpus": 0.5}))
    both = pd.read_parquet(f"{out}/predictions.parquet")
    assert redone.stat().st_mtime_ns != stamp
    assert (alone["sample_id"] == both["sample_id"]).all()
    assert (alone["score_1"] - both["score_1"]).abs().max() < 1e-4
