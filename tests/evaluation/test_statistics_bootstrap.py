"""The bootstrap over patients: against a plain resampling loop, scipy's intervals, and theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from orthoray.errors import InputError
from orthoray.evaluation import metrics
from orthoray.evaluation.statistics import (
    WEIGHTED,
    auroc_interval,
    bootstrap_difference,
    bootstrap_draws,
    cluster_bootstrap,
    cross_validation_inflation,
    difference_of,
    interval_of,
    resampling_inflation,
)
from orthoray.evaluation.statistics.resampling import draws, evaluator, left_out, sample_of


def area(labels, scores):
    """Pairs won over pairs, by midranks; whole numbers until the division."""
    ones = labels == 1
    m, n = int(ones.sum()), int((~ones).sum())
    if m * n == 0:
        raise ValueError("one class")
    return (stats.rankdata(scores)[ones].sum() - m * (m + 1) / 2) / (m * n)


def mean_score(labels, scores):
    return scores.mean()


def cohort(seed, people=24, grid=None):
    rng = np.random.default_rng(seed)
    patients = rng.permutation(np.repeat(np.arange(people), rng.integers(1, 4, people)))
    labels = rng.integers(0, 2, len(patients))
    labels[:4] = [0, 1, 0, 1]
    scores = rng.normal(size=people)[patients] + labels + rng.normal(size=len(patients))
    return labels, np.round(scores * grid) / grid if grid else scores, patients


def all_draws(labels, patients, stratify, resamples, seed=0):
    made = sample_of(labels, [np.zeros(len(labels))], patients, stratify)[2]
    return np.concatenate(list(draws(made, resamples, seed))), made


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 2]), st.booleans())
def test_fast_area_equals_the_plain_one_on_the_same_draws(seed, grid, stratify):
    labels, scores, patients = cohort(seed, people=8, grid=grid)
    drawn, made = all_draws(labels, patients, stratify, 60, seed)
    fast = evaluator("auroc", labels, scores, made.codes)(drawn)
    plain = evaluator(area, labels, scores, made.codes)(drawn)
    np.testing.assert_array_equal(fast, plain)  # NaN at the same places too
    a, b = (cluster_bootstrap(m, labels, scores, patients, resamples=60, stratify=stratify) for m in ("auroc", area))
    assert a == b


def test_a_draw_is_a_resample_of_whole_patients():
    labels, scores, patients = cohort(3)
    drawn, made = all_draws(labels, patients, True, 20)
    values = evaluator("auroc", labels, scores, made.codes)(drawn)
    for row, value in zip(drawn, values, strict=True):
        assert row.sum() == made.patients
        chosen = np.concatenate([np.flatnonzero(patients == who) for who in np.repeat(np.arange(made.patients), row)])
        assert value == pytest.approx(roc_auc_score(labels[chosen], scores[chosen]), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "classes"), [*((name, 2) for name in WEIGHTED), *((name, 4) for name in metrics.ORDINAL)]
)
def test_named_metrics_equal_those_of_tables_on_the_same_draws(name, classes):
    rng = np.random.default_rng(classes)
    labels, scores = rng.integers(0, classes, 90), rng.dirichlet(np.ones(classes), 90).round(1)
    labels[0], patients = classes - 1, rng.integers(0, 12, 90)
    _, (values,), made = sample_of(labels, [scores], patients, False)
    drawn = np.concatenate(list(draws(made, 40, 0)))
    plain = evaluator(lambda known, given: metrics.compute([name], known, given)[name], labels, values, made.codes)(
        drawn
    )
    np.testing.assert_allclose(evaluator(name, labels, values, made.codes)(drawn), plain, rtol=1e-12)


@pytest.mark.parametrize("metric", ["auroc", "accuracy", area])
def test_scores_of_other_fits_are_not_compared(metric):
    """The scores of one fold are shifted by far: pooled they rank badly, fold by fold nothing has changed."""
    labels, scores, patients = cohort(3)
    scores = np.column_stack([-scores, scores]) if metric == "accuracy" else scores
    folds = np.where(patients % 3 > 1, "b", "a")
    found = cluster_bootstrap(metric, labels, scores, patients, folds=folds, resamples=50)
    sides = [folds == "a", folds == "b"]
    alone = [cluster_bootstrap(metric, labels[s], scores[s], patients[s], resamples=2).value for s in sides]
    assert found.value == pytest.approx(np.mean(alone))
    if metric != "accuracy":
        shifted = scores + 1000.0 * sides[1]
        again = cluster_bootstrap(metric, labels, shifted, patients, folds=folds, resamples=50)
        assert again == pytest.approx(found)
        assert cluster_bootstrap(metric, labels, shifted, patients, resamples=50).value != pytest.approx(found.value)


def test_differences_of_draws_are_those_of_both_models_together():
    labels, scores, patients = cohort(5)
    other = scores + np.random.default_rng(0).normal(size=len(scores))
    a, b = (bootstrap_draws("auroc", labels, one, patients, resamples=200) for one in (scores, other))
    assert difference_of(a, b) == bootstrap_difference("auroc", labels, scores, other, patients, resamples=200)
    assert interval_of(a) == cluster_bootstrap("auroc", labels, scores, patients, resamples=200)
    for folds, factor in ((1, 1.0), (2, 3.0), (5, 2.25), (10, 1 + 10 / 9)):
        assert cross_validation_inflation(folds) == pytest.approx(factor)
        if folds > 1:  # 60 patients
            for repeats in (1, 4):
                several = resampling_inflation(folds * repeats, 60 - 60 / folds, 60 / folds)
                assert several == pytest.approx(factor)
    assert resampling_inflation(1, 80, 20) == pytest.approx(1.25)
    assert resampling_inflation(3, 80, 20) == pytest.approx(1.75)
    with pytest.raises(ValueError, match="must be above 0"):
        resampling_inflation(1, 0, 20)
    plain, wide = difference_of(a, b), difference_of(a, b, inflation=4.0)
    assert wide.high - wide.difference == pytest.approx(2 * (plain.high - plain.difference))
    assert (wide.se, wide.difference) == pytest.approx((2 * plain.se, plain.difference))
    assert wide.p >= plain.p
    with pytest.raises(ValueError, match="at least 1"):
        difference_of(a, b, inflation=0.5)
    with pytest.raises(ValueError, match="at least 1"):
        cross_validation_inflation(0)
    with pytest.raises(ValueError, match="not the same draws"):
        difference_of(a, bootstrap_draws("auroc", labels, other, patients, resamples=100))


def test_strata_keep_the_number_of_patients_of_each_class():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 2)
    labels = rng.integers(0, 4, 80)
    largest = np.array([labels[patients == who].max() for who in range(40)])
    drawn, made = all_draws(labels, patients, True, 300)
    for grade in range(4):
        assert (drawn[:, largest == grade].sum(axis=1) == (largest == grade).sum()).all()
    free, _ = all_draws(labels, patients, False, 300)
    assert len(np.unique(free[:, largest == 3].sum(axis=1))) > 3
    assert sorted(np.concatenate(made.strata)) == list(range(40))


def test_patients_are_drawn_evenly():
    drawn, _ = all_draws(np.arange(10) % 2, np.arange(10), False, 4000)
    # Each count is Binomial(10, 1/10): mean 1, variance 0.9; covariance -0.1.
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(10) - 0.1, atol=0.08)


def test_chunks_and_more_resamples_continue_the_same_draws(monkeypatch):
    labels, _, patients = cohort(1)
    whole, _ = all_draws(labels, patients, True, 50)
    more, _ = all_draws(labels, patients, True, 80)
    np.testing.assert_array_equal(more[:50], whole)
    monkeypatch.setattr("orthoray.evaluation.statistics.resampling.CHUNK", 7 * len(labels))
    np.testing.assert_array_equal(all_draws(labels, patients, True, 50)[0], whole)


@pytest.mark.parametrize("whole", [False, True])  # whole numbers: many draws have exactly the value of all samples
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_ends_are_those_of_scipy_on_the_same_distribution(method, whole):
    class Given:
        confidence_interval, standard_error = None, None

        def __init__(self, values):
            self.bootstrap_distribution = values

    values = np.random.default_rng(5).exponential(size=30)
    values = np.floor(4 * values) if whole else values
    labels, people = np.zeros(30, dtype=int), np.arange(30)
    drawn, made = all_draws(labels, people, False, 999)
    given_values = evaluator(mean_score, labels, values, made.codes)(drawn)
    name = {"percentile": "percentile", "bca": "BCa"}[method]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=0, bootstrap_result=Given(given_values), method=name)
    ours = cluster_bootstrap(mean_score, labels, values, people, resamples=999, stratify=False, method=method)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)
    assert ours.se == pytest.approx(given_values.std(ddof=1))
    assert ours.value == pytest.approx(values.mean())


def test_acceleration_of_strata_is_that_of_scipys_several_samples():
    class Given:
        confidence_interval, standard_error = None, None

        def __init__(self, values):
            self.bootstrap_distribution = values

    rng = np.random.default_rng(6)
    a, b = rng.exponential(size=12), rng.exponential(size=20)

    def gap(labels, scores):
        return scores[labels == 1].mean() - scores[labels == 0].mean()

    labels, scores = np.repeat([0, 1], [12, 20]), np.r_[a, b]
    drawn, made = all_draws(labels, np.arange(32), True, 999)
    values = evaluator(gap, labels, scores, made.codes)(drawn)

    def statistic(x, y, axis):
        return y.mean(axis=axis) - x.mean(axis=axis)

    theirs = stats.bootstrap((a, b), statistic, n_resamples=0, bootstrap_result=Given(values), vectorized=True)
    ours = cluster_bootstrap(gap, labels, scores, np.arange(32), resamples=999, method="bca")
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)
    assert len(np.concatenate(list(left_out(made)))) == 32


def test_spread_agrees_with_delongs_standard_error():
    labels, scores, _ = cohort(8, people=150)
    got = cluster_bootstrap("auroc", labels, scores, np.arange(len(labels)), resamples=4000)
    assert got.se == pytest.approx(auroc_interval(labels, scores).se, rel=0.06)
    labels, scores, patients = cohort(9, people=200)
    got = cluster_bootstrap("auroc", labels, scores, patients, resamples=4000, stratify=False)
    assert got.se == pytest.approx(auroc_interval(labels, scores, patients).se, rel=0.06)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["percentile", "bca"]))
def test_the_order_of_samples_does_not_matter(seed, method):
    labels, scores, patients = cohort(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    options = {"resamples": 100, "seed": 3, "method": method}
    one = cluster_bootstrap("auroc", labels, scores, patients, **options)
    other = cluster_bootstrap("auroc", labels[order], scores[order], patients[order], **options)
    assert one == other
    assert one != cluster_bootstrap("auroc", labels, scores, patients, resamples=100, seed=4, method=method)


def test_undefined_draws_are_counted():
    # Two of three patients have class 1 only, one has class 0 only: without strata a draw of three has no class 0 with
    # chance (2/3)³ = 8/27 and no class 1 with chance (1/3)³ = 1/27.
    labels, scores, people = np.array([1, 1, 0]), np.array([0.9, 0.2, 0.5]), np.arange(3)
    drawn, _ = all_draws(labels, people, False, 3000)
    missing = int(((drawn[:, 2] == 0) | (drawn[:, 2] == 3)).sum())
    for metric in ("auroc", area):
        got = cluster_bootstrap(metric, labels, scores, people, resamples=3000, stratify=False)
        assert (got.undefined, got.resamples) == (missing, 3000)
    assert missing / 3000 == pytest.approx(9 / 27, abs=0.03)
    assert cluster_bootstrap("auroc", labels, scores, people, resamples=3000).undefined == 0
    paired = bootstrap_difference("auroc", labels, scores, -scores, people, resamples=3000, stratify=False)
    assert paired.undefined == missing


def test_other_metrics_and_rows_of_probabilities():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 90)
    scores = rng.dirichlet(np.ones(3), 90) + np.eye(3)[labels]

    def ours(y, p):
        return metrics.compute(["qwk"], y, p)["qwk"]

    def theirs(y, p):
        return cohen_kappa_score(y, p.argmax(axis=1), weights="quadratic", labels=[0, 1, 2])

    people = np.arange(90) // 2
    assert cluster_bootstrap(ours, labels, scores, people, resamples=50) == pytest.approx(
        cluster_bootstrap(theirs, labels, scores, people, resamples=50)
    )
    with pytest.raises(InputError, match="Unknown metric"):
        cluster_bootstrap(lambda y, p: metrics.compute(["qwq"], y, p)["qwq"], labels, scores, people)


def test_a_metric_that_writes_into_its_arguments_harms_nobody():
    labels, scores, patients = cohort(4)
    before = labels.copy(), scores.copy()

    def greedy(y, s):
        value = s.mean()
        s[:] = 0
        y[:] = 0
        return value

    got = cluster_bootstrap(greedy, labels, scores, patients, resamples=30)
    assert got == cluster_bootstrap(mean_score, labels, scores, patients, resamples=30)
    assert all((x == y).all() for x, y in zip(before, (labels, scores), strict=True))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_difference_is_paired_antisymmetric_and_one_for_equal_models(method):
    labels, a, patients = cohort(5, people=60)
    b = a + np.random.default_rng(0).normal(size=len(a))
    options = {"resamples": 400, "method": method}
    got = bootstrap_difference("auroc", labels, a, b, patients, **options)
    assert got.difference == pytest.approx(area(labels, a) - area(labels, b))
    swapped = bootstrap_difference("auroc", labels, b, a, patients, **options)
    assert (swapped.low, swapped.high, swapped.p) == pytest.approx((-got.high, -got.low, got.p), abs=1e-9)
    apart = np.hypot(*(cluster_bootstrap("auroc", labels, x, patients, **options).se for x in (a, b)))
    assert got.se < 0.8 * apart
    same = bootstrap_difference("auroc", labels, a, 2 * a, patients, **options)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["percentile", "bca"]))
def test_p_and_the_interval_agree(seed, method):
    labels, a, patients = cohort(seed, people=30)
    b = a + np.random.default_rng(seed).normal(size=len(a))
    p = bootstrap_difference("auroc", labels, a, b, patients, resamples=400, method=method).p
    for alpha, inside in ((0.8 * p - 0.015, True), (1.25 * p + 0.02, False)):  # a few draws to either side of p
        if 0 < alpha < 1:
            options = {"resamples": 400, "method": method, "level": 1 - alpha}
            got = bootstrap_difference("auroc", labels, a, b, patients, **options)
            assert (got.low <= 0 <= got.high) == inside


def test_p_of_the_percentiles_by_hand():
    labels, a, patients = cohort(11, people=40)
    b = a + np.random.default_rng(1).normal(size=len(a))
    drawn, made = all_draws(labels, patients, True, 300)
    values = evaluator(area, labels, a, made.codes)(drawn) - evaluator(area, labels, b, made.codes)(drawn)
    expected = 2 * min((values <= 0).sum() + 1, (values >= 0).sum() + 1) / 301
    assert bootstrap_difference("auroc", labels, a, b, patients, resamples=300).p == pytest.approx(min(1, expected))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [1, 1, 1, 1]}, "only class 1"),
        ({"labels": [0, 1, 2, 1]}, "0 or 1"),
        ({"labels": [0.5, 1, 0, 1]}, "make no strata"),
        ({"labels": [0, 1, np.nan, 1]}, "labels are NaN"),
        ({"labels": []}, "at least one"),
        ({"scores": [0.1, 0.2, np.nan, 0.4]}, "1 scores are NaN"),
        ({"scores": [0.1, 0.2]}, "lengths differ"),
        ({"scores": np.eye(4)}, "one score per sample"),
        ({"patients": ["a", "b", None, "d"]}, "1 of the patients are missing"),
        ({"patients": ["a"] * 4}, "one patient"),
        ({"resamples": 1}, "at least 2"),
        ({"level": 1.0}, "level"),
        ({"method": "bcca"}, "Did you mean 'bca'"),
        ({"metric": "auc"}, "give auroc, auprc, sens_at"),
        ({"metric": "qwk"}, "scores of the classes"),
        ({"folds": ["a"] * 3}, "lengths differ"),
        ({"metric": lambda labels, scores: np.nan}, "nan on all samples"),
        ({"metric": area, "method": "bca", "labels": [0, 0, 0, 1]}, "use method='percentile'"),
    ],
)
def test_bad_input_is_refused(change, words):
    good = {"metric": "auroc", "labels": [0, 1, 0, 1], "scores": [0.1, 0.4, 0.3, 0.2], "patients": list("abcd")}
    arguments = {**good, **change}
    with pytest.raises(ValueError, match=words):
        cluster_bootstrap(**arguments)
    scores = arguments.pop("scores")
    with pytest.raises(ValueError, match=words):
        bootstrap_difference(scores_a=scores, scores_b=scores, **arguments)


def test_a_metric_that_no_draw_allows_is_refused():
    calls = []

    def once(labels, scores):
        calls.append(1)
        return 1.0 if len(calls) == 1 else float("nan")

    with pytest.raises(ValueError, match="undefined on 20 of 20 draws"):
        cluster_bootstrap(once, [0, 1], [0.0, 1.0], [0, 1], resamples=20)
