"""A plain PyTorch loop over batches that lie in memory: what training costs without Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

import common
from orthoray.models.backbone import create_backbone
from orthoray.models.precision import PrecisionName, resolve_precision
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.crops import MultiCrop
from orthoray.pretrain.learner import Learner, StepValues, step_values
from orthoray.pretrain.photometric import Photometric

Crops = tuple[torch.Tensor, torch.Tensor]


@contextmanager
def one_process(folder: str) -> Iterator[None]:
    """A process group of one, as the distributed code path wants it."""
    dist.init_process_group("gloo", init_method=Path(folder, "group").as_uri(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def batches(config: PretrainConfig, count: int) -> list[Crops]:
    """``count`` batches of uint8 crops, view after view."""
    cut, rng = MultiCrop(config.crops), np.random.default_rng(0)
    made = []
    for number in range(count):
        pairs = [cut(film, rng) for film in common.films(config.batch_size, seed=number)]
        views, details = (torch.from_numpy(np.stack(crops)) for crops in zip(*pairs, strict=True))
        made.append((views.transpose(0, 1).flatten(0, 1), details.transpose(0, 1).flatten(0, 1)))
    return made


def new_learner(config: PretrainConfig, precision: PrecisionName = "auto") -> Learner:
    """A fresh learner; equal weights whatever the precision."""
    torch.manual_seed(config.seed)
    backbone = create_backbone(config.model.backbone, in_chans=1, img_size=config.model.img_size)
    return Learner(config, backbone.train(), torch.device("cpu"), resolve_precision(precision, "cpu"))


def train_step(learner: Learner, crops: Crops, values: StepValues) -> None:
    """Photometrics, normalisation and one optimisation step."""
    config = learner.config
    photometric, generator = Photometric(config.photometric, config.model.normalisation), torch.Generator()
    views, details = (photometric(part, generator) for part in crops)
    learner.step(views, details, values)


def plain_rate(config: PretrainConfig, steps: int, skip: int) -> float:
    """Images per second of a fresh learner after ``skip`` steps of warming up."""
    learner, data = new_learner(config), batches(config, 4)
    begin = 0.0
    for step in range(steps):
        if step == skip:
            begin = time.perf_counter()
        train_step(learner, data[step % len(data)], step_values(config, 1e-4, step, steps))
    return (steps - skip) * config.batch_size / (time.perf_counter() - begin)
