"""Fine-tuning of a small network: it learns, chooses by inner rows alone, starts as told, and shares work exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.finetune.conftest import planted_task, settings, split
from tests.evaluation.finetune.two_workers import run_two

from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.finetune.bags import Bags
from orthoray.evaluation.finetune.fit import Fit
from orthoray.evaluation.finetune.start import start_from_probe
from orthoray.evaluation.finetune.task import Parts
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.probe import fit_probe
from orthoray.evaluation.protocol import inner_folds

pytestmark = pytest.mark.slow


def silent(epoch, values):
    pass


def fitted(network_for, task, bags, config, parts=None, seed=0, report=silent):
    parts = parts or split(task, config)
    return Fit(task, bags, parts, network_for(task, config), config, seed).run(report), parts


@pytest.mark.parametrize(
    ("kind", "classes", "images", "change"),
    [
        ("binary", 2, 1, {}),
        ("binary", 2, 4, {"slices": 2}),
        ("binary", 2, 4, {"slices": 2, "rule": "probabilities"}),
        ("ordinal", 3, 1, {"epochs": 25, "base_lr": 0.3, "patience": 25}),
        ("multiclass", 3, 1, {"mixup": 0.4, "cutmix": 0.5, "epochs": 30, "base_lr": 0.3, "patience": 30}),
        ("binary", 2, 1, {"ema": 0.9, "class_balance": "sampler", "precision": "bf16"}),
        ("binary", 2, 1, {"adapter": {"kind": "lora", "rank": 4, "targets": ["qkv", "mlp"]}, "epochs": 15}),
    ],
)
def test_learns_what_is_planted(network_for, kind, classes, images, change):
    task, bags = planted_task(kind, classes, patients=96 if classes > 2 else 48, images=images)
    outcome, parts = fitted(network_for, task, bags, settings(**change))
    assert outcome.scores.shape == (len(parts.test), classes)
    np.testing.assert_allclose(outcome.scores.sum(axis=1), 1.0, atol=1e-5)
    found = compute([task.headline], task.samples.label[parts.test], outcome.scores)[task.headline]
    assert found > 0.9, (found, outcome.facts)


def test_labels_of_test_rows_change_nothing(network_for):
    task, bags = planted_task()
    config = settings(epochs=3)
    first, parts = fitted(network_for, task, bags, config)
    label = task.samples.label.copy()
    label[parts.test] = 1 - label[parts.test]
    other = replace(task, samples=replace(task.samples, label=label))
    again, _ = fitted(network_for, other, bags, config, parts)
    np.testing.assert_array_equal(first.scores, again.scores)


def test_the_best_epoch_by_inner_rows_scores_the_test_rows(network_for):
    task, bags = planted_task()
    label = task.samples.label.copy()
    config = settings(epochs=12, patience=3, base_lr=0.3)
    parts = split(task, config)
    label[parts.validate] = 1 - label[parts.validate]  # the more is learnt, the worse the inner score
    wrong = replace(task, samples=replace(task.samples, label=label))
    told = []
    outcome, _ = fitted(network_for, wrong, bags, config, parts, report=lambda epoch, values: told.append(values))
    best = 1 + int(np.argmax([values["score"] for values in told]))
    assert outcome.facts["best_epoch"] == best
    assert len(told) == outcome.facts["epochs"] == best + 3 < 12
    until = settings(epochs=12, base_lr=0.3)
    stopped = Fit(wrong, bags, parts, network_for(wrong, until), until, 0)
    torch.manual_seed(0)
    for epoch in range(1, best + 1):
        stopped._epoch(epoch)
    np.testing.assert_allclose(stopped.predict(stopped.network, parts.test), outcome.scores, atol=1e-6)


def test_without_anybody_to_choose_by_all_epochs_count(network_for):
    task, bags = planted_task(patients=12)
    config = settings(epochs=2)
    parts = Parts(np.arange(8), np.zeros(0, np.int64), np.arange(8, 12))
    outcome, _ = fitted(network_for, task, bags, config, parts)
    assert outcome.facts["best_epoch"] == 2
    assert "one patient" in outcome.facts["chosen_by"]


def test_starts_as_the_linear_probe(network_for):
    for classes, kind in ((2, "binary"), (3, "multiclass")):
        task, bags = planted_task(kind, classes, images=3)
        config = settings(preset="lp_ft", start="probe")
        parts = split(task, config)
        network, probe = network_for(task, config), ProbeConfig(c_steps=5)
        start_from_probe(network, task, bags, parts.fit, probe, 0)
        fit = Fit(task, bags, parts, network, config)
        with torch.inference_mode():
            images = torch.from_numpy(bags.images)[:, None]
            features = network.features(images).double().view(len(task.samples.label), 3, -1).mean(1).numpy()
        inner = inner_folds(task.samples, parts.fit, probe, 0)
        reference = fit_probe(features[parts.fit], task.samples.label[parts.fit], inner, classes, probe)
        wanted = reference.predict(features[parts.test])
        np.testing.assert_allclose(fit.predict(network, parts.test), wanted, atol=1e-4)
    ruin = settings(preset="lp_ft", base_lr=50.0, epochs=2, warmup=0.0)
    network = network_for(task, ruin)
    start_from_probe(network, task, bags, parts.fit, probe, 0)
    outcome = Fit(task, bags, parts, network, ruin).run(silent)
    assert outcome.facts["best_epoch"] == 0  # nothing that came after was as good
    np.testing.assert_allclose(outcome.scores, wanted, atol=1e-4)


def test_images_of_a_sample_may_come_in_any_number_and_order(network_for):
    task, bags = planted_task(images=3)
    config = settings()
    fit = Fit(task, bags, split(task, config), network_for(task, config), config)
    rows = np.array([4, 1, 7])
    alone = np.concatenate([fit.predict(fit.network, rows[[at]]) for at in range(3)])
    np.testing.assert_allclose(fit.predict(fit.network, rows), alone, atol=1e-6)
    turned = Bags(bags.images.reshape(-1, 3, 32, 32)[:, ::-1].reshape(-1, 32, 32).copy(), bags.start)
    other = Fit(task, turned, fit.parts, fit.network, config)
    np.testing.assert_allclose(other.predict(fit.network, rows), alone, atol=1e-6)


def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_do(network_for):
    task, bags = planted_task()
    config = settings(base_lr=1e9, warmup=0.0, clip=1e9)
    with pytest.raises(RunError, match=r"Lower finetune.base_lr"):
        fitted(network_for, task, bags, config)


def test_two_workers_compute_what_one_does(network_for, checkpoint, tmp_path):
    task, bags = planted_task("ordinal", 3, patients=45, images=3)
    config = settings(epochs=3, class_balance="weights", slices=2, head="linear", mixup=0.3, augment={"noise": 0.02})
    parts = split(task, config)
    alone = Fit(task, bags, parts, network_for(task, config), config, 3).run(silent)
    scores, loss = run_two(checkpoint, task, bags, parts, config, 3, tmp_path)
    np.testing.assert_allclose(scores, alone.scores, atol=1e-5)
    assert loss == pytest.approx(alone.facts["loss"], abs=1e-5)
