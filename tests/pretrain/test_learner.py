"""The learner in a group of one process: teacher, frozen parts, decay groups, schedules, exact resume, and learning."""

import copy
import io
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from tests.pretrain.two_workers import BATCH, crops, learner_for, values
from torch import nn

from orthoray.errors import InputError
from orthoray.pretrain import objective
from orthoray.pretrain.doctor_rules import ALIKE
from orthoray.pretrain.learner import MEASURES, Learner, StepValues, step_values
from orthoray.pretrain.masks import block_masks
from orthoray.pretrain.teacher import update_teacher


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory):
    """A process group of this process alone, and one thread, so that sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    file = tmp_path_factory.mktemp("group") / "init"
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.set_num_threads(threads)


@pytest.fixture
def learner_of(config_of):
    """Return a function: changes of the tiny configuration → a learner."""
    return lambda **changes: learner_for(config_of(**changes))


def snapshot(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def through_file(state):
    """What a checkpoint gives back."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def test_student_and_teacher_start_equal_head_included(learner_of):
    learner = learner_of(head__batch_norm=True, model__drop_path=0.2)
    assert equal(snapshot(learner.network), snapshot(learner.teacher))
    own = {value.data_ptr() for value in learner.network.parameters()}
    assert own.isdisjoint(value.data_ptr() for value in learner.teacher.parameters())
    views, _ = crops(0)
    with torch.no_grad():
        torch.testing.assert_close(learner.network.eval()([views])[0], learner.teacher.eval()([views])[0])


def test_drop_path_is_the_student_s_alone(learner_of):
    learner = learner_of(model__drop_path=0.4)
    rates = [[getattr(block.drop_path1, "drop_prob", 0.0) for block in net.backbone.blocks] for net in nets(learner)]
    assert rates == [[0.0, 0.4], [0.0, 0.0]]


def nets(learner):
    return learner.network, learner.teacher


def test_the_loss_of_the_first_step_is_that_of_the_objective(learner_of):
    learner = learner_of()
    views, details = crops(0)
    with torch.no_grad():
        scores = torch.cat([learner.network([views])[0], learner.network([details])[0]]).double().chunk(4)
    terms = [
        -(torch.softmax(scores[g] / 0.04, -1) * torch.log_softmax(scores[v] / 0.1, -1)).sum(-1).mean()
        for g in range(2)
        for v in range(4)
        if g != v
    ]
    entropy = -torch.stack([(p * p.log()).sum(-1) for p in torch.softmax(torch.stack(scores[:2]) / 0.04, -1)]).mean()
    measures = dict(zip(MEASURES, learner.step(views, details, values()).tolist(), strict=True))
    assert measures["loss"] == pytest.approx(float(torch.stack(terms).mean()), rel=1e-5)
    assert measures["teacher_entropy"] == pytest.approx(float(entropy), rel=1e-4)
    assert measures["student_teacher_kl"] == pytest.approx(measures["loss"] - measures["teacher_entropy"], abs=1e-5)
    torch.testing.assert_close(learner.objective.centres["views"].value[0], 0.1 * torch.cat(scores[:2]).float().mean(0))


def test_feature_spread_is_zero_when_collapsed_and_one_when_isotropic():
    reported, koleo = torch.tensor([1.5, 1.0, 0.3, 0.2]), torch.tensor(0.7)
    same = torch.ones(64, 8) * torch.rand(64, 1)
    spread = torch.randn(20000, 8, generator=torch.Generator().manual_seed(0))
    assert float(Learner._measures(reported, same, koleo)[3]) == pytest.approx(0.0, abs=1e-3)
    found = dict(zip(MEASURES, Learner._measures(reported, spread, koleo).tolist(), strict=True))
    assert found == pytest.approx(
        {
            "loss": 1.5,
            "teacher_entropy": 1.0,
            "student_teacher_kl": 0.5,
            "feature_std": 1.0,
            "koleo": 0.7,
            "ibot": 0.3,
            "gram": 0.2,
        },
        abs=0.01,
    )


