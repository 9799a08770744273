"""Gram anchoring against double-precision numpy; bicubic resampling against cubic convolution written out."""

import numpy as np
import pytest
import torch
from tests.pretrain.losses import formulas

from orthoray.pretrain.losses.gram import gram_loss, gram_teacher_due, resample_patches


def features(seed=0, images=3, patches=10, width=6):
    random = np.random.default_rng(seed)
    return random.normal(size=(images, patches, width)), random.normal(size=(images, patches, width))


def test_per_image_it_is_the_frobenius_norm_per_entry():
    student, teacher = features()
    expected = np.mean([formulas.gram(one, other) for one, other in zip(student, teacher, strict=True)])
    assert float(gram_loss(torch.tensor(student), torch.tensor(teacher))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("width", [6, 4, 9])
def test_per_batch_all_patches_are_compared_with_all(width):
    student, teacher = features()[0], features(1, width=width)[1]
    expected = formulas.gram(student.reshape(30, -1), teacher.reshape(30, -1))
    found = gram_loss(torch.tensor(student), torch.tensor(teacher), per="batch")
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("apart", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("per", ["image", "batch"])
def test_float32_is_enough_also_when_student_and_teacher_are_close(apart, per):
    student, noise = features(patches=50, width=32)
    teacher = student + apart * noise
    pairs = zip(student, teacher, strict=True)
    if per == "batch":
        pairs = [(student.reshape(150, -1), teacher.reshape(150, -1))]
    expected = np.mean([formulas.gram(one, other) for one, other in pairs])
    with torch.autocast("cpu", torch.bfloat16):
        found = gram_loss(torch.tensor(student).float(), torch.tensor(teacher).float(), per)
    assert float(found) == pytest.approx(expected, rel=5e-3 if apart < 1e-3 else 1e-4)


@pytest.mark.parametrize("per", ["image", "batch"])
def test_gradient_is_right_and_the_teacher_s_is_none(per):
    student, teacher = (torch.tensor(part) for part in features(patches=4, width=3))
    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: gram_loss(s, teacher, per), student)
    gram_loss(student, teacher, per).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("per", ["image", "batch"])
def test_rotated_and_scaled_features_have_the_same_similarities(per):
    student, _ = features()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
    found = gram_loss(torch.tensor(student), torch.tensor(3.0 * student @ rotation), per)
    assert float(found) == pytest.approx(0.0, abs=1e-15)


def cubic(x):
    """Cubic convolution kernel with a = -3/4 (Keys 1981)."""
    a, x = -0.75, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resampling(size, wanted):
    """(wanted, size) matrix: pixel centres at halves, the edge repeated."""
    matrix = np.zeros((wanted, size))
    for row in range(wanted):
        centre = (row + 0.5) * size / wanted - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[row, min(max(tap, 0), size - 1)] += cubic(centre - tap)
    return matrix


@pytest.mark.parametrize(("grid", "wanted"), [((8, 8), (4, 4)), ((9, 6), (4, 5)), ((14, 14), (14, 14))])
def test_a_finer_grid_is_resampled_by_cubic_convolution(grid, wanted):
    patches = np.random.default_rng(0).normal(size=(2, *grid, 3))
    expected = np.einsum("ih,jw,bhwd->bijd", resampling(grid[0], wanted[0]), resampling(grid[1], wanted[1]), patches)
    found = resample_patches(torch.tensor(patches).flatten(1, 2), grid, wanted)
    np.testing.assert_allclose(found, expected.reshape(2, -1, 3), atol=1e-12)


def test_other_grids_are_refused():
    with pytest.raises(ValueError, match=r"student has \(2, 16\) patches, Gram teacher \(2, 64\)"):
        gram_loss(torch.rand(2, 16, 3), torch.rand(2, 64, 3))
    with pytest.raises(ValueError, match="no grid of 7 × 9"):
        resample_patches(torch.rand(2, 64, 3), (7, 9), (4, 4))


def test_steps_at_which_the_gram_teacher_is_replaced():
    def steps(**when):
        return [step for step in range(50) if gram_teacher_due(step, **when)]

    assert steps(first=0, every=None, most=None) == [0]
    assert steps(first=10, every=15, most=None) == [10, 25, 40]
    assert steps(first=10, every=15, most=2) == [10, 25]
