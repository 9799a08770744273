"""DINOv2's 52 linear heads: the update of SGD, all at once as one alone, and the choice by inner validation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tests.evaluation.bags import auroc, folds_of, spread_by_chance
from tests.evaluation.conftest import build_samples

from orthoray.errors import RunError
from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.fits import Fits, fit_folds
from orthoray.evaluation.frozen_settings import SgdConfig
from orthoray.evaluation.probe import row_weights
from orthoray.evaluation.protocol import inner_folds
from orthoray.evaluation.sgd_heads import HEADS, Head, columns, fit_heads, start, steps
from orthoray.evaluation.task_features import TaskFeatures

DIM = 4


def of_blocks(labels, strength=0.0, seed=0, where=4 * DIM):
    """(N, 5 D) features of noise; one column, by default the mean patch token's first, knows the label."""
    features = np.random.default_rng(seed).normal(size=(len(labels), 5 * DIM))
    features[:, where] += strength * np.asarray(labels)
    return features


def fit(samples, features, folds, seed=0, probe=None, **sgd):
    data = TaskFeatures(samples, "mean", lambda: features, lambda: features)
    options = Fits(probe or ProbeConfig(), KnnConfig(), None, sgd=SgdConfig(**sgd))
    return fit_folds(["sgd"], data, folds, 2, options, seed)["sgd"]


def planted(n=120, strength=3.0, **more):
    labels = np.random.default_rng(1).permutation(np.arange(n) % 2)
    return build_samples(labels, np.arange(n)), of_blocks(labels, strength, **more)


def test_there_are_13_rates_times_4_inputs():
    assert len(HEADS) == len(set(HEADS)) == 52
    assert len({head.rate for head in HEADS}) == 13
    assert {(head.blocks, head.patches) for head in HEADS} == {(1, False), (1, True), (4, False), (4, True)}
    assert (min(head.rate for head in HEADS), max(head.rate for head in HEADS)) == (1e-5, 0.1)


@pytest.mark.parametrize(
    ("blocks", "patches", "seen"),
    [(1, False, "d"), (1, True, "dp"), (4, False, "abcd"), (4, True, "abcdp")],
)
def test_a_head_sees_its_blocks_and_the_mean_patch_token(blocks, patches, seen):
    row = np.repeat(list("abcdp"), 3)
    assert "".join(row[columns(Head(0.1, blocks, patches), 15)][::3]) == seen
    assert len(row[columns(Head(0.1, blocks, patches), 15)]) == 3 * len(seen)


def test_steps_walk_through_all_rows_before_any_comes_again():
    order = steps(10, 4, 6, 0)
    assert order.shape == (6, 4)
    flat = order.flatten()
    assert sorted(flat[:10].tolist()) == sorted(flat[10:20].tolist()) == list(range(10))
    assert torch.equal(order, steps(10, 4, 6, 0))
    assert not torch.equal(order, steps(10, 4, 6, 1))
    assert steps(3, 128, 5, 0).shape == (5, 3)


