"""iBOT's loss against double-precision numpy."""

import numpy as np
import pytest
import torch
from tests.pretrain.losses import formulas

from orthoray.pretrain.losses.dino import Centre, teacher_targets
from orthoray.pretrain.losses.ibot import ibot_loss


def case(dtype=torch.float64):
    """Six images, of which three have 4, 1 and 3 masked patches: teacher and student scores, images, weights."""
    random = np.random.default_rng(0)
    image = np.array([0, 0, 0, 0, 2, 5, 5, 5])
    teacher, student = random.normal(size=(2, len(image), 11))
    weights = torch.tensor([1 / (image == number).sum() for number in image], dtype=torch.float32)
    return torch.tensor(teacher, dtype=dtype), torch.tensor(student, dtype=dtype), image, weights


@pytest.mark.parametrize("centring", ["centre", "sinkhorn_knopp"])
def test_loss_is_the_mean_over_an_image_s_patches_then_over_all_images(centring):
    teacher, student, image, weights = case()
    centre = Centre(11, 0.9, torch.device("cpu"))
    centre.value = torch.rand(1, 11)
    targets = teacher_targets(teacher, 0.06, centring, centre, 1)
    expected = formulas.sinkhorn(teacher.numpy(), 0.06)
    if centring == "centre":
        expected = formulas.softmax((teacher.numpy() - centre.value.double().numpy()) / 0.06)
    value = formulas.ibot(expected, student.numpy(), image, 0.1, 6)
    assert float(ibot_loss(targets, student, weights, 0.1, 6)) == pytest.approx(value, rel=1e-7)
    single = ibot_loss(targets.float(), student.float(), weights, 0.1, 6)
    assert float(single) == pytest.approx(value, rel=1e-6)


def test_gradient_is_right():
    teacher, student, _, weights = case()
    targets = torch.softmax(teacher, dim=-1)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: ibot_loss(targets, s, weights.double(), 0.1, 6), student)


def test_without_masked_patches_the_loss_is_zero_and_has_a_gradient():
    scores = torch.rand(0, 11, requires_grad=True)
    loss = ibot_loss(torch.rand(0, 11), scores, torch.rand(0), 0.1, 6)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert scores.grad.shape == (0, 11)
