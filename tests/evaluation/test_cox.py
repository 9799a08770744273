"""Penalised Cox regression: published coefficients, an independent solver, and the probe that chooses its strength."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.cox import Cohort, fit_cox, partial_likelihood
from orthoray.evaluation.cox_probe import fit_cox_probe
from orthoray.evaluation.logistic import GAP
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.probe import Part

TREATED = """6+ 3.20, 6 2.31, 6 4.06, 6 3.28, 7 4.43, 9+ 2.80, 10+ 2.70, 10 2.96, 11+ 2.60, 13 2.88, 16 3.60, 17+ 2.16,
19+ 2.05, 20+ 2.01, 22 2.32, 23 2.57, 25+ 1.78, 32+ 2.20, 32+ 2.53, 34+ 1.47, 35+ 1.45"""
PLACEBO = """1 2.80, 1 5.00, 2 4.91, 2 4.48, 3 4.01, 4 4.36, 4 2.42, 5 3.49, 5 3.97, 8 3.52, 8 3.05, 8 2.32, 8 3.26,
11 3.49, 11 2.12, 12 1.50, 12 3.06, 15 2.30, 17 2.95, 22 2.73, 23 1.97"""
"""Weeks of remission (+ = censored) and log white blood cells of 42 leukaemia patients (Freireich et al. 1963), as in
Kleinbaum and Klein, Survival Analysis, chapter 3."""


def remission():
    """(time, event, placebo, log white blood cells)."""
    rows = []
    for group, text in enumerate((TREATED, PLACEBO)):
        for cell in text.replace("\n", " ").split(","):
            weeks, cells = cell.split()
            rows.append((float(weeks.rstrip("+")), int(not weeks.endswith("+")), group, float(cells)))
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def unpenalised(x, time, event):
    """Coefficients per unit, with a penalty that is next to nothing."""
    fit = fit_cox(x, Cohort.of(time, event), 1e9, max_iter=2000)
    return fit.weights / fit.scale


def test_published_coefficients_of_the_remission_data():
    """Kleinbaum and Klein, table 3.1 (ties by Breslow): 1.509 alone; 1.294 with the log white blood cells, 1.604."""
    time, event, placebo, cells = remission()
    np.testing.assert_allclose(unpenalised(placebo[:, None].astype(float), time, event), [1.509], atol=5e-4)
    found = unpenalised(np.column_stack([placebo, cells]).astype(float), time, event)
    np.testing.assert_allclose(found, [1.294, 1.604], atol=5e-4)


def test_published_concordance_of_the_remission_data():
    """R's survival (ties by Efron: 1.386 and 1.691) prints 0.69 for the treatment alone and 0.852 with both."""
    time, event, placebo, cells = remission()
    alone = compute(["c_index"], event, placebo[:, None].astype(float), time)["c_index"]
    both = 1.386 * placebo + 1.691 * cells
    assert round(alone, 2) == 0.69
    assert round(compute(["c_index"], event, both[:, None], time)["c_index"], 3) == 0.852


def objective_by_hand(weights, x, time, event, c):
    """The formula, event by event."""
    scores = x @ weights
    loss = sum(np.log(np.exp(scores[time >= time[i]]).sum()) - scores[i] for i in np.flatnonzero(event))
    return (loss + 0.5 * weights @ weights / c) / event.sum()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), c=st.sampled_from([1e-3, 0.1, 10.0]))
def test_the_optimum_is_that_of_another_solver_on_the_written_out_formula(seed, c):
    rng = np.random.default_rng(seed)
    x, time = rng.normal(size=(25, 3)) * [1, 5, 0.1] + 2, rng.integers(1, 9, 25).astype(float)
    event = rng.integers(0, 2, 25)
    event[0] = 1
    fit = fit_cox(x, Cohort.of(time, event), c)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    other = minimize(objective_by_hand, np.zeros(3), args=(standard, time, event, c), method="BFGS")
    assert fit.converged
    assert fit.objective == pytest.approx(objective_by_hand(fit.weights, standard, time, event, c))
    assert fit.objective <= other.fun + GAP
    assert other.fun >= fit.objective - fit.gap - 1e-9
    np.testing.assert_allclose(fit.weights, other.x, atol=np.sqrt(2 * GAP * c * event.sum()) + 1e-4)


