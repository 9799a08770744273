"""Pieces of fine-tuning: rates by layer, blends, augmentation, who chooses, images from the store."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.conftest import build_samples
from tests.evaluation.finetune.conftest import CALM, planted_task, settings, split

from orthoray.errors import RunError
from orthoray.evaluation.finetune.augment import augment, draw
from orthoray.evaluation.finetune.bags import read_bags
from orthoray.evaluation.finetune.blend import Blend, blend, draw_blend, mixed_labels
from orthoray.evaluation.finetune.fit import class_weights
from orthoray.evaluation.finetune.rates import average_decay, parameter_groups, rate_at, update_average
from orthoray.evaluation.finetune.settings import AugmentConfig
from orthoray.evaluation.finetune.start import as_linear
from orthoray.evaluation.finetune.task import inner_score, parts_of
from orthoray.evaluation.logistic import solve
from orthoray.features.encoders import image_spec
from orthoray.features.images import read_images
from orthoray.features.store import extract_all


def test_each_layer_learns_at_its_rate(network_for):
    task, _ = planted_task()
    network = network_for(task, settings())
    groups = parameter_groups(network, 1.0, 0.5, 0.05)
    rate = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    named = dict(network.named_parameters())
    wanted = {
        "head.linear.weight": (1.0, 0.05),
        "head.linear.bias": (1.0, 0.0),
        "backbone.norm.weight": (1.0, 0.0),
        "backbone.blocks.1.attn.qkv.weight": (0.5, 0.05),
        "backbone.blocks.0.mlp.fc1.weight": (0.25, 0.05),
        "backbone.blocks.0.mlp.fc1.bias": (0.25, 0.0),
        "backbone.patch_embed.proj.weight": (0.125, 0.05),
        "backbone.cls_token": (0.125, 0.0),
        "backbone.pos_embed": (0.125, 0.0),
    }
    assert {name: rate[id(named[name])] for name in wanted} == wanted
    assert len(rate) == sum(p.requires_grad for p in network.parameters())


def test_rates_rise_then_fall_to_nothing():
    rates = [rate_at(step, 100, 20) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 21)
    assert rates[20] == max(rates) == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)


def test_the_average_follows_its_formula():
    assert [average_decay(0.9, step) for step in (0, 8, 1000)] == pytest.approx([0.1, 0.5, 0.9])
    average, network = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(1.0)
        network.weight.fill_(3.0)
    update_average(average, network, 0.75)
    assert average.weight.item() == pytest.approx(1.5)


def test_mixup_and_cutmix_by_hand():
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 10, 10)
    owner, partner = torch.arange(3), torch.tensor([1, 2, 0])
    mixed, share = blend(images, owner, Blend(0.75, partner, None))
    assert share == 0.75
    np.testing.assert_allclose(mixed[:, 0, 0, 0], [0.25, 1.25, 1.5])
    cut, share = blend(images, owner, Blend(0.7, partner, (0.5, 0.0, 0.548, 0.548)))
    assert share == pytest.approx(1 - 25 / 100)  # five rows (to the edge) by five columns
    assert (cut[0, 0, 5:, :5] == 1).all()
    assert float(cut[0].sum()) == 25
    labels = mixed_labels(torch.tensor([0, 1, 1]), Blend(0.75, partner, None), 0.75, 2)
    np.testing.assert_allclose(labels, [[0.75, 0.25], [0, 1], [0.25, 0.75]])


def test_blends_of_samples_with_several_images_count_round():
    images = torch.arange(5.0).view(5, 1, 1, 1)
    owner = torch.tensor([0, 0, 0, 1, 1])
    mixed, _ = blend(images, owner, Blend(0.0, torch.tensor([1, 0]), None))
    assert mixed.flatten().tolist() == [3, 4, 3, 0, 1]


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_drawn_blends_are_possible(seed, count):
    made = draw_blend(count, 0.4, 1.0, np.random.default_rng(seed))
    assert sorted(made.partner.tolist()) == list(range(count))
    assert 0 <= made.share <= 1
    if made.box is not None:
        top, left, height, width = made.box
        assert min(top, left) >= 0
        assert max(top + height, left + width) <= 1 + 1e-9


def test_augmentation_without_strength_changes_nothing():
    images = torch.randint(1, 256, (4, 16, 16), dtype=torch.uint8)
    config = AugmentConfig(**CALM)
    found = augment(images, draw(4, config, torch.Generator().manual_seed(0)), 0.0)
    np.testing.assert_allclose(found[:, 0], images.float() / 255, atol=2e-3)


def test_crops_keep_what_they_say():
    config = AugmentConfig(**{**CALM, "area": 0.5, "flip": True})
    draws = draw(500, config, torch.Generator().manual_seed(1))
    kept = torch.linalg.det(draws.theta[:, :, :2])
    assert float(kept.abs().min()) >= 0.5 - 1e-6
    assert float(kept.abs().max()) <= 1.0 + 1e-6
    assert 0.4 < float((kept < 0).float().mean()) < 0.6  # mirrored
    reach = draws.theta[:, :, :2].abs().sum(dim=2) + draws.theta[:, :, 2].abs()
    assert float(reach.max()) <= 1.0 + 1e-6  # never beyond the border


@given(st.integers(0, 1000), st.floats(0.05, 0.6))
def test_those_who_choose_are_other_patients_of_the_training_part(seed, holdout):
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, 20, 60)
    samples = build_samples(rng.integers(0, 2, 60), patients)
    test = np.flatnonzero(patients < 5)
    train = np.flatnonzero(patients >= 5)
    parts = parts_of(samples, train, test, holdout, seed)
    assert sorted([*parts.fit, *parts.validate]) == train.tolist()
    assert not set(patients[parts.fit]) & set(patients[parts.validate])


def test_one_patient_of_a_class_leaves_nobody_to_choose_by():
    samples = build_samples([0, 0, 0, 1, 1, 0], [0, 1, 2, 3, 3, 4])
    parts = parts_of(samples, np.arange(5), np.array([5]), 0.2, 0)
    assert len(parts.validate) == 0
    assert len(parts.fit) == 5


def test_inner_scores():
    task, _ = planted_task(patients=4)
    scores = np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1], [0.5, 0.5]])
    rows = np.arange(4)
    assert inner_score(task, rows, scores, "log_loss") == pytest.approx(np.log([0.8, 0.6, 0.9, 0.5]).mean())
    assert inner_score(task, rows, scores, "headline") == 1.0
    assert np.isnan(inner_score(task, rows[::2], scores[::2], "headline"))


def test_weights_of_classes_have_mean_one_over_the_fit_rows():
    task, _ = planted_task("multiclass", 3, patients=30)
    rows = np.flatnonzero((task.samples.label != 2) | (np.arange(30) < 12))
    weights = class_weights(task, rows, settings(class_balance="weights"))
    assert weights[task.samples.label[rows]].mean() == pytest.approx(1.0)
    assert weights[2] > weights[0]
    assert (class_weights(task, split(task, settings()).fit, settings()) == 1).all()


def test_a_probe_as_a_linear_layer_says_the_same():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=rng, dtype=torch.float64) * 3 + 1
    for classes in (2, 3):
        y = (x[:, 0] > 1).long() + (x[:, 1] > 2).long() * (classes - 2)
        found = solve(x, y, torch.ones(1, 60, dtype=torch.float64), torch.ones(1, dtype=torch.float64), classes)
        weight, bias = as_linear(found)
        np.testing.assert_allclose((x @ weight.T + bias).softmax(1), found.probabilities(x)[0], atol=1e-9)


@pytest.mark.ray
@pytest.mark.slow
def test_images_come_back_as_they_were(ray_session, dataset_folder, tmp_path):
    from orthoray.data.codec import decode
    from orthoray.data.dataset import Dataset
    from orthoray.features.pixels import resize

    dataset = Dataset(dataset_folder(tmp_path / "ds", patients=6))
    (folder,) = extract_all([image_spec(16)], dataset.uri, str(tmp_path / "store"))
    table = pd.read_parquet(dataset.image_files())
    ids = table["image_id"].tolist()[::-1]
    wanted = [resize(decode(p, c), 16) for p, c in zip(table["pixels"], table["codec"], strict=True)][::-1]
    np.testing.assert_array_equal(read_images(folder, ids), np.stack(wanted))
    samples = replace(build_samples(np.arange(6) % 2, np.arange(6), 2), image_id=np.array(ids[:12], dtype=object))
    np.testing.assert_array_equal(read_bags(samples, [folder]).images, np.stack(wanted[:12]))
    with pytest.raises(RunError, match="1 of 2 images are not there"):
        read_images(folder, [ids[0], "nobody"])
