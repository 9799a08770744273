"""The teacher: names of the student, no gradient, fixed tensors shared, and a moving average of golden values."""

import pytest
import torch
from torch import nn

from orthoray.models import create_backbone
from orthoray.models.adapter_settings import AdapterConfig
from orthoray.models.adapters import apply_adapter
from orthoray.pretrain.teacher import teacher_of, update_teacher

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
ADAPTERS = [{}, {"kind": "lora", "unfreeze": 1}, {"kind": "apla", "fraction": 0.5}, {"kind": "last_k", "unfreeze": 1}]


def student_with(adapter):
    torch.manual_seed(0)
    return apply_adapter(create_backbone("vit_small_patch16_dinov3_qkvb", **SIZES), AdapterConfig(**adapter)).train()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_teacher_has_the_student_s_tensors_and_shares_those_that_never_change(adapter):
    student = student_with(adapter)
    teacher = teacher_of(student)
    mine, theirs = dict(teacher.named_parameters()), dict(student.named_parameters())
    assert teacher.state_dict().keys() == student.state_dict().keys()
    assert mine.keys() == theirs.keys()
    for name, parameter in theirs.items():
        assert torch.equal(mine[name], parameter)
        assert not mine[name].requires_grad
        assert (mine[name] is parameter) is (not parameter.requires_grad), name
    learns = [name for name, parameter in theirs.items() if parameter.requires_grad]
    assert learns


def test_after_a_step_the_teacher_is_the_average_and_what_is_fixed_stays():
    student = student_with({"kind": "lora", "unfreeze": 1})
    teacher = teacher_of(student)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    update_teacher(teacher, student, 0.75)
    for name, parameter in student.named_parameters():
        moved = 0.25 if parameter.requires_grad else 0.0
        torch.testing.assert_close(teacher.get_parameter(name).data, before[name] + moved)


def test_golden_values_with_running_statistics():
    teacher, student = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    student.register_buffer("passing", torch.ones(1), persistent=False)
    teacher.register_buffer("passing", torch.zeros(1), persistent=False)
    with torch.no_grad():
        teacher.weight[:], student.weight[:] = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 2.0])
        teacher.running_mean[:], student.running_mean[:] = 4.0, torch.tensor([0.0, 8.0])
        student.num_batches_tracked.fill_(9)
    update_teacher(teacher, student, 0.75)
    torch.testing.assert_close(teacher.weight.data, torch.tensor([1.5, -1.0]))
    torch.testing.assert_close(teacher.running_mean, torch.tensor([3.0, 5.0]))
    assert int(teacher.num_batches_tracked) == 0
    assert float(teacher.passing) == 0.0
    update_teacher(teacher, student, 1.0)
    torch.testing.assert_close(teacher.weight.data, torch.tensor([1.5, -1.0]))