def test_teacher_is_the_moving_average_of_golden_values():
    teacher, student = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        teacher.weight[:], student.weight[:] = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 2.0])
        teacher.bias[:], student.bias[:] = 0.0, torch.tensor([10.0, -10.0])
        teacher.running_mean[:], student.running_mean[:] = 4.0, torch.tensor([0.0, 8.0])
        teacher.running_var[:], student.running_var[:] = 1.0, 2.0
        teacher.num_batches_tracked.fill_(5)
        student.num_batches_tracked.fill_(9)
    update_teacher(teacher, student, 0.75)
    torch.testing.assert_close(teacher.weight.data, torch.tensor([1.5, -1.0]))
    torch.testing.assert_close(teacher.bias.data, torch.tensor([2.5, -2.5]))
    torch.testing.assert_close(teacher.running_mean, torch.tensor([3.0, 5.0]))
    torch.testing.assert_close(teacher.running_var, torch.tensor([1.25, 1.25]))
    assert int(teacher.num_batches_tracked) == 5
    torch.testing.assert_close(student.weight.data, torch.tensor([3.0, 2.0]))


def test_after_a_step_the_teacher_is_the_average_of_before_and_the_student(learner_of):
    learner = learner_of()
    before = snapshot(learner.teacher)
    learner.step(*crops(0), values(teacher_momentum=0.9))
    student, teacher = snapshot(learner.network), snapshot(learner.teacher)
    assert not equal(student, before)
    for key, value in teacher.items():
        torch.testing.assert_close(value, 0.9 * before[key] + 0.1 * student[key], atol=1e-6, rtol=1e-5)
    learner.step(*crops(1), values(teacher_momentum=1.0))
    assert equal(snapshot(learner.teacher), teacher)


def test_the_teacher_gets_no_gradient_and_the_student_all_of_it(learner_of):
    learner = learner_of()
    learner.step(*crops(0), values())
    assert all(p.grad is None and not p.requires_grad for p in learner.teacher.parameters())
    assert [name for name, p in learner.network.named_parameters() if p.grad is None] == []
    given = {id(p) for group in learner.optimiser.param_groups for p in group["params"]}
    assert given == {id(p) for p in learner.network.parameters()}


def test_the_teacher_never_sees_local_crops(learner_of):
    one, other = learner_of(), learner_of()
    views, details = crops(0)
    one.step(views, details, values())
    other.step(views, details + 1, values())
    assert torch.equal(one.objective.centres["views"].value, other.objective.centres["views"].value)
    assert not equal(snapshot(one.network), snapshot(other.network))


def test_fixed_prototypes_and_a_fixed_backbone_do_not_move(learner_of):
    learner = learner_of()
    before = snapshot(learner.network)
    for step in range(3):
        learner.step(*crops(step), values(prototypes_fixed=True, weight_decay=0.4))
    after = snapshot(learner.network)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == before.keys() - {"head.prototypes"}
    learner.step(*crops(3), values(backbone_scale=0.0, weight_decay=0.4))
    last = snapshot(learner.network)
    moved = {key for key in before if not torch.equal(after[key], last[key])}
    assert moved == {key for key in before if key.startswith("head.")}


def test_matrices_decay_at_the_scheduled_rate_and_the_rest_does_not(learner_of):
    learner = learner_of(head__batch_norm=True)
    learner.step(*crops(0), values(weight_decay=0.3))
    found = {name: group["weight_decay"] for group in learner.optimiser.param_groups for name in group["names"]}
    assert {name for name, rate in found.items() if rate == 0.3} == {
        name
        for name, value in learner.network.named_parameters()
        if value.ndim > 1 and not name.endswith(("pos_embed", "cls_token"))
    }
    assert set(found.values()) == {0.0, 0.3}


