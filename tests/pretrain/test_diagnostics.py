"""Measures of collapse against values worked out independently, and their limits."""

import math

import numpy as np
import pytest
import torch
from tests.pretrain.diagnostics_workers import PROTOTYPES, STEPS, answers, work
from tests.pretrain.two_workers import crops, learner_for, values
from torch import multiprocessing, nn

from orthoray.models.checks import position_sensitivity
from orthoray.pretrain.diagnostics import (
    Diagnostics,
    PrototypeUsage,
    RecentFeatures,
    entropy,
    feature_spread,
    rankme,
    student_teacher_kl,
)
from orthoray.pretrain.losses.chunked_targets import chunked_targets
from orthoray.pretrain.losses.dino import Centre

CPU = torch.device("cpu")


def test_entropy_is_that_of_the_definition_and_reaches_its_ends():
    targets = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4]])
    golden = (1.5 * math.log(2) - sum(p * math.log(p) for p in (0.1, 0.2, 0.3, 0.4))) / 2
    assert float(entropy(targets)) == pytest.approx(golden, rel=1e-6)
    assert float(entropy(torch.full((3, 64), 1 / 64))) == pytest.approx(math.log(64), rel=1e-6)
    assert float(entropy(torch.eye(4))) == 0.0


def test_kl_is_that_of_the_definition_and_zero_for_equals():
    rng = np.random.default_rng(0)
    targets, scores = rng.dirichlet(np.ones(5), 7), rng.normal(size=(7, 5))
    student = np.exp(scores / 0.1)
    student /= student.sum(axis=1, keepdims=True)
    golden = (targets * np.log(targets / student)).sum(axis=1).mean()
    found = student_teacher_kl(torch.from_numpy(targets), torch.from_numpy(scores), 0.1)
    assert float(found) == pytest.approx(golden, rel=1e-5)
    same = torch.from_numpy(np.log(targets) * 0.1)
    assert float(student_teacher_kl(torch.from_numpy(targets), same, 0.1)) == pytest.approx(0.0, abs=1e-5)


def test_the_spread_is_the_root_of_one_minus_the_mean_direction_s_square():
    features = np.random.default_rng(1).normal(size=(50, 8)) + 2.0
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    golden = math.sqrt(1.0 - np.linalg.norm(unit.mean(axis=0)) ** 2)
    assert float(feature_spread(torch.from_numpy(features))) == pytest.approx(golden, rel=1e-5)
    assert float(feature_spread(torch.ones(9, 4) * torch.rand(9, 1))) == pytest.approx(0.0, abs=1e-3)
    assert float(feature_spread(torch.zeros(9, 4))) == 0.0


