"""Calibration of a study's predictions: temperatures from inner data only, errors by patient, net benefit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression

from orthoray.evaluation.calibrated import calibration_lines, slope_error, trust
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.statistics import calibration
from orthoray.evaluation.tasks import load_task
from orthoray.evaluation.temperatures import NAME, inner_temperature


def sharpened(rng, n, factor):
    """Labels drawn from probabilities, and those probabilities made ``factor`` times too sure."""
    truth = rng.normal(0, 1.2, n)
    label = (rng.random(n) < expit(truth)).astype(np.int64)
    p = expit(factor * truth)
    return label, np.column_stack([1 - p, p])


def tables(rng, factor=2.0, temperature=2.0, n=4000):
    """Results and predictions of one fit per fold, of pairs of samples per patient."""
    label, scores = sharpened(rng, n, factor)
    head = {"study": "s", "task": "mr_acl", "model": "m", "protocol": "lp", "fraction": 1.0, "seed": 0}
    fold = np.arange(n) // 2 % 4
    predictions = pd.DataFrame({**head, "fold": fold, "sample_id": [f"s{i}" for i in range(n)]})
    predictions = predictions.assign(
        patient_id=[f"p{i // 2}" for i in range(n)], label=label, score_0=scores[:, 0], score_1=scores[:, 1]
    )
    rows = [{**head, "fold": k, "params": json.dumps({NAME: temperature})} for k in range(-1, 4)]
    return pd.DataFrame(rows), predictions


def test_a_temperature_that_is_right_mends_probabilities_that_are_too_sure():
    found = trust(*tables(np.random.default_rng(0)), {"mr_acl": load_task("mr_acl")})
    row = found.calibration.iloc[0]
    assert row["slope_low_raw"] < 0.5 < row["slope_high_raw"] < 0.6
    assert row["slope_low_scaled"] < 1.0 < row["slope_high_scaled"]
    assert row["slope_scaled"] == pytest.approx(2 * row["slope_raw"])
    assert row["ece_scaled"] < 0.03 < row["ece_raw"]
    assert row["brier_scaled"] < row["brier_raw"]
    assert (row["temperature"], row["samples"], row["patients"], row["of"]) == (2.0, 4000, 2000, "positive")
    bins = found.reliability.groupby("scaled")["samples"].sum()
    assert bins.to_dict() == {False: 4000, True: 4000}
    gain = found.decisions.set_index("threshold")
    assert gain["scaled"].all()
    assert gain.loc[0.5, "model_benefit"] > max(0.0, gain.loc[0.5, "treat_all"])
    assert calibration_lines(found.calibration, "m")[0].startswith("mr_acl, lp: slope 0.5")


def test_one_fit_without_a_temperature_leaves_all_unscaled():
    results, predictions = tables(np.random.default_rng(1))
    results.loc[2, "params"] = json.dumps({NAME: None})
    found = trust(results, predictions, {"mr_acl": load_task("mr_acl")})
    row = found.calibration.iloc[0]
    assert np.isnan(row["temperature"])
    assert "slope_scaled" not in row or np.isnan(row["slope_scaled"])
    assert not found.reliability["scaled"].any()
    assert not found.decisions["scaled"].any()


def test_of_grades_the_predicted_one_is_judged():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 1.5, (3000, 5))
    label = np.array([rng.choice(5, p=p) for p in softmax(logits, axis=1)])
    scores = softmax(2 * logits, axis=1)
    results, predictions = tables(rng, n=3000)
    results, predictions = results.assign(task="xr_kl"), predictions.assign(task="xr_kl", label=label)
    predictions = predictions.assign(**{f"score_{k}": scores[:, k] for k in range(5)})
    found = trust(results, predictions, {"xr_kl": load_task("xr_kl")})
    row = found.calibration.iloc[0]
    assert row["of"] == "predicted class"
    assert row["ece_scaled"] < 0.04 < row["ece_raw"]
    right = scores.argmax(axis=1) == label
    assert row["ece_raw"] == pytest.approx(calibration(right.astype(int), scores.max(axis=1)).ece)
    assert found.decisions.empty


def test_the_error_of_the_slope_is_that_of_drawing_patients():
    rng = np.random.default_rng(3)
    label, scores = sharpened(rng, 300, 1.5)
    label, p = np.repeat(label, 3), np.repeat(scores[:, 1], 3)  # three samples that are one: as much is known as by one
    patients = np.repeat([f"p{k:03}" for k in range(300)], 3)
    found = calibration(label, p)
    error = slope_error(label, p, patients, found.intercept, found.slope)
    alone = slope_error(label[::3], p[::3], patients[::3], found.intercept, found.slope)
    assert error == pytest.approx(alone, rel=1e-9)
    drawn = []
    for _ in range(400):
        rows = np.concatenate([np.arange(3 * k, 3 * k + 3) for k in rng.integers(0, 300, 300)])
        model = LogisticRegression(C=np.inf, tol=1e-8).fit(logit(p[rows])[:, None], label[rows])
        drawn.append(model.coef_[0, 0])
    assert error == pytest.approx(np.std(drawn), rel=0.12)
    assert np.isnan(slope_error(label, p, patients, np.nan, np.nan))


def test_the_temperature_of_a_probe_is_that_of_its_inner_folds():
    rng = np.random.default_rng(4)
    x, label = rng.normal(size=(120, 60)), rng.integers(0, 2, 120)
    x[:, 0] += label
    rows = np.arange(100)
    inner = [(rows[rows % 4 != k], rows[rows % 4 == k]) for k in range(4)]
    config = ProbeConfig(c_steps=1, log10_c_min=0, log10_c_max=0)
    many = ProbeConfig(c_steps=3, log10_c_min=0, log10_c_max=2, patience=1)
    assert NAME not in fit_probes(x, label, [Part(rows, inner)], 2, config)[0].facts  # nothing was validated
    probe = fit_probes(x, label, [Part(rows, inner)], 2, many)[0]
    held = np.zeros((100, 2))
    for fit, validate in inner:
        standard = (x[:100] - x[fit].mean(axis=0)) / x[fit].std(axis=0)
        model = LogisticRegression(C=probe.facts["c"], tol=1e-8, max_iter=5000).fit(standard[fit], label[fit])
        held[validate] = model.predict_proba(standard[validate])
    assert probe.facts[NAME] == pytest.approx(inner_temperature(label[:100], held)[NAME], rel=5e-3)
    assert probe.facts[NAME] > 1.3  # sixty features of a hundred samples: too sure
    other = x.copy()
    other[100:] = 0
    assert fit_probes(other, label, [Part(rows, inner)], 2, many)[0].facts == probe.facts


def test_no_temperature_where_none_is_best():
    assert inner_temperature(np.array([0, 0]), np.full((2, 2), 0.5)) == {NAME: None}
    separated = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert inner_temperature(np.array([0, 1]), separated) == {NAME: None}
