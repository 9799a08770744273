"""Metrics against values worked out by hand and against an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray.errors import InputError
from orthoray.evaluation.metrics import BINARY, MULTICLASS, compute


def one_hot(predicted, k):
    return np.eye(k)[np.asarray(predicted)]


def two(scores):
    p = np.asarray(scores, dtype=float)
    return np.column_stack([1 - p, p])


def test_qwk_by_hand():
    # Off-diagonal counts: one 0→1 (weight 1), one 2→0 (weight 4): observed 5.
    # Marginals 2,2,2 and 2,3,1: expected (2*7 + 2*3 + 2*11) / 6 = 7. kappa = 1 - 5/7.
    labels = np.array([0, 0, 1, 1, 2, 2])
    got = compute(["qwk"], labels, one_hot([0, 1, 1, 1, 2, 0], 3))["qwk"]
    assert got == pytest.approx(2 / 7)


def test_multiclass_by_hand():
    # Recalls 1/2, 2/2, 1/2; precisions 1/2, 2/3, 1/1; F1 1/2, 4/5, 2/3.
    labels = np.array([0, 0, 1, 1, 2, 2])
    got = compute(MULTICLASS, labels, one_hot([0, 1, 1, 1, 2, 0], 3))
    assert got["accuracy"] == pytest.approx(4 / 6)
    assert got["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert got["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    assert got["weighted_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)


def test_weighted_f1_uses_class_frequencies():
    # Class 0: 3 samples, all right except one called 1: F1 = 2*2/(2*2+1) = 4/5. Class 1: 1 sample, right: F1 = 2/3.
    got = compute(["weighted_f1", "macro_f1"], np.array([0, 0, 0, 1]), one_hot([0, 0, 1, 1], 2))
    assert got["weighted_f1"] == pytest.approx((3 * 4 / 5 + 1 * 2 / 3) / 4)
    assert got["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_auroc_counts_ties_as_half():
    # Pairs (positive, negative): 0.5 vs 0.5 tie, 0.5 vs 0.1 won, 0.9 vs both won: (0.5 + 1 + 2) / 4.
    got = compute(["auroc"], np.array([0, 1, 0, 1]), two([0.5, 0.5, 0.1, 0.9]))["auroc"]
    assert got == pytest.approx(3.5 / 4)


def test_operating_points_by_hand():
    # Ranked 1 1 0 1 0 1 and eight more negatives: one false positive of ten is allowed, which finds three of four.
    labels = np.array([1, 1, 0, 1, 0, 1, *[0] * 8])
    scores = two(np.linspace(0.9, 0.1, len(labels)))
    got = compute(["sens_at_spec90", "spec_at_sens90"], labels, scores)
    assert got["sens_at_spec90"] == pytest.approx(3 / 4)
    assert got["spec_at_sens90"] == pytest.approx(8 / 10)  # all four positives are needed: two negatives stand above
    tied = compute(["sens_at_spec90", "spec_at_sens90"], labels, two([0.5] * len(labels)))
    assert tied == {"sens_at_spec90": 0.0, "spec_at_sens90": 0.0}


def test_brier_and_distances_by_hand():
    assert compute(["brier"], np.array([1, 0]), two([0.8, 0.4]))["brier"] == pytest.approx((0.04 + 0.16) / 2)
    labels, guess = np.array([0, 1, 2, 3]), one_hot([0, 3, 1, 0], 4)
    got = compute(["mae", "within_one"], labels, guess)
    assert got == {"mae": pytest.approx((0 + 2 + 1 + 3) / 4), "within_one": pytest.approx(2 / 4)}


def test_one_against_the_rest_is_the_mean_over_the_classes_that_occur():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([[0.6, 0.2, 0.2], [0.3, 0.4, 0.3], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2]])
    # class 0 wins 3 of 4 pairs (0.6 over 0.2 and 0.5, 0.3 over 0.2), class 1 too (0.5 over 0.2 and 0.4, 0.3 over 0.2)
    assert compute(["auroc_ovr"], labels, scores)["auroc_ovr"] == pytest.approx(0.75)


def test_auprc_by_hand():
    # Ranked 1,0,1,0: precision 1 at recall 1/2, 2/3 at recall 1.
    got = compute(["auprc"], np.array([1, 0, 1, 0]), two([0.9, 0.8, 0.7, 0.1]))["auprc"]
    assert got == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=4, max_size=40))
def test_auroc_equals_pair_counting(rows):
    labels = np.array([label for label, _ in rows])
    if len(set(labels)) < 2:
        return
    scores = np.array([score / 6 for _, score in rows])
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert compute(["auroc"], labels, two(scores))["auroc"] == pytest.approx(wins)


def test_perfect_and_reversed_ranking():
    labels = np.array([0, 0, 1, 1])
    perfect = compute(BINARY, labels, two([0.1, 0.2, 0.8, 0.9]))
    assert all(value == pytest.approx(1.0) for name, value in perfect.items() if name != "brier")
    assert perfect["brier"] == pytest.approx((0.01 + 0.04 + 0.04 + 0.01) / 4)
    assert compute(["auroc"], labels, two([0.9, 0.8, 0.2, 0.1]))["auroc"] == 0.0


@pytest.mark.parametrize(
    ("names", "labels", "scores", "words"),
    [
        (["auroc"], [1, 1, 1], two([0.1, 0.2, 0.3]), "one class"),
        (["accuracy"], [0, 3], np.eye(3)[[0, 1]], "0..2"),
        (["accuracy"], [0, 1], np.array([[0.5, np.nan], [0.1, 0.9]]), "not finite"),
        (["accuracy"], [0, 1, 1], np.eye(2), "do not fit"),
        (["aurocs"], [0, 1], np.eye(2), "Did you mean 'auroc'"),
        (["auroc"], [0, 1, 2], np.eye(3), "two classes"),
    ],
)
def test_bad_input_is_refused(names, labels, scores, words):
    with pytest.raises(InputError, match=words):
        compute(names, np.array(labels), scores)
