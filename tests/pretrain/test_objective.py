"""The objective against independent double-precision numpy, and the properties that keep it from collapsing."""

import numpy as np
import pytest
import torch

from orthoray.pretrain.objective import Centre, dino_loss, koleo_loss, sinkhorn_knopp, teacher_targets
from orthoray.pretrain.schedules import cosine, linear, warmup_cosine


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_loss_equals_the_sum_over_pairs_of_different_views():
    rng = np.random.default_rng(0)
    batch, prototypes, n_global, n_views = 5, 7, 2, 5
    teacher = rng.normal(size=(n_global, batch, prototypes))
    student = rng.normal(size=(n_views, batch, prototypes))
    centre = rng.normal(size=prototypes)
    terms = []
    for g in range(n_global):
        target = softmax((teacher[g] - centre) / 0.05)
        for v in range(n_views):
            if v != g:
                terms.append(-(target * np.log(softmax(student[v] / 0.1))).sum(axis=-1).mean())
    running = Centre(prototypes, 0.9, torch.device("cpu"))
    running.value = torch.tensor(centre, dtype=torch.float32)[None]
    targets = teacher_targets(
        torch.tensor(teacher.reshape(-1, prototypes), dtype=torch.float32), 0.05, "centre", running, n_global
    )
    flat = torch.tensor(student.reshape(-1, prototypes), dtype=torch.float32)
    assert float(dino_loss(targets, flat, 0.1, n_global, n_views)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_centre_is_an_exponential_mean():
    centre = Centre(3, 0.9, torch.device("cpu"))
    first, second = torch.rand(4, 3), torch.rand(4, 3)
    centre.update(first)
    centre.update(second)
    torch.testing.assert_close(centre.value[0], 0.09 * first.mean(0) + 0.1 * second.mean(0))


def test_sinkhorn_knopp_gives_every_prototype_the_same_share():
    scores = torch.tensor(np.random.default_rng(1).normal(size=(64, 8)), dtype=torch.float32) * 0.1
    found = sinkhorn_knopp(scores, 0.1, rounds=50)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(found.sum(dim=0), torch.full((8,), 8.0), atol=1e-3, rtol=0)


def test_sinkhorn_knopp_keeps_a_preference():
    scores = torch.eye(4) * 0.5
    assert sinkhorn_knopp(scores, 0.05).argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_koleo_is_the_log_distance_to_the_nearest_neighbour():
    points = np.random.default_rng(2).normal(size=(6, 4))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    distance = np.linalg.norm(unit[:, None] - unit[None], axis=-1) + np.eye(6) * 9
    expected = -np.log(distance.min(axis=1)).mean()
    assert float(koleo_loss(torch.tensor(points))) == pytest.approx(expected, rel=1e-4)


def test_schedules_at_their_ends_and_middles():
    assert cosine(1.0, 0.0, 0, 10) == 1.0
    assert cosine(1.0, 0.0, 5, 10) == pytest.approx(0.5)
    assert cosine(0.996, 1.0, 10, 10) == 1.0
    assert linear(0.04, 0.07, 15, 30) == pytest.approx(0.055)
    assert linear(0.04, 0.07, 31, 30) == 0.07
    assert warmup_cosine(1.0, 0.0, 0, 10, 100) == pytest.approx(0.1)
    assert warmup_cosine(1.0, 0.0, 9, 10, 100) == 1.0
    assert warmup_cosine(1.0, 0.1, 100, 10, 100) == pytest.approx(0.1)
