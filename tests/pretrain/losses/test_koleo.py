"""KoLeo against double-precision numpy, and at points that coincide."""

import numpy as np
import pytest
import torch
from tests.pretrain.losses import formulas

from orthoray.pretrain.losses.koleo import CLOSEST, koleo_loss


def test_it_is_the_log_distance_to_the_nearest_neighbour():
    points = np.random.default_rng(2).normal(size=(40, 4)) * 50
    expected = formulas.koleo(points)
    assert float(koleo_loss(torch.tensor(points))) == pytest.approx(expected, rel=1e-9)
    assert float(koleo_loss(torch.tensor(points, dtype=torch.float32))) == pytest.approx(expected, rel=1e-5)


def test_gradient_is_right():
    points = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(koleo_loss, points)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_points_give_finite_values_and_gradients(dtype):
    points = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    points[1] = points[0]
    points[3] = 2.0 * points[2]  # the same direction
    points[5] = 0.0
    points = points.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = koleo_loss(points)
    loss.backward()
    assert 4 * 13.0 / 6 < float(loss.detach()) < -np.log(CLOSEST)
    assert torch.isfinite(points.grad).all()
    assert points.grad[4].abs().max() > 0


def test_half_precision_tokens_are_taken_as_float32():
    points = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = koleo_loss(points)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, koleo_loss(points.float()))


@pytest.mark.parametrize("apart", [1e-2, 1e-4, 1e-6, 1e-8, 1e-12])
def test_gradients_stay_bounded_as_points_come_together(apart):
    points = torch.tensor([[1.0, 0.0], [1.0, apart], [-1.0, 0.0]], requires_grad=True)
    loss = koleo_loss(points)
    loss.backward()
    assert float(loss.detach()) <= -np.log(CLOSEST) + 1e-6
    assert points.grad.abs().max() <= 0.5 / CLOSEST
    if apart >= 1e-6:
        assert points.grad[1, 1] < 0.0  # a step against the gradient parts them


def test_one_point_alone_is_refused():
    with pytest.raises(ValueError, match="no neighbour"):
        koleo_loss(torch.rand(1, 4))