def test_one_head_is_torchs_sgd_with_a_cosine():
    """The same by `torch.optim.SGD`, autograd and `CosineAnnealingLR`, in float64."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(50, 5 * DIM))), torch.from_numpy(rng.integers(0, 3, 50))
    weights = torch.from_numpy(rng.uniform(0.5, 2.0, 50))
    head, order = Head(0.05, 4, True), steps(50, 16, 80, 3)
    found = fit_heads(x, y, weights, [head], 3, order, 7)[0]

    layer = torch.nn.Linear(5 * DIM, 3).double()
    with torch.no_grad():
        layer.weight.copy_(start(head, 5 * DIM, 3, 7))
        layer.bias.zero_()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.05 * 16 / 256, momentum=0.9, weight_decay=0.0)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 80, eta_min=0.0)
    for rows in order:
        losses = torch.nn.functional.cross_entropy(layer(x[rows]), y[rows], reduction="none")
        optimiser.zero_grad()
        (losses * weights[rows]).mean().backward()
        optimiser.step()
        fall.step()
    torch.testing.assert_close(found.weight, layer.weight.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.bias, layer.bias.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.logits(x), layer(x).detach())


def test_all_heads_at_once_are_each_of_them_alone():
    samples, features = planted(strength=1.0)
    x, y = torch.from_numpy(features.astype(np.float32)), torch.from_numpy(samples.label)
    weights, order = torch.ones(len(y)), steps(len(y), 32, 200, 0)
    together = fit_heads(x, y, weights, HEADS, 2, order, 0)
    for head, one in zip(HEADS, together, strict=True):
        alone = fit_heads(x, y, weights, [head], 2, order, 0)[0]
        assert one.head == alone.head == head
        torch.testing.assert_close(one.weight, alone.weight, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.bias, alone.bias, rtol=0, atol=1e-5)
    backwards = fit_heads(x, y, weights, HEADS[::-1], 2, order, 0)
    assert [one.head for one in backwards] == HEADS[::-1]


def test_the_chosen_head_sees_what_knows_the_label():
    """Only the mean patch token differs, by 3 SDs: AUROC Φ(3 / √2) = 0.983 is possible, without it 0.5."""
    samples, features = planted()
    folds = folds_of(samples)
    found = fit(samples, features, folds)
    assert all(one.facts["patches"] for one in found)
    assert auroc(samples, folds, found) > 0.95
    for one, fold in zip(found, folds, strict=True):
        assert one.scores.shape == (len(fold.test), 2)
        np.testing.assert_allclose(one.scores.sum(axis=1), 1.0)
        assert one.facts["heads"] == 52
        assert one.facts["inner_score"] > -np.log(2)  # better than not to know


def test_the_chosen_head_looks_at_earlier_blocks_if_the_label_is_there():
    samples, features = planted(where=0)  # the fourth-last block's class token
    assert {one.facts["blocks"] for one in fit(samples, features, folds_of(samples))} == {4}


def test_the_choice_is_the_best_of_all_heads_on_the_inner_folds():
    """Every head fitted and scored one by one, on two inner folds of patients."""
    samples, features = planted(n=60, strength=1.0)
    probe = ProbeConfig(inner_folds=2)
    fold = folds_of(samples)[0]
    one = fit(samples, features, [fold], probe=probe, iterations=60)[0]
    means = []
    for head in HEADS:
        losses = []
        for learn, held in inner_folds(samples, fold.train, probe, 0):
            rows, validate = fold.train[learn], fold.train[held]
            x, y = torch.from_numpy(features[rows].astype(np.float32)), torch.from_numpy(samples.label[rows])
            weights = torch.from_numpy(row_weights(samples.label, rows, probe)[rows])
            order = steps(len(rows), 128, 60, 0)
            linear = fit_heads(x, y, weights, [head], 2, order, 0)[0]
            logits = linear.logits(torch.from_numpy(features[validate].astype(np.float32))).double()
            target = torch.from_numpy(samples.label[validate])
            losses += torch.nn.functional.cross_entropy(logits, target, reduction="none").tolist()
        means.append(np.mean(losses))
    best = HEADS[int(np.argmin(means))]
    assert (one.facts["rate"], one.facts["blocks"], one.facts["patches"]) == best
    assert one.facts["inner_score"] == pytest.approx(-min(means), abs=1e-5)


def test_test_rows_have_no_influence_and_a_seed_decides():
    samples, features = planted(n=60)
    fold = folds_of(samples)[0]
    wild = copy.deepcopy(features)
    wild[fold.test[0]] = 1e4
    clean, dirty, again = (fit(samples, x, [fold], iterations=50)[0] for x in (features, wild, features))
    np.testing.assert_array_equal(clean.scores, again.scores)
    np.testing.assert_array_equal(clean.scores[1:], dirty.scores[1:])
    assert clean.facts == dirty.facts == again.facts
    other = fit(samples, features, [fold], seed=1, iterations=50)[0]
    assert not np.allclose(clean.scores, other.scores, atol=1e-9)


def test_on_noise_the_head_is_at_chance():
    samples, features = planted(n=240, strength=0.0)
    folds = folds_of(samples)
    by_chance = spread_by_chance(40, 40) / np.sqrt(3)  # the mean of three folds
    assert abs(auroc(samples, folds, fit(samples, features, folds)) - 0.5) < 3 * by_chance


def test_heads_that_diverge_are_not_chosen_and_all_of_them_are_an_error():
    samples, features = planted(n=60)
    folds = folds_of(samples)
    with pytest.raises(RunError, match=r"all 52 heads have diverged.*Use lp"):
        fit(samples, features * 1e30, folds, iterations=50)
    huge = features.copy()
    huge[:, :DIM] *= 1e25  # the fourth-last block: only heads of one block are left
    for one in fit(samples, huge, folds, iterations=300):
        assert (one.facts["blocks"], one.facts["heads_diverged"]) == (1, 26)


def test_without_blocks_the_protocol_is_an_error():
    samples, features = planted(n=60)
    data = TaskFeatures(samples, "mean", lambda: features)
    with pytest.raises(RunError, match="no features of several blocks"):
        fit_folds(["sgd"], data, folds_of(samples), 2, Fits(ProbeConfig(), KnnConfig(), None), 0)