def golden_rankme(features):
    values = np.linalg.svd(features, compute_uv=False)
    shares = values / values.sum() + 1e-7
    return math.exp(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("shape", [(300, 20), (20, 300), (64, 64)])
def test_rankme_is_that_of_the_singular_values(shape):
    rng = np.random.default_rng(2)
    features = rng.normal(size=shape) * np.exp(-np.arange(shape[1]) / 5.0) + 0.5
    assert float(rankme(torch.from_numpy(features))) == pytest.approx(golden_rankme(features), rel=1e-4)
    centred = features - features.mean(axis=0)
    assert float(rankme(torch.from_numpy(features), centred=True)) == pytest.approx(golden_rankme(centred), rel=1e-4)


def test_rankme_counts_the_directions_of_equal_strength():
    equal = torch.eye(32)[:7].repeat(5, 1)
    assert float(rankme(equal)) == pytest.approx(7.0, rel=1e-3)
    line = torch.randn(40, 1) @ torch.randn(1, 16)
    assert float(rankme(line)) == pytest.approx(1.0, abs=1e-3)
    assert float(rankme(torch.zeros(5, 3))) == pytest.approx(1.0, abs=1e-4)
    assert float(rankme(line + 100.0)) < 1.2 < float(rankme(torch.randn(40, 16) + 100.0, centred=True))


def test_a_prototype_counts_for_as_many_steps_as_the_window_has():
    usage = PrototypeUsage(8, 3, CPU)
    shares = []
    for best in ([0, 1], [1, 1], [2, 2], [1, 1], [1, 1], [1, 1]):
        usage.add(torch.eye(8)[best])
        shares.append(float(usage.measures()[0]) * 8)
    assert shares == pytest.approx([2, 2, 3, 2, 2, 1])


def test_the_mean_assignment_is_the_mean_of_the_window_and_then_exponential():
    targets = [torch.from_numpy(np.random.default_rng(step).dirichlet(np.ones(6), 4)).float() for step in range(6)]
    usage, mean = PrototypeUsage(6, 4, CPU), None
    for step, target in enumerate(targets):
        usage.add(target)
        new = target.double().mean(dim=0)
        mean = new if mean is None else mean + (new - mean) / min(step + 1, 4)
        golden = math.exp(-float((mean * mean.log()).sum()))
        assert float(usage.measures()[1]) == pytest.approx(golden, rel=1e-5)
    assert float(PrototypeUsage(6, 4, CPU).measures()[0]) == 0.0


def test_all_on_one_prototype_is_a_perplexity_of_one():
    usage = PrototypeUsage(100, 10, CPU)
    for _ in range(5):
        usage.add(torch.eye(100)[[7] * 16])
    share, perplexity = usage.measures()
    assert float(share) == pytest.approx(0.01)
    assert float(perplexity) == pytest.approx(1.0)


def test_uncomputed_targets_count_like_computed_ones():
    random = torch.Generator().manual_seed(0)
    bottlenecks = nn.functional.normalize(torch.randn(8, 5, generator=random), dim=-1)
    prototypes = nn.functional.normalize(torch.randn(32, 5, generator=random), dim=-1)
    lazy = chunked_targets(bottlenecks, prototypes, 0.05, "centre", Centre(32, 0.9, CPU), 2)
    whole, parts = PrototypeUsage(32, 4, CPU), PrototypeUsage(32, 4, CPU)
    whole.add(torch.softmax(bottlenecks @ prototypes.t() / 0.05, dim=-1))
    parts.add(lazy)
    torch.testing.assert_close(torch.stack(parts.measures()), torch.stack(whole.measures()))


def test_the_ring_keeps_the_newest_rows():
    ring, stream = RecentFeatures(5, 2, CPU), torch.arange(40.0).reshape(20, 2)
    assert ring.values().shape == (0, 2)
    for start, end in ((0, 3), (3, 7), (7, 8), (8, 20)):
        ring.add(stream[start:end])
        kept = sorted(ring.values()[:, 0].tolist())
        assert kept == stream[max(0, end - 5) : end, 0].tolist()


def test_a_row_of_one_worker(tmp_path):
    watch = Diagnostics(PROTOTYPES, 6, CPU, window=3, rows=64)
    for step in range(STEPS):
        watch.add(*answers(step))
    row = watch.row(torch.full((1, PROTOTYPES), 0.5))
    best = torch.cat([answers(step)[0].argmax(dim=-1) for step in range(STEPS - 3, STEPS)])
    tokens = torch.cat([answers(step)[2] for step in range(STEPS)])
    assert row["prototypes_used"] == pytest.approx(len(best.unique()) / PROTOTYPES)
    assert row["rankme"] == pytest.approx(float(rankme(tokens)), rel=1e-5)
    assert row["rankme_centred"] == pytest.approx(float(rankme(tokens, centred=True)), rel=1e-5)
    assert (row["rankme_rows"], row["centre_norm"]) == (60.0, pytest.approx(2.0))
    assert row["score_spread"] == pytest.approx(float(feature_spread(answers(STEPS - 1)[1])), rel=1e-5)
    assert "centre_norm" not in watch.row()


@pytest.mark.slow
def test_two_workers_measure_the_use_of_prototypes_together(tmp_path):
    work(0, 1, str(tmp_path / "one"), str(tmp_path))
    multiprocessing.spawn(work, (2, str(tmp_path / "two"), str(tmp_path)), nprocs=2)
    alone, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    assert first == second
    for name in ("prototypes_used", "assignment_perplexity", "centre_norm"):
        assert first[name] == pytest.approx(alone[name], rel=1e-5), name
    assert first["rankme_rows"] == alone["rankme_rows"] / 2


def test_measuring_changes_nothing_that_learns(config_of):
    """The same weights after the same steps, watched or not."""
    found = []
    for watched in (False, True):
        learner = learner_for(config_of())
        watch, draw = Diagnostics(64, 32, CPU), torch.Generator().manual_seed(0)
        for step in range(2):
            learner.step(*crops(step), values())
            if watched:
                with torch.no_grad():
                    seen = learner.teacher([crops(step)[0]])
                watch.add(torch.softmax(seen.scores, dim=-1), seen.scores, seen.tokens)
                watch.row(learner.objective.centres["views"].value)
                position_sensitivity(learner.teacher.backbone, crops(step)[0], 8, draw)
        found.append(learner.network.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