def test_scheduled_values_at_both_ends(config_of):
    config = config_of(
        model__freeze_backbone_steps=3,
        teacher__momentum=[0.9, 1.0],
        optimiser={"lr_end": 1e-5, "warmup": 0.1, "weight_decay": [0.04, 0.4], "freeze_last_layer": 0.02},
    )
    first, second, last = (step_values(config, 1e-3, step, 100) for step in (0, 2, 100))
    assert first == StepValues(pytest.approx(1e-4), pytest.approx(0.04), pytest.approx(0.9), 0.04, True, 0.0)
    assert step_values(config, 1e-3, 9, 100).lr == 1e-3
    assert step_values(config, 1e-3, 1, 100).prototypes_fixed
    assert (second.prototypes_fixed, second.backbone_scale) == (False, 0.0)
    assert step_values(config, 1e-3, 3, 100).backbone_scale == 1.0
    assert last == StepValues(pytest.approx(1e-5), pytest.approx(0.4), 1.0, 0.07, False, 1.0)
    assert step_values(config, 1e-3, 15, 100).teacher_temp == pytest.approx(0.055)
    assert step_values(config, 1e-3, 30, 100).teacher_temp == 0.07
    ramped = config_of(model__freeze_backbone_steps=3, model__ramp_backbone_steps=3)
    assert [step_values(ramped, 1e-3, step, 100).backbone_scale for step in range(2, 8)] == [0.0, 0.25, 0.5, 0.75, 1, 1]
    low = config_of(optimiser__lr_end=1e-2)
    assert step_values(low, 1e-3, 100, 100).lr == 1e-3  # never ends above the peak


def train(learner, steps):
    """Losses of some steps; random numbers depend on the step alone, as in a worker."""
    losses = []
    for step in steps:
        torch.manual_seed(step)
        made = step_values(learner.config, 1e-3, step, 12)
        losses.append(learner.step(*crops(step), made).tolist())
    return losses


EVERY_LOSS = {
    "losses": {"koleo": 0.1, "ibot": {"weight": 1.0}, "gram": {"weight": 0.5, "start": 0.0, "every_steps": 2}},
    "optimiser__freeze_last_layer": 0.0,
}


def masks(step, batch=BATCH, side=4):
    """Masks of a step, from ``step`` alone."""
    return block_masks(2 * batch, (side, side), 0.5, (0.2, 0.6), np.random.default_rng(step))


def several(learner, steps):
    """Measures of some steps with masks."""
    rows = []
    for step in steps:
        torch.manual_seed(step)
        made = step_values(learner.config, 1e-3, step, 12)
        rows.append(learner.step(*crops(step), made, masks(step)).tolist())
    return rows


@pytest.mark.parametrize("head", ["shared", {"prototypes": 32, "hidden_dim": 32, "bottleneck_dim": 16}])
def test_in_parts_a_step_with_every_loss_is_what_it_is_at_once(learner_of, head):
    changes = {**EVERY_LOSS, "losses": {**EVERY_LOSS["losses"], "ibot": {"weight": 1.0, "head": head}}}
    whole, parts = learner_of(**changes), learner_of(**changes, parallel={"accumulate": 3})
    rows = [several(learner, range(4)) for learner in (whole, parts)]
    torch.testing.assert_close(torch.tensor(rows[0]), torch.tensor(rows[1]), atol=2e-5, rtol=1e-4)
    found = [learner.network.state_dict() for learner in (whole, parts)]
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=3e-4, rtol=1e-3, msg=name)
    measures = dict(zip(MEASURES, rows[0][-1], strict=True))
    assert all(measures[name] > 0.0 for name in ("loss", "ibot", "gram"))
    assert measures["koleo"] != 0.0


def test_a_state_with_every_loss_goes_on_bit_identically(learner_of):
    through, first = learner_of(**EVERY_LOSS), learner_of(**EVERY_LOSS)
    rows = several(through, range(6))
    before = several(first, range(3))
    second = learner_of(**EVERY_LOSS, seed=99)
    second.load_state(through_file(first.state()))
    assert before + several(second, range(3, 6)) == rows


def test_the_mask_token_stands_for_hidden_patches_and_nothing_else(learner_of):
    network = learner_of(**EVERY_LOSS).network.eval()
    views, hidden = crops(0)[0], masks(0).masks
    changed = views.clone()
    where = hidden.repeat_interleave(8, 1).repeat_interleave(8, 2).unsqueeze(1)
    changed[where] = 5.0
    with torch.no_grad():
        one, other = (network([image], hidden=hidden).tokens for image in (views, changed))
        open_ = network([changed]).tokens
    assert torch.equal(one, other)
    assert not torch.allclose(other, open_, atol=1e-3)


