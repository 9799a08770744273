"""The network at the start of a fit: a checkpoint's backbone, an adapter if asked for, and a head."""

from __future__ import annotations

import numpy as np
import torch

from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.finetune.bags import Bags
from orthoray.evaluation.finetune.heads import LinearHead, make_head
from orthoray.evaluation.finetune.network import TaskNetwork, mean_by
from orthoray.evaluation.finetune.settings import FineTuneConfig
from orthoray.evaluation.finetune.task import Task
from orthoray.evaluation.logistic import Solution
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.protocol import Indices, inner_folds
from orthoray.features import Pooling
from orthoray.models.adapters import apply_adapter
from orthoray.models.checkpoint import load_checkpoint

ABSENT = -20.0
"""Logit of a class that a linear probe has not seen."""


def start_network(
    checkpoint: str, pooling: Pooling, task: Task, config: FineTuneConfig, seed: int, device: str
) -> TaskNetwork:
    """Load the backbone of a checkpoint folder and put a head on it.

    Raises:
        InputError: no checkpoint there, or the adapter does not suit it.
    """
    torch.manual_seed(seed)
    options = {"drop_path_rate": config.drop_path} if config.drop_path else {}
    backbone, card = load_checkpoint(checkpoint, **options)
    apply_adapter(backbone.requires_grad_(True), config.adapter)
    width = card.feature_dim * (2 if pooling == "cls+mean" else 1)
    head = make_head(config.head_for(task.kind), width, task.classes, config.label_smoothing)
    network = TaskNetwork(backbone, head, pooling, card.normalisation, config.rule == "probabilities")
    return network.to(device)


@torch.no_grad()
def start_from_probe(
    network: TaskNetwork, task: Task, bags: Bags, fit: Indices, probe: ProbeConfig, seed: int, batch: int = 256
) -> None:
    """Set a linear head to the linear probe of the fit rows' features; Kumar et al. 2022, arXiv:2202.10054.

    Before its first step the network then scores as the probe on the mean of a sample's features does.
    """
    assert isinstance(network.head, LinearHead)
    network.eval()
    chosen = bags.all_of(fit)
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(chosen.image), batch):
        images = torch.from_numpy(bags.images[chosen.image[start : start + batch]])[:, None]
        parts.append(network.features(images.to(device)).float().cpu())
    features = mean_by(torch.cat(parts).double(), torch.from_numpy(chosen.owner), len(fit)).numpy()
    inner = inner_folds(task.samples, fit, probe, seed)
    found = fit_probes(features, task.samples.label[fit], [Part(np.arange(len(fit)), inner)], task.classes, probe)
    weight, bias = as_linear(found[0].solution)
    network.head.linear.weight.copy_(weight.float())
    network.head.linear.bias.copy_(bias.float())


def as_linear(solution: Solution) -> tuple[torch.Tensor, torch.Tensor]:
    """The first problem of a solution as weight (K, D) and bias (K,) of plain features; two classes get a row each."""
    weight = solution.weights[0] / solution.scale[0]
    bias = solution.intercept[0] - weight @ solution.mean[0]
    bias = torch.where(torch.isfinite(bias), bias, torch.full_like(bias, ABSENT))
    if len(weight) == 1:
        return torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
    return weight, bias
