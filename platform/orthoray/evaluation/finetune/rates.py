"""Learning rates of fine-tuning: slower further from the head, warmed up, then half a cosine."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from orthoray.evaluation.finetune.network import TaskNetwork
from orthoray.models.layers import decays, layers_of


def parameter_groups(network: TaskNetwork, lr: float, layer_decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for AdamW: layer l of L blocks learns at ``layer_decay ** (L + 1 - l)`` of ``lr``, the head at all of it.

    The rule of BEiT (arXiv:2106.08254), as in MAE and RETFound. What does not decay: see `orthoray.models.layers`.
    """
    backbone: Any = network.backbone
    layers, depth = layers_of(backbone)
    never = set(getattr(backbone, "no_weight_decay", set)())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        inner = name.removeprefix("backbone.")
        power = depth + 1 - layers[inner] if name.startswith("backbone.") else 0
        key = (lr * layer_decay**power, weight_decay if decays(inner, parameter, never) else 0.0)
        groups.setdefault(key, []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def rate_at(step: int, steps: int, warmup: int) -> float:
    """Factor on all rates: linear up over ``warmup`` steps, then half a cosine down to 0 at ``steps``."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def average_decay(decay: float, step: int) -> float:
    """Decay of the weights' moving average after ``step`` updates; short at first, so that the start is forgotten."""
    return min(decay, (1.0 + step) / (10.0 + step))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average's parameters towards the network's."""
    theirs = dict(network.named_parameters())
    for name, parameter in average.named_parameters():
        parameter.lerp_(theirs[name], 1.0 - decay)
