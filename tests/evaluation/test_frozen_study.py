"""Whole studies with the protocols on slices, networks and heads: rows, resumption, gaps, and the report of it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tests.evaluation.conftest import study_config

from orthoray import storage
from orthoray.errors import InputError
from orthoray.evaluation.slices import RULES
from orthoray.evaluation.study import run_study
from orthoray.report import build_report
from orthoray.report.load import load_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PROTOCOLS = ["lp", *RULES, "mil", "transformer", "sgd"]
QUICK = {
    "mil": {"hidden": 16, "epochs": 4, "members": 2},
    "transformer": {"hidden": 16, "epochs": 3, "members": 1, "layers": 1},
    "sgd": {"iterations": 40},
    "resamples": 200,
}
MODELS = ("pixels", "untrained", "pretrained")


def parts_of(folder):
    return {file.name: file for file in (folder / "parts").rglob("*.parquet")}


def test_all_frozen_protocols_on_slices_and_resume(ray_session, cohort_of, capsys):
    cohort = cohort_of(patients=18, slices=4, places=True, depth=4)
    config = study_config(cohort, protocols=PROTOCOLS, **QUICK)
    folder = Path(run_study(config))
    shown = capsys.readouterr().out
    results, predictions = (pd.read_parquet(folder / f"{name}.parquet") for name in ("results", "predictions"))
    assert "sgd does not apply to pixels on mr_acl, xr_tkr: pixels have no blocks" in shown
    # MRI: 8 protocols, one of them without pixels; films: lp for all, sgd for two
    groups = set(results[["task", "model", "protocol"]].itertuples(index=False, name=None))
    assert groups == {
        *(("mr_acl", model, protocol) for model in MODELS for protocol in PROTOCOLS if protocol != "sgd"),
        *((task, model, "sgd") for task in ("mr_acl", "xr_tkr") for model in MODELS[1:]),
        *(("xr_tkr", model, "lp") for model in MODELS),
    }
    assert len(groups) == 28
    assert len(predictions) == 28 * 18
    assert f"{28 * 3} fits, 0 of them done before; some protocols do not apply" in shown
    scores = predictions[["score_0", "score_1"]]
    assert scores.sum(axis=1).to_numpy() == pytest.approx(1.0)
    value = results[(results["fold"] == -1) & (results["metric"] == "auroc")].set_index(["task", "model", "protocol"])
    for rule in RULES:  # the bar is plainly visible in every slice
        assert value.loc[("mr_acl", "pixels", rule), "value"] > 0.9

    params = results[results["fold"] == 0].drop_duplicates(["task", "model", "protocol"])
    told = {row.protocol: json.loads(row.params) for row in params[params["model"] == "pretrained"].itertuples()}
    assert (told["slices_max"]["n_train"], told["slices_max"]["n_train_images"]) == (12, 48)
    assert (told["mil"]["members"], len(told["mil"]["best_epoch"]), told["transformer"]["members"]) == (2, 2, 1)
    assert (told["sgd"]["heads"], told["sgd"]["dim"], told["lp"]["dim"]) == (52, 5 * 32, 2 * 32)
    facts = storage.read_json(str(folder / "study.json"))
    assert facts["protocol"]["mil"]["hidden"] == 16
    assert len(facts["not_applicable"]) == 20
    assert set(facts["protocol"]["others"]) == set(PROTOCOLS) - {"lp"}

    # every protocol loses a row, one rule all of its rows; the numbers come back as they were
    before = parts_of(folder)
    assert len(before) == 28 * 3
    lost = [
        name
        for protocol in PROTOCOLS
        for name in sorted(before)
        if f"pretrained-{protocol}-" in name and "-k1-" in name
    ]
    lost += [name for name in before if "untrained-slices_topk-" in name and name not in lost]
    for name in lost:
        before[name].unlink()
    stamps = {name: file.stat().st_mtime_ns for name, file in before.items() if name not in lost}
    run_study(config)
    after = parts_of(folder)
    assert after.keys() == before.keys()
    assert {name: after[name].stat().st_mtime_ns for name in stamps} == stamps
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"), predictions)

    page = build_report(str(folder)).read_text()
    assert "These have no results: sgd does not apply to pixels on mr_acl, xr_tkr: pixels have no blocks; " in page
    assert page.count("<td>slices_noisy_or</td>") == 1  # a row of the table of protocols, on MRI alone
    assert "Gated attention over slices" in page


def test_a_study_by_sgd_alone_has_a_named_gap_and_a_report(ray_session, cohort_of):
    cohort = cohort_of(patients=18, depth=4)
    folder = run_study(study_config(cohort, protocols=["sgd"], tasks=["xr_tkr"], sgd={"iterations": 40}, resamples=200))
    study = load_study(folder)
    assert study.models == ["untrained", "pretrained"]
    assert study.facts["not_applicable"] == [
        {"task": "xr_tkr", "model": "pixels", "protocol": "sgd", "reason": "pixels have no blocks"}
    ]
    page = build_report(folder).read_text()
    assert "These have no results: sgd does not apply to pixels on xr_tkr: pixels have no blocks." in page
    assert "By protocol" not in page
    kinds = sorted(path.name.rpartition("-")[0] for path in (Path(folder) / "features").iterdir())
    assert kinds == ["checkpoint-32", "checkpoint-32", "pixels-24"]  # last blocks alone; pixels for the leak checks

    facts = {**study.facts, "not_applicable": []}
    storage.write_json(f"{folder}/study.json", facts)
    with pytest.raises(InputError, match="model 'pixels' has no results on task 'xr_tkr' by sgd"):
        load_study(folder)
    storage.write_json(f"{folder}/study.json", study.facts)


def test_a_candidate_that_is_alone_has_a_report(ray_session, cohort_of):
    cohort = cohort_of(patients=18, depth=4)
    models = [
        {"name": "pixels", "kind": "pixels"},
        {"name": "net", "kind": "checkpoint", "checkpoint": str(cohort / "run" / "checkpoint")},
    ]
    values = {"models": models, "pretrain_run": None, "tasks": ["xr_tkr"], "sgd": {"iterations": 40}, "resamples": 200}
    folder = run_study(study_config(cohort, protocols=["sgd"], **values))
    assert "The study holds a single model" in build_report(folder).read_text()
