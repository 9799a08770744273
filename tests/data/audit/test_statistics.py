"""Bounds and kappa against published examples; the sequential rule at its limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.data.audit.statistics import (
    advise,
    exact_lower,
    exact_upper,
    kappa,
    percent,
    rule_of_three,
    sample_needed,
    wilson,
)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_newcombe_1998(count, n, low, high):
    # Newcombe RG, Stat Med 1998;17:857-872, table I, method 3 (score interval without continuity correction)
    assert wilson(count, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(("n", "bound"), [(300, 0.009936), (600, 0.004980), (20, 0.139108)])
def test_no_case_gives_the_closed_form_and_the_rule_of_three_lies_above(n, bound):
    assert exact_upper(0, n) == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-9)
    assert exact_upper(0, n) == pytest.approx(bound, abs=5e-7)
    assert exact_upper(0, n) < rule_of_three(n) < 1.1 * exact_upper(0, n)


def tail(counts, n, p):
    """P(X in counts) for X binomial, term by term."""
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in counts)


@given(st.integers(1, 200), st.data())
def test_exact_bounds_invert_the_binomial_tail(n, data):
    count = data.draw(st.integers(0, n))
    high, low = exact_upper(count, n), exact_lower(count, n)
    assert 0 <= low <= count / n <= high <= 1
    if count < n:
        assert tail(range(count + 1), n, high) == pytest.approx(0.05, rel=1e-6)
    if count:
        assert tail(range(count, n + 1), n, low) == pytest.approx(0.05, rel=1e-6)


# Cohen J, Educ Psychol Meas 1960;20:37-46, table 1 as counts of 200; Landis JR, Koch GG, Biometrics 1977;33:159-174,
# table 1, Winnipeg patients (two neurologists, four grades)
COHEN = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
LANDIS_KOCH = [[38, 5, 0, 1], [33, 11, 3, 0], [10, 14, 5, 6], [3, 7, 3, 10]]


@pytest.mark.parametrize(("table", "published"), [(COHEN, 0.492), (LANDIS_KOCH, 0.208)])
def test_kappa_agrees_with_published_tables(table, published):
    pairs = [(str(i), str(j)) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    assert kappa(*zip(*pairs, strict=True)) == pytest.approx(published, abs=5e-4)


def test_kappa_is_undefined_without_variation_and_one_without_disagreement():
    assert kappa([], []) is None
    assert kappa(["accept"] * 9, ["accept"] * 9) is None
    assert kappa(["accept", "blur"], ["accept", "blur"]) == 1.0


@pytest.mark.parametrize(("count", "needed"), [(0, 299), (1, 473), (2, 628), (3, 773)])
def test_sample_needed_for_one_percent(count, needed):
    # 299 and 473 are the classical sizes of 95/99 attribute sampling
    assert sample_needed(count, 0.01) == needed
    assert exact_upper(count, needed) <= 0.01 < exact_upper(count, needed - 1)


@pytest.mark.parametrize(
    ("defects", "read", "action", "sample"),
    [
        (0, 0, "read on", 300),
        (0, 299, "read on", 300),
        (0, 300, "accept", None),
        (1, 300, "widen", 473),
        (2, 300, "widen", 628),
        (7, 300, "stop", None),
        (7, 100, "stop", None),  # whatever the rest of the sample shows
        (6, 100, "read on", 300),
        (1, 1, "read on", 300),
    ],
)
def test_rule(defects, read, action, sample):
    advice = advise(defects, read, planned=300, population=100_000, tolerance=0.01)
    assert (advice.action, advice.sample) == (action, sample)


def test_rule_when_everything_can_be_read():
    assert advise(0, 20, 20, 20, 0.01).action == "accept"
    assert advise(1, 20, 20, 20, 0.01).action == "stop"
    widen = advise(0, 50, 50, 60, 0.01)
    assert (widen.action, widen.sample) == ("widen", 60)


@pytest.mark.parametrize(("share", "text"), [(0.00994, "0.99 %"), (0.0, "0.0 %"), (0.1718, "17.2 %"), (1.0, "100.0 %")])
def test_percent(share, text):
    assert percent(share) == text
