"""A task that a small network learns in seconds: which half of a bag's marked images is bright."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.conftest import build_samples
from tests.stores import write_checkpoint

from orthoray.config import parse_config
from orthoray.evaluation.finetune.bags import Bags
from orthoray.evaluation.finetune.settings import FineTuneConfig
from orthoray.evaluation.finetune.start import start_network
from orthoray.evaluation.finetune.task import Task, parts_of

CALM = {"rotation": 0.0, "area": 1.0, "aspect": 1.0, "gamma": 0.0, "contrast": 0.0, "brightness": 0.0, "noise": 0.0}


def settings(**values):
    base = {"epochs": 8, "batch_size": 8, "base_lr": 0.1, "layer_decay": 1.0, "drop_path": 0.0, "warmup": 0.1}
    return parse_config(FineTuneConfig, {**base, "augment": CALM, **values}, "finetune")


def planted_task(kind="binary", classes=2, patients=48, images=1, seed=0):
    """Samples, one per patient, whose images have a bar that is brighter the higher the label."""
    rng = np.random.default_rng(seed)
    label = np.arange(patients) % classes
    samples = build_samples(label, np.arange(patients), images)
    pixels = rng.integers(0, 60, (len(samples.owner), 32, 32)).astype(np.uint8)
    pixels[:, 4:12, 4:28] += (160 * label / (classes - 1)).astype(np.uint8)[samples.owner][:, None, None]
    bags = Bags(pixels, np.arange(0, len(samples.owner) + 1, images))
    headline = {"binary": "auroc", "ordinal": "qwk", "multiclass": "accuracy"}[kind]
    return Task(samples, kind, classes, headline), bags


def split(task, config, seed=0):
    order = np.random.default_rng(seed).permutation(len(task.samples.label))
    third = len(order) // 3
    return parts_of(task.samples, np.sort(order[third:]), np.sort(order[:third]), config.holdout, seed)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return str(write_checkpoint(str(tmp_path_factory.mktemp("checkpoint") / "c"), 0, 0, []))


@pytest.fixture
def network_for(checkpoint):
    def make(task, config, seed=0):
        return start_network(checkpoint, "cls+mean", task, config, seed, "cpu")

    return make
