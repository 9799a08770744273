"""DINO's loss, targets and centre against double-precision numpy."""

import numpy as np
import pytest
import torch
from tests.pretrain.losses import formulas

from orthoray.pretrain.losses.dino import Centre, by_view, dino_loss, teacher_targets

CPU = torch.device("cpu")


@pytest.mark.parametrize(("n_global", "n_views"), [(2, 5), (2, 2), (1, 3), (3, 4)])
def test_loss_equals_the_sum_over_pairs_of_different_views(n_global, n_views):
    rng = np.random.default_rng(n_views)
    batch, prototypes = 5, 7
    teacher = rng.normal(size=(n_global, batch, prototypes))
    student = rng.normal(size=(n_views, batch, prototypes))
    centre = Centre(prototypes, 0.9, CPU)
    centre.value = torch.tensor(rng.normal(size=(1, prototypes)), dtype=torch.float32)
    targets = teacher_targets(torch.tensor(teacher).flatten(0, 1), 0.05, "centre", centre, n_global)
    expected = formulas.softmax((teacher - centre.value.double().numpy()) / 0.05)
    np.testing.assert_allclose(targets, expected.reshape(-1, prototypes), atol=1e-12)
    flat = torch.tensor(student).flatten(0, 1)
    assert float(dino_loss(targets, flat, 0.1, n_global, n_views)) == pytest.approx(
        formulas.dino(expected, student, 0.1), rel=1e-12
    )
    found = dino_loss(targets.float(), flat.float(), 0.1, n_global, n_views)
    assert float(found) == pytest.approx(formulas.dino(expected, student, 0.1), rel=1e-6)


def test_gradient_is_right():
    torch.manual_seed(0)
    targets = torch.softmax(torch.randn(6, 5, dtype=torch.float64), dim=-1)
    scores = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: dino_loss(targets, s, 0.1, 2, 4), scores)


def test_half_precision_scores_are_taken_as_float32():
    torch.manual_seed(0)
    targets, scores = torch.softmax(torch.randn(6, 64) / 0.05, dim=-1), torch.randn(9, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = dino_loss(targets, scores, 0.1, 2, 3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, dino_loss(targets, scores.float(), 0.1, 2, 3))


def test_centre_is_an_exponential_mean():
    centre = Centre(3, 0.9, CPU)
    first, second = torch.rand(4, 3), torch.rand(7, 3)
    centre.update(first)
    centre.update(second)
    torch.testing.assert_close(centre.value[0], 0.09 * first.mean(0) + 0.1 * second.mean(0))


def test_without_rows_the_centre_stays():
    centre = Centre(3, 0.9, CPU)
    centre.update(torch.rand(4, 3))
    before = centre.value.clone()
    centre.update(torch.rand(0, 3))
    assert torch.equal(centre.value, before)
    assert before.abs().min() > 0


def test_sinkhorn_balances_view_by_view_or_all_views_together():
    scores, centre = torch.rand(8, 5, dtype=torch.float64), Centre(5, 0.9, CPU)
    one_by_one = teacher_targets(scores, 0.1, "sinkhorn_knopp", centre, 2)
    np.testing.assert_allclose(one_by_one[:4], formulas.sinkhorn(scores[:4].numpy(), 0.1), atol=1e-12)
    np.testing.assert_allclose(one_by_one[4:], formulas.sinkhorn(scores[4:].numpy(), 0.1), atol=1e-12)
    together = teacher_targets(scores, 0.1, "sinkhorn_knopp", centre, 1)
    np.testing.assert_allclose(together, formulas.sinkhorn(scores.numpy(), 0.1), atol=1e-12)


def test_views_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="7 rows are not 2 views"):
        by_view(torch.rand(7, 3), 2)
