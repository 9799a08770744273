"""Chunked losses equal the dense ones in value and gradient, and never hold more scores than a chunk."""

import numpy as np
import pytest
import torch
from tests.pretrain.losses import formulas
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from orthoray.pretrain.losses.chunked import chunked_dino_loss, chunked_ibot_loss
from orthoray.pretrain.losses.chunked_targets import chunked_targets
from orthoray.pretrain.losses.dino import Centre, dino_loss, teacher_targets
from orthoray.pretrain.losses.ibot import ibot_loss

STUDENT, TEACHER = 0.1, 0.05


def unit(*shape, seed=0, dtype=torch.float64):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def some_centre(prototypes):
    centre = Centre(prototypes, 0.9, torch.device("cpu"))
    centre.value = 0.1 * torch.randn(1, prototypes, generator=torch.Generator().manual_seed(9))
    return centre


class Case:
    """Bottlenecks and prototypes of teacher and student: ``n_global`` and ``n_views`` views, or masked patches."""

    def __init__(self, rows=7, prototypes=12, width=5, n_global=2, n_views=5, dtype=torch.float64):
        self.n_global, self.n_views = n_global, n_views
        self.teacher, self.teacher_prototypes = (
            unit(n_global * rows, width, seed=1, dtype=dtype),
            unit(prototypes, width, seed=2, dtype=dtype),
        )
        self.student = unit(n_views * rows, width, seed=3, dtype=dtype).requires_grad_()
        self.prototypes = unit(prototypes, width, seed=4, dtype=dtype).requires_grad_()
        self.centre = some_centre(prototypes)
        self.weights = torch.rand(rows, generator=torch.Generator().manual_seed(5))

    def dense(self, centring, n_images=None):
        scores = self.student @ self.prototypes.t()
        targets = teacher_targets(
            self.teacher @ self.teacher_prototypes.t(), TEACHER, centring, self.centre, self.n_global
        )
        entropy = -(targets * targets.log()).sum(dim=-1).mean()
        if n_images:
            return ibot_loss(targets, scores, self.weights, STUDENT, n_images), entropy
        return dino_loss(targets, scores, STUDENT, self.n_global, self.n_views), entropy

    def chunked(self, centring, chunk, n_images=None, dtype=None):
        targets = chunked_targets(
            self.teacher,
            self.teacher_prototypes,
            TEACHER,
            centring,
            self.centre,
            self.n_global,
            chunk=chunk,
            dtype=dtype,
        )
        if n_images:
            return chunked_ibot_loss(
                targets, self.student, self.prototypes, self.weights, STUDENT, n_images, chunk=chunk
            )
        return chunked_dino_loss(
            targets, self.student, self.prototypes, STUDENT, self.n_global, self.n_views, chunk=chunk
        )

    def gradients(self, loss):
        return torch.autograd.grad(loss, (self.student, self.prototypes))