@given(st.integers(0, 2**32 - 1))
def test_the_gradient_is_that_of_the_likelihood(seed):
    rng = np.random.default_rng(seed)
    scores, time, event = rng.normal(size=8), rng.integers(1, 5, 8).astype(float), rng.integers(0, 2, 8)
    cohort = Cohort.of(time, event)
    slope = partial_likelihood(scores, cohort)[1]
    for i in range(8):
        step = np.zeros(8)
        step[i] = 1e-5
        rise = partial_likelihood(scores + step, cohort)[0] - partial_likelihood(scores - step, cohort)[0]
        assert rise / 2e-5 == pytest.approx(slope[i], abs=1e-6)


def test_more_features_than_patients_and_a_warm_start_reach_the_same_optimum():
    rng = np.random.default_rng(1)
    x, time, event = rng.normal(size=(60, 300)), rng.exponential(1000, 60), rng.integers(0, 2, 60)
    x[:, 7] = 3.0  # a constant column has no weight
    cohort = Cohort.of(time, event)
    first = fit_cox(x, cohort, 0.01)
    cold, warm = fit_cox(x, cohort, 1.0), fit_cox(x, cohort, 1.0, start=first)
    assert cold.converged
    assert warm.converged
    assert cold.objective == pytest.approx(warm.objective, abs=GAP)
    assert cold.weights[7] == warm.weights[7] == 0.0
    with pytest.raises(RunError, match="no event"):
        fit_cox(x, Cohort.of(time, np.zeros(60, int)), 1.0)


def planted(n=240, strength=1.5, seed=0):
    """(features, event, time): the hazard rises with the first of ten features."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10))
    time = rng.exponential(2000 * np.exp(-strength * x[:, 0])) + 1
    ended = rng.uniform(500, 3000, n)
    return x, (time <= ended).astype(np.int64), np.minimum(time, ended)


def quarters(n):
    rows = np.arange(n)
    return [(rows[rows % 4 != k], rows[rows % 4 == k]) for k in range(4)]


def test_the_probe_finds_a_planted_signal_and_prefers_strong_penalties_without_one():
    x, event, time = planted()
    train, test = np.arange(180), np.arange(180, 240)
    probe = fit_cox_probe(x, event, time, Part(train, quarters(180)), ProbeConfig())
    risk = probe.predict(x[test])
    assert risk.shape == (60, 1)
    assert compute(["c_index"], event[test], risk, time[test])["c_index"] > 0.75
    assert probe.facts["converged"]
    noise = fit_cox_probe(x[:, 1:], event, time, Part(train, quarters(180)), ProbeConfig())
    assert noise.facts["c"] < probe.facts["c"]


def test_nothing_outside_the_training_rows_has_an_influence():
    x, event, time = planted()
    train = np.arange(180)
    config = ProbeConfig(c_steps=4)
    one = fit_cox_probe(x, event, time, Part(train, quarters(180)), config, components=5)
    x2, event2, time2 = x.copy(), event.copy(), time.copy()
    x2[180:], event2[180:], time2[180:] = np.nan, 1 - event[180:], 1.0
    two = fit_cox_probe(x2, event2, time2, Part(train, quarters(180)), config, components=5)
    assert one.facts == two.facts
    np.testing.assert_array_equal(one.fit.weights, two.fit.weights)
    x2[3, 0] = np.nan
    with pytest.raises(RunError, match="1 feature rows are not finite"):
        fit_cox_probe(x2, event2, time2, Part(train, quarters(180)), config)


def test_the_inner_score_is_the_cross_validated_partial_likelihood():
    x, event, time = planted(60)
    config = ProbeConfig(log10_c_min=-1.0, log10_c_max=0.0, c_steps=2)
    probe = fit_cox_probe(x, event, time, Part(np.arange(60), quarters(60)), config)
    for c in (0.1, 1.0):
        total = 0.0
        for fit, _ in quarters(60):
            model = fit_cox(x[fit], Cohort.of(time[fit], event[fit]), c)
            risk = model.risk(x)
            total += partial_likelihood(risk, Cohort.of(time, event))[0]
            total -= partial_likelihood(risk[fit], Cohort.of(time[fit], event[fit]))[0]
        assert probe.facts["inner_scores"][f"{c:.6g}"] == pytest.approx(total / event.sum(), abs=1e-3)
