"""Learning curves: a planted power law is found again, bounds hold, and a fall is told from noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from orthoray.evaluation.curves import curve_lines, fit_power_law, learning_curves
from orthoray.evaluation.statistics import Draws

SHARES = [0.125, 0.25, 0.5, 0.75, 1.0]


def law(share, ceiling, scale, exponent):
    return ceiling - scale * np.asarray(share) ** -exponent


@settings(deadline=None)
@given(ceiling=st.floats(0.6, 0.99), scale=st.floats(0.01, 0.2), exponent=st.sampled_from([0.05, 0.5, 1.0, 2.0]))
def test_a_planted_law_is_found_again(ceiling, scale, exponent):
    found = fit_power_law(SHARES, law(SHARES, ceiling, scale, exponent)[None])
    assert found.residual[0] < 1e-9
    assert found.exponent[0] == pytest.approx(exponent)
    assert (found.ceiling[0], found.scale[0]) == pytest.approx((ceiling, scale), abs=1e-6)
    assert found.at(2.0)[0] == pytest.approx(law(2.0, ceiling, scale, exponent))


def test_it_is_the_least_squares_fit_of_another_solver():
    rng = np.random.default_rng(0)
    values = law(SHARES, 0.9, 0.1, 0.7) + rng.normal(0, 0.004, 5)
    start, limits = (0.8, 0.1, 0.5), ([0, 0, 0.05], [1, 2, 2])
    other, _ = curve_fit(law, SHARES, values, p0=start, bounds=limits, max_nfev=10_000)
    rest = np.sqrt(np.mean((law(SHARES, *other) - values) ** 2))
    found = fit_power_law(SHARES, values[None])
    assert rest - 1e-9 <= found.residual[0] <= rest + 2e-5  # exponents are those of a grid
    assert found.at(2.0)[0] == pytest.approx(law(2.0, *other), abs=2e-3)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=1, max_size=5))
def test_it_never_falls_nor_goes_beyond_the_best(rows):
    found = fit_power_law(SHARES, np.array(rows))
    curve = np.stack([found.at(share) for share in [*SHARES, 2.0, 100.0]])
    assert (np.diff(curve, axis=0) >= -1e-12).all()
    assert (curve <= 1 + 1e-12).all()


def drawn(values, spread, seed):
    """Draws of one share; those of one seed move together, as the same patients are drawn."""
    return Draws(values, values + spread * np.random.default_rng(seed).normal(size=400))


def curves_of(values, spread, apart=0.0):
    rng = np.random.default_rng(9)
    draws = {}
    for share, value in zip(SHARES, values, strict=True):
        own = drawn(value, spread, 1)
        draws["t", "m", "lp", share, "auroc"] = Draws(value, own.values + apart * rng.normal(size=400))
    return learning_curves(draws, {"t": "auroc"}).iloc[0]


def test_a_rise_with_a_dip_inside_its_band_is_monotone_and_a_real_fall_is_not():
    rise = curves_of([0.70, 0.75, 0.74, 0.80, 0.82], 0.02, apart=0.02)
    assert rise["monotone"]
    assert rise["fall"] == pytest.approx(0.01)
    assert rise["fall_low"] < 0 < rise["gain"] < 0.1
    assert rise["gain_low"] < rise["gain"] < rise["gain_high"]
    fall = curves_of([0.80, 0.75, 0.74, 0.72, 0.70], 0.02, apart=0.005)
    assert not fall["monotone"]
    assert fall["fall"] == pytest.approx(0.10)
    assert fall["fall_low"] > 0.05
    assert fall["scale"] == 0


def test_lines_and_too_few_shares():
    draws = {("t", "m", "lp", share, "auroc"): drawn(0.8, 0.01, 0) for share in SHARES}
    table = learning_curves(draws, {"t": "auroc"})
    lines = curve_lines(table, "m")
    assert lines[0].startswith("t, lp: twice the labels would add +0.000")
    assert lines[-1] == "1 of 1 curves rise within their intervals"
    assert learning_curves(dict(list(draws.items())[:2]), {"t": "auroc"}).empty