def assert_equal(case, centring, chunk, n_images=None, tolerance=1e-12):
    dense, chunked = case.dense(centring, n_images), case.chunked(centring, chunk, n_images)
    torch.testing.assert_close(chunked, dense, atol=tolerance, rtol=tolerance)
    both = zip(case.gradients(chunked[0] * 3.0), case.gradients(dense[0] * 3.0), strict=True)
    for found, expected in both:
        scale = float(expected.abs().max())
        torch.testing.assert_close(found / scale, expected / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("centring", ["centre", "sinkhorn_knopp"])
@pytest.mark.parametrize("chunk", [1, 12, 12 * 5, 12 * 8, 12 * 14, 12 * 21, 10**6])
@pytest.mark.parametrize(("n_global", "n_views"), [(2, 5), (2, 2), (1, 3), (3, 4)])
def test_dino_equals_the_dense_loss_whatever_the_chunk(centring, chunk, n_global, n_views):
    assert_equal(Case(n_global=n_global, n_views=n_views), centring, chunk)


@pytest.mark.parametrize("centring", ["centre", "sinkhorn_knopp"])
@pytest.mark.parametrize("chunk", [1, 12, 12 * 3, 10**6])
def test_ibot_equals_the_dense_loss_whatever_the_chunk(centring, chunk):
    assert_equal(Case(rows=10, n_global=1, n_views=1), centring, chunk, n_images=4)


@pytest.mark.parametrize("centring", ["centre", "sinkhorn_knopp"])
@pytest.mark.parametrize("n_images", [None, 16])
def test_float32_equals_the_dense_loss_to_a_millionth(centring, n_images):
    views = {"n_global": 1, "n_views": 1} if n_images else {}
    case = Case(rows=48, prototypes=3000, width=32, dtype=torch.float32, **views)
    assert_equal(case, centring, 3000 * 20, n_images, tolerance=2e-6)


def test_dino_equals_the_formula():
    case = Case()
    teacher = (case.teacher @ case.teacher_prototypes.t()).numpy().reshape(2, 7, 12)
    targets = formulas.softmax((teacher - case.centre.value.double().numpy()) / TEACHER)
    student = (case.student @ case.prototypes.t()).detach().numpy().reshape(5, 7, 12)
    loss, entropy = case.chunked("centre", 30)
    assert float(loss.detach()) == pytest.approx(formulas.dino(targets, student, STUDENT), rel=1e-12)
    assert float(entropy) == pytest.approx(-(targets * np.log(targets)).sum(axis=-1).mean(), rel=1e-12)


@pytest.mark.parametrize(("centring", "n_images"), [("centre", None), ("sinkhorn_knopp", 3)])
def test_gradients_are_right(centring, n_images):
    case = Case(rows=3, prototypes=6, width=4, **({"n_global": 1, "n_views": 1} if n_images else {"n_views": 3}))

    def loss(student, prototypes):
        case.student, case.prototypes = student, prototypes
        return case.chunked(centring, 12, n_images)[0]

    assert torch.autograd.gradcheck(loss, (case.student, case.prototypes))


def test_gradients_pass_through_the_normalisation_of_a_head():
    case = Case()
    raw = (2.0 * torch.randn(35, 5, dtype=torch.float64), torch.randn(12, 5, dtype=torch.float64))
    found = []
    for way in (case.dense, lambda centring: case.chunked(centring, 40)):
        leaves = [values.clone().requires_grad_() for values in raw]
        case.student, case.prototypes = (normalize(leaf, dim=-1) for leaf in leaves)
        way("centre")[0].backward()
        found.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(found[1], found[0], atol=1e-12, rtol=1e-12)


def test_only_gradients_that_are_wanted_are_made():
    case = Case()
    case.prototypes = case.prototypes.detach()
    loss, entropy = case.chunked("centre", 40)
    assert not entropy.requires_grad
    case.prototypes.requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(loss, case.student)[0], case.gradients(case.dense("centre")[0])[0])
    with torch.no_grad():
        assert not case.chunked("centre", 40)[0].requires_grad
    case.student = case.student.detach()
    expected = torch.autograd.grad(case.dense("centre")[0], case.prototypes)
    torch.testing.assert_close(torch.autograd.grad(case.chunked("centre", 40)[0], case.prototypes), expected)


def test_without_masked_patches_the_loss_is_zero_and_has_a_gradient():
    case = Case(rows=0, n_global=1, n_views=1)
    for centring in ("centre", "sinkhorn_knopp"):
        loss, entropy = case.chunked(centring, 40, n_images=4)
        student, prototypes = case.gradients(loss)
        assert (float(loss.detach()), float(entropy), student.shape, float(prototypes.abs().max())) == (
            0.0,
            0.0,
            (0, 5),
            0.0,
        )


def test_factors_in_bfloat16_change_little_and_autocast_nothing():
    case = Case(rows=32, prototypes=400, width=64, dtype=torch.float32)
    exact, low = case.chunked("centre", 4000), case.chunked("centre", 4000, dtype=torch.bfloat16)
    torch.testing.assert_close(low, exact, atol=0, rtol=2e-3)
    for found, expected in zip(case.gradients(low[0]), case.gradients(exact[0]), strict=True):
        assert found.dtype == torch.float32
        assert float((found - expected).norm() / expected.norm()) < 2e-2
    with torch.autocast("cpu", torch.bfloat16):
        inside = case.chunked("sinkhorn_knopp", 4000)
        gradients = case.gradients(inside[0])
    outside = case.chunked("sinkhorn_knopp", 4000)
    assert torch.equal(inside[0], outside[0])
    assert all(torch.equal(*pair) for pair in zip(gradients, case.gradients(outside[0]), strict=True))


class Largest(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation gave back."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else [found]:
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return found


@pytest.mark.parametrize("centring", ["centre", "sinkhorn_knopp"])
@pytest.mark.parametrize("n_images", [None, 32])
def test_no_tensor_is_larger_than_a_chunk(centring, n_images):
    views = {"n_global": 1, "n_views": 1} if n_images else {}
    case = Case(rows=256, prototypes=1024, width=8, dtype=torch.float32, **views)
    chunk = 32 * 1024
    with Largest() as dense:
        case.gradients(case.dense(centring, n_images)[0])
    with Largest() as seen:
        case.gradients(case.chunked(centring, chunk, n_images)[0])
    assert dense.elements >= 256 * 1024  # the measure sees all scores where they are made
    assert seen.elements == chunk


def test_targets_of_other_views_or_rows_are_refused():
    case = Case()
    targets = chunked_targets(case.teacher, case.teacher_prototypes, TEACHER, "centre", case.centre, 1)
    with pytest.raises(ValueError, match="make them with n_views=2"):
        chunked_dino_loss(targets, case.student, case.prototypes, STUDENT, 2, 5)
    with pytest.raises(ValueError, match="14 targets, 35 student rows and 7 weights"):
        chunked_ibot_loss(targets, case.student, case.prototypes, case.weights, STUDENT, 4)
