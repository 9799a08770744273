"""Intervals and tests of a study, from its two tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from orthoray.evaluation.comparisons import compare, comparison_lines, draw_all, intervals
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.statistics import bootstrap_difference, detectable_difference, holm, nadeau_bengio_test

METRICS = ["auroc", "accuracy"]


def tables(models, tasks=("a",), seeds=(0,), patients=90, folds=5, labels_seed=0):
    """Results and predictions of ``models``: name → strength of its scores; two samples of each patient."""
    results, predictions = [], []
    for number, task in enumerate(tasks):
        rng = np.random.default_rng((labels_seed, number))
        person = np.repeat(np.arange(patients), 2)
        label = np.repeat(rng.permutation(np.arange(patients) % 2), 2)
        for seed in seeds:
            fold = np.random.default_rng((seed, 5)).permutation(np.arange(patients) % folds)[person]
            for model, strength in models.items():
                noise = np.random.default_rng((number, seed, len(model), *map(ord, model))).normal(size=len(label))
                score = 1 / (1 + np.exp(-(strength * (label - 0.5) + noise)))
                head = {"study": "s", "task": task, "model": model, "protocol": "lp", "fraction": 1.0, "seed": seed}
                frame = pd.DataFrame(
                    {**head, "fold": fold, "sample_id": [f"s{i}" for i in range(len(label))]}
                    | {"patient_id": [f"p{i}" for i in person], "label": label, "score_0": 1 - score, "score_1": score}
                )
                predictions.append(frame)
                for k in range(-1, folds):
                    part = frame if k < 0 else frame[frame["fold"] == k]
                    values = compute(METRICS, part["label"].to_numpy(), part[["score_0", "score_1"]].to_numpy())
                    facts = {"n_patients": part["patient_id"].nunique(), "n_samples": len(part)}
                    facts["params"] = json.dumps({"n_train_patients": patients - facts["n_patients"]})
                    results += [{**head, "fold": k, "metric": m, "value": v, **facts} for m, v in values.items()]
    return pd.DataFrame(results), pd.concat(predictions, ignore_index=True)


def compared(results, predictions, **options):
    tasks = results["task"].unique()
    draws = draw_all(predictions, dict.fromkeys(tasks, METRICS), 400)
    return compare(results, draws, dict.fromkeys(tasks, "auroc"), "ours", **options)


def test_a_value_is_the_mean_of_its_folds_and_lies_in_its_interval():
    results, predictions = tables({"ours": 1.5, "other": 0.5}, seeds=(0, 1))
    table = intervals(draw_all(predictions, {"a": METRICS}, 400)).set_index(["model", "metric"])
    folds = results[results["fold"] >= 0].groupby(["model", "metric"])["value"].mean()
    assert len(table) == len(folds) == 4
    for key, value in folds.items():
        row = table.loc[key]
        assert row["value"] == pytest.approx(value)
        assert row["low"] < value < row["high"]
        assert row["resamples"] == 400


def test_every_number_of_a_comparison_is_that_of_its_function():
    results, predictions = tables({"ours": 2.0, "other": 0.2})
    (row,) = compared(results, predictions).to_dict("records")
    ours, other = (predictions[predictions["model"] == name] for name in ("ours", "other"))
    found = bootstrap_difference(
        "auroc",
        ours["label"],
        ours["score_1"],
        other["score_1"],
        ours["patient_id"],
        folds=ours["fold"],
        resamples=400,
    )
    wide = [found.difference + 1.5 * (end - found.difference) for end in (found.low, found.high)]  # 1.5² = 1 + 5/4
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((found.difference, *wide))
    chosen = results[(results["metric"] == "auroc") & (results["fold"] >= 0)].pivot(
        index="fold", columns="model", values="value"
    )
    differences = chosen["ours"] - chosen["other"]
    corrected = nadeau_bengio_test(differences, 72, 18)
    assert (row["fold_p"], row["fold_low"]) == (pytest.approx(corrected.p), pytest.approx(corrected.low))
    assert row["detectable"] == pytest.approx(detectable_difference(differences.std(), 5, 72, 18))
    assert row["p"] < 0.02
    assert row["low"] > 0
    assert row["paper_p"] < row["fold_p"]


def test_equal_models_differ_by_nothing():
    results, predictions = tables({"ours": 1.0})
    both = [pd.concat([t, t.assign(model="twin")], ignore_index=True) for t in (results, predictions)]
    (row,) = compared(*both).to_dict("records")
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
    assert (row["p"], row["p_holm"], row["fold_p"]) == (1, 1, 1)


def test_p_values_are_adjusted_over_tasks_and_baselines_of_one_protocol():
    results, predictions = tables({"ours": 1.2, "one": 0.7, "two": 0.9}, tasks=("a", "b", "c"))
    again = [pd.concat([t, t.assign(protocol="knn")], ignore_index=True) for t in (results, predictions)]
    table = compared(*again)
    assert len(table) == 2 * 3 * 2
    for _, part in table.groupby("protocol"):
        np.testing.assert_allclose(part["p_holm"], holm(part["p"]))
    assert (table["p_holm"] >= table["p_fdr"]).all()
    lines = comparison_lines(table)
    assert len(lines) == len(table)
    assert lines[0].startswith("a, lp: +")


def test_draws_that_hardly_define_a_metric_are_told_and_not_hidden():
    results, predictions = tables({"ours": 1.0, "other": 1.0, "third": 1.1})
    draws = draw_all(predictions, {"a": METRICS}, 100)
    empty = np.full(100, np.nan)
    empty[3] = 0.5
    key = ("a", "other", "lp", 1.0, "auroc")
    draws[key] = draws[key]._replace(values=empty)
    told = intervals(draws).set_index(["model", "metric"]).loc[("other", "auroc")]
    assert told["undefined"] == 99
    assert np.isnan(told["low"])
    table = compare(results, draws, {"a": "auroc"}, "ours").set_index("baseline")
    assert table.loc["other", "undefined"] == 99
    assert table.loc["other", ["low", "p", "p_holm", "p_fdr"]].isna().all()
    assert table.loc["third", "p_holm"] == pytest.approx(min(1.0, 2 * table.loc["third", "p"]))  # it counts as a test
    assert "p unknown" in comparison_lines(table.reset_index())[0]
