"""Small runs of the real learner on smooth patterns, with rows as a worker reports them, and faults to inject."""

from __future__ import annotations

import torch
from tests.pretrain.two_workers import learner_for
from torch import nn

from orthoray.models.checks import position_sensitivity
from orthoray.pretrain.diagnostics import Diagnostics
from orthoray.pretrain.doctor import Doctor
from orthoray.pretrain.doctor_facts import Facts
from orthoray.pretrain.learner import MEASURES, step_values
from orthoray.pretrain.settings.doctor import DoctorConfig

CPU = torch.device("cpu")
IMAGES, BATCH, EVERY, PATIENCE = 32, 16, 5, 40
LR = 2e-3


def patterns(seed=0):
    """(IMAGES, 1, 32, 32) smooth random patterns."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(IMAGES, 1, 4, 4, generator=random)
    return nn.functional.interpolate(coarse, size=32, mode="bilinear")


def toy_rows(config, lr=LR, fault=None):
    """Rows of the history of a run of ``config.steps`` steps; ``fault`` changes the learner before the first."""
    learner, images = learner_for(config), patterns()
    if fault is not None:
        fault(learner)
    seen = {}
    learner.teacher.register_forward_hook(lambda _module, _inputs, found: seen.update(found=found))
    watch = Diagnostics(config.head.prototypes, 32, CPU, window=20, rows=128)
    random, places = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    rows, measures = [], []
    for step in range(config.steps):
        chosen = images[torch.randperm(IMAGES, generator=random)[:BATCH]]
        views, details = (
            torch.cat([part] * 2) + 0.3 * torch.randn(2 * BATCH, 1, *part.shape[2:], generator=random)
            for part in (chosen, chosen[..., 8:24, 8:24])
        )
        made = step_values(config, lr, step, config.steps)
        centre = learner.objective.centres["views"].value.clone()
        measures.append(learner.step(views, details, made))
        scores = seen["found"].scores
        watch.add(torch.softmax((scores - centre) / made.teacher_temp, dim=-1), scores, seen["found"].tokens)
        if (step + 1) % EVERY:
            continue
        row = dict(zip(MEASURES, torch.stack(measures).mean(dim=0).tolist(), strict=True))
        row |= {"step": step + 1, "teacher_temp": made.teacher_temp, "teacher_momentum": made.teacher_momentum}
        row |= watch.row(centre)
        row |= {f"grad_norm_{part}": float(norm) for part, norm in learner.norms.items()}
        row["position_sensitivity"] = float(position_sensitivity(learner.teacher.backbone, views[:8], 8, places))
        rows.append(row)
        measures = []
    return rows


def causes(config, rows, lr=LR):
    """What the doctor finds, row after row: cause → step."""
    doctor = Doctor(Facts.of(config, lr, config.steps), DoctorConfig(patience=PATIENCE))
    for end in range(1, len(rows) + 1):
        doctor.examine(rows[:end])
    return {finding.cause: finding.step for finding in doctor.findings}


def zero_the_head(learner):
    """The last layer of student's and teacher's head gives 0 for everything."""
    for network in (learner.network, learner.teacher):
        nn.init.zeros_(network.head.mlp[-1].weight)
        nn.init.zeros_(network.head.mlp[-1].bias)


def saturate_the_head(learner):
    """The first hidden layer is far below zero, where its activation lets nothing through."""
    for network in (learner.network, learner.teacher):
        nn.init.constant_(network.head.mlp[0].bias, -1e3)


def lose_positions(learner):
    """The position embedding is zero and stays so."""
    for network in (learner.network, learner.teacher):
        nn.init.zeros_(network.backbone.pos_embed)
    learner.network.backbone.pos_embed.register_hook(torch.zeros_like)


def flatten_the_features(learner):
    """The backbone's last norm lets one direction through, and learns no other."""
    for network in (learner.network, learner.teacher):
        norm = network.backbone.norm
        nn.init.zeros_(norm.weight)
        with torch.no_grad():
            norm.weight[0] = 1.0
            norm.bias[:] = 1.0
    for parameter in learner.network.backbone.norm.parameters():
        parameter.register_hook(torch.zeros_like)