def test_scores_that_do_not_fit_at_once_give_the_same_steps(learner_of, monkeypatch):
    dense = learner_of(teacher__centring="sinkhorn_knopp")
    monkeypatch.setattr(objective, "CHUNK", 100)
    chunked = learner_of(teacher__centring="sinkhorn_knopp")
    assert (dense.network.scored, chunked.network.scored) == (True, False)
    rows = [train(learner, range(4)) for learner in (dense, chunked)]
    torch.testing.assert_close(torch.tensor(rows[0]), torch.tensor(rows[1]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [{"kind": "lora", "rank": 2}, {"kind": "apla"}, {"kind": "last_k", "unfreeze": 1}])
def test_an_adapter_leaves_the_rest_of_the_backbone_alone(learner_of, kind):
    learner = learner_of(adapter=kind, optimiser__freeze_last_layer=0.0)
    before = snapshot(learner.network)
    learner.step(*crops(0), values(weight_decay=0.4))
    after = snapshot(learner.network)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    learns = {name for name, parameter in learner.network.named_parameters() if parameter.requires_grad}
    assert moved <= learns
    assert {name for name in moved if name.startswith("backbone.")}
    assert "backbone.patch_embed.proj.weight" not in moved


@pytest.mark.parametrize("centring", ["centre", "sinkhorn_knopp"])
def test_going_on_from_a_state_is_bit_identical(learner_of, centring):
    changes = {
        "head__batch_norm": True,
        "model__drop_path": 0.3,
        "model__freeze_backbone_steps": 3,
        "optimiser__freeze_last_layer": 0.5,
        "teacher__centring": centring,
        "losses__koleo": 0.1,
    }
    through = learner_of(**changes)
    losses = train(through, range(12))
    first = learner_of(**changes)
    before = train(first, range(5))
    state = through_file(first.state())
    second = learner_of(**changes, seed=99)  # other starting values, all of which must be replaced
    second.load_state(state)
    assert before + train(second, range(5, 12)) == losses
    assert equal(snapshot(second.network), snapshot(through.network))
    assert equal(snapshot(second.teacher), snapshot(through.teacher))
    assert torch.equal(second.objective.centres["views"].value, through.objective.centres["views"].value)
    assert all(math.isfinite(value) for row in losses for value in row)


def test_a_state_of_another_architecture_is_refused(learner_of):
    state = through_file(learner_of().state())
    for changes in ({"head__prototypes": 32}, {"model__kwargs__depth": 3}, {"head__batch_norm": True}):
        with pytest.raises(InputError, match="another architecture"):
            learner_of(**changes).load_state(copy.deepcopy(state))
    with pytest.raises(InputError, match="another architecture"):
        learner_of().load_state({key: value for key, value in state.items() if key != "teacher"})


def test_it_learns_a_small_set_of_images_without_collapse(learner_of):
    """Sixteen smooth patterns, each seen in noisy views: the loss falls, and the teacher tells the images apart."""
    learner = learner_of(head__batch_norm=True)
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(2 * BATCH, 1, 4, 4, generator=random)
    patterns = nn.functional.interpolate(coarse, size=32, mode="bilinear").unflatten(0, (2, BATCH))

    def noisy(images):
        return images + 0.2 * torch.randn(images.shape, generator=random)

    rows = []
    for step in range(64):
        image = patterns[step % 2]
        details = image[..., 8:24, 8:24]
        made = values(lr=2e-3, teacher_momentum=0.98)
        rows.append(learner.step(noisy(torch.cat([image] * 2)), noisy(torch.cat([details] * 2)), made))
    start, end = torch.stack(rows[:4]).mean(dim=0), torch.stack(rows[-8:]).mean(dim=0)
    assert end[0] < 0.5 * start[0], (start, end)
    assert end[1] < 0.5 * math.log(64)
    assert end[3] > 2.5 * ALIKE
    scores = learner.teacher([patterns.flatten(0, 1)])[0]
    targets = torch.softmax((scores - learner.objective.centres["views"].value) / 0.04, dim=-1)
    assert len(targets.argmax(dim=-1).unique()) >= 4
