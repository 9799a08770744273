"""Where a parameter stands in a backbone, and whether it decays: what layer-wise learning rates are made from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from orthoray.models.timm_import import import_timm

TOKENS = {"cls_token", "reg_token", "mask_token", "dist_token", "pos_embed"}
"""Parameters by name that never decay, whatever their shape."""

STEMS = ("patch_embed.", "stem.")
"""Where the patch embedding of a ViT and of a ConvNeXt lives."""


def layers_of(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of each parameter by name, and the number of blocks L.

    0 = tokens, positions and patch embedding; 1 … L = the blocks; L + 1 = what comes after them. Blocks are counted by
    the backbone's own `group_matcher` (timm), where a ConvNeXt's downsampling belongs to the block that follows it.
    """
    models = import_timm().models
    matched = models.group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
    inside = {name: layer for name, layer in matched.items() if name.startswith(("blocks.", "stages."))}
    places = {layer: index for index, layer in enumerate(sorted(set(inside.values())), start=1)}
    last = len(places) + 1
    found: dict[str, int] = {}
    for name, _ in backbone.named_parameters():
        before = "." not in name or name.startswith((*STEMS, "rope."))
        if hasattr(backbone, "blocks"):  # in a ConvNeXt the norm of this name comes last
            before = before or name.startswith("norm_pre.")
        found[name] = places[inside[name]] if name in inside else 0 if before else last
    return found, last - 1


def decays(name: str, parameter: torch.Tensor, never: Iterable[str] = ()) -> bool:
    """True for matrices and kernels; False for biases, norms, layer scales (γ), tokens, positions, and ``never``."""
    leaf = name.rpartition(".")[2]
    return parameter.ndim > 1 and leaf not in TOKENS and not leaf.startswith("gamma") and name not in set(never)
