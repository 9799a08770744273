"""Scores without normalised prototypes equal those with, gradients too."""

import pytest
import torch
from torch.nn import functional

from orthoray.pretrain.cosines import cosines


def inputs(dtype, rows=7, prototypes=11, width=5):
    draw = torch.Generator().manual_seed(0)
    bottlenecks = functional.normalize(torch.randn(rows, width, generator=draw, dtype=dtype), dim=-1)
    lengths = torch.logspace(-3, 2, prototypes, dtype=dtype)[:, None]
    found = lengths * torch.randn(prototypes, width, generator=draw, dtype=dtype)
    return bottlenecks.requires_grad_(), found.requires_grad_()


def plainly(bottlenecks, prototypes):
    return bottlenecks @ functional.normalize(prototypes, dim=-1).t()


def loss(scores):
    return (scores * torch.linspace(-1, 3, scores.numel(), dtype=scores.dtype).view_as(scores)).exp().mean()


def test_scores_and_gradients_are_those_of_normalised_prototypes():
    given = inputs(torch.float64)
    found, wanted = cosines(*given), plainly(*given)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        torch.autograd.grad(loss(found), given), torch.autograd.grad(loss(wanted), given), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-14)
    assert torch.autograd.gradcheck(cosines, given)


def test_a_gradient_has_no_part_along_its_prototype():
    bottlenecks, prototypes = inputs(torch.float32)
    (slope,) = torch.autograd.grad(loss(cosines(bottlenecks, prototypes)), prototypes)
    along = (slope * prototypes).sum(-1).abs() / (slope.norm(dim=-1) * prototypes.norm(dim=-1))
    assert float(along.detach().max()) < 1e-5


def test_a_prototype_of_length_zero_scores_zero_and_hurts_no_other():
    bottlenecks, prototypes = inputs(torch.float64)
    with torch.no_grad():
        prototypes[3] = 0.0
    scores = cosines(bottlenecks, prototypes)
    assert torch.equal(scores[:, 3], torch.zeros(7, dtype=torch.float64))
    torch.testing.assert_close(scores, plainly(bottlenecks, prototypes), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("part", [0, 1])
def test_within_autocast_only_factors_are_rounded(part):
    given = inputs(torch.float32, 32, 64, 48)
    (wanted,) = torch.autograd.grad(loss(plainly(*given)), given[part])
    with torch.autocast("cpu", torch.bfloat16):
        scores = cosines(*given)
    assert scores.dtype == torch.float32
    assert float((scores - plainly(*given)).detach().abs().max()) < 2**-7
    (found,) = torch.autograd.grad(loss(scores), given[part])
    assert float((found - wanted).norm() / wanted.norm()) < 2**-6
