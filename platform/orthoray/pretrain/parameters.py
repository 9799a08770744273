"""Which parameter learns how fast: AdamW's groups, what decays, and what is held back for a while."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from orthoray.models.layers import STEMS, decays, layers_of

PROTOTYPES = {"prototypes", "last_layer"}
"""Names, of a parameter or of the module around it, that mean a head's prototypes."""


def parts_of(network: nn.Module) -> dict[str, nn.Module]:
    """The backbone and every head of a network by name, as far as they have parameters.

    The parts are the network's children; of a `ModuleDict` or `ModuleList` (several heads) its members.
    """
    found: dict[str, nn.Module] = {}
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleDict | nn.ModuleList):
            found.update({f"{name}.{member}": module for member, module in child.named_children()})
        else:
            found[name] = child
    return {name: part for name, part in found.items() if next(part.parameters(), None) is not None}


def parameter_groups(
    network: nn.Module, layer_decay: float = 1.0, patch_embed_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Groups for AdamW of all parameters that learn.

    A parameter of layer l of a backbone with L blocks learns at ``layer_decay ** (L + 1 - l)`` of the learning rate
    (`layers_of`; the rule of BEiT, arXiv:2106.08254, and of DINOv2), the patch embedding at ``patch_embed_factor`` of
    that; heads, and parameters of the network itself (a mask token), at all of it.

    Args:
        network: has a child ``backbone`` (timm) and heads as other children. Call it after `parallelise`, on the module
            within the DistributedDataParallel.
        layer_decay: factor from one layer to the one below, 1 = none.
        patch_embed_factor: further factor of the patch embedding.

    Returns:
        Groups with ``params`` and, for audit and for `hold` and `set_rates`: ``names`` (as in
        ``network.named_parameters()``), ``part`` (``backbone``, or the head's name), ``lr_scale``, ``decays``,
        ``prototypes``. Parameters that are treated alike share a group.
    """
    backbone: Any = network.backbone
    layers, depth = layers_of(backbone)
    never = {f"backbone.{name}" for name in getattr(backbone, "no_weight_decay", set)()}
    parts = parts_of(network)
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        part = next((part for part in parts if name.startswith(f"{part}.")), "network")
        scale = 1.0
        if part == "backbone":
            inner = name.removeprefix("backbone.")
            scale = layer_decay ** (depth + 1 - layers[inner])
            scale *= patch_embed_factor if inner.startswith(STEMS) else 1.0
        traits = {
            "part": part,
            "lr_scale": scale,
            "decays": decays(name, parameter, never),
            "prototypes": part != "backbone" and bool(PROTOTYPES & set(name.split("."))),
        }
        group = groups.setdefault(tuple(traits.values()), {"params": [], "names": [], **traits})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def hold(optimiser: torch.optim.Optimizer, backbone: bool, prototypes: bool) -> None:
    """Drop gradients, so that a step leaves these parameters, and their moments, as they are. Call before clipping.

    Args:
        optimiser: made from `parameter_groups`.
        backbone: hold the backbone (new heads are warming up).
        prototypes: hold the prototypes of all heads.
    """
    for group in optimiser.param_groups:
        if (backbone and group["part"] == "backbone") or (prototypes and group["prototypes"]):
            for parameter in group["params"]:
                parameter.grad = None


def set_rates(optimiser: torch.optim.Optimizer, lr: float, weight_decay: float, backbone_scale: float = 1.0) -> None:
    """Set the scheduled values; ``backbone_scale`` (0 … 1) ramps the backbone up after its heads have warmed up."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_scale"] * (backbone_scale if group["part"] == "backbone" else 1.0)
        group["weight_decay"] = weight_decay if group["decays"] else 0.0
