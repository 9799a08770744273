"""What a configuration makes of a step: its backbone without memory, and the sizes that decide what it costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from orthoray.models.adapters import apply_adapter, blocks_of
from orthoray.models.backbone import size_options
from orthoray.pretrain.blocks import recompute_blocks
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.costs import HeadShape, StepShape, forward_flops, learning_flops, masked_patches, meta_backbone
from orthoray.pretrain.losses.sinkhorn import ROUNDS
from orthoray.pretrain.objective import is_scored
from orthoray.pretrain.settings.objective import HeadConfig


def backbone_of(config: PretrainConfig, adapted: bool = False) -> nn.Module:
    """The run's backbone on the meta device, on request with its adapter.

    Raises:
        InputError: it cannot be made.
    """
    made = config.model
    kwargs: dict[str, Any] = {**size_options(made.backbone, made.img_size), **made.kwargs}
    if made.patch_size != "auto":
        kwargs["patch_size"] = made.patch_size
    backbone = meta_backbone(made.backbone, in_chans=1, **kwargs)
    if not adapted:
        return backbone
    with torch.device("meta"):
        return apply_adapter(backbone, config.adapter)


def step_shape(config: PretrainConfig, backbone: nn.Module) -> tuple[StepShape, bool]:
    """The sizes of a run's step, and whether the formula of a ViT describes its backbone.

    Args:
        config: of the run.
        backbone: `backbone_of` it.
    """
    crops, ibot, width = config.crops, config.losses.ibot, int(backbone.num_features)  # type: ignore[arg-type]
    whole, exact = forward_flops(backbone, crops.global_size)
    part = forward_flops(backbone, crops.local_size)[0] if crops.n_local else 0.0
    head, patch_head, masked = _head(config.head, width), None, 0.0
    if ibot.weight:
        patch_head = head if ibot.head == "shared" else _head(ibot.head, width)
        patch = int(backbone.patch_embed.patch_size[0])  # type: ignore[index, union-attr]
        masked = masked_patches(crops.global_size, patch, crops.n_global, ibot.probability, sum(ibot.ratios) / 2)
    student, scored = _student(config), is_scored(config)
    again = learning_flops(student, crops.global_size)
    local = learning_flops(student, crops.local_size) if crops.n_local and again is not None else 0.0
    shape = StepShape(
        whole,
        part,
        crops.n_global,
        crops.n_local,
        head,
        patch_head,
        masked,
        global_adapted=None if config.adapter.kind == "none" else forward_flops(student, crops.global_size)[0],
        global_learning=_convolutional(config, whole) if again is None else again,
        local_learning=_convolutional(config, part) if again is None else local,
        gram=1.0 - config.losses.gram.start if config.losses.gram.weight else 0.0,
        score_passes=1 if scored or config.teacher.centring == "centre" else 1 + ROUNDS,
        spread_first=config.losses.koleo > 0.0 and config.parallel.accumulate > 1,
        scored=scored,
    )
    return shape, exact


def recomputed_share(config: PretrainConfig) -> float:
    """Share of the student's blocks that are computed again in the backward pass."""
    every = config.parallel.recompute
    return 1.0 / every if isinstance(every, int) else float(every == "full")


def _student(config: PretrainConfig) -> nn.Module:
    """The backbone as it learns: adapted, and with blocks that are recomputed."""
    student, every = backbone_of(config, adapted=True), config.parallel.recompute
    if every != "none":
        recompute_blocks(blocks_of(student), every if isinstance(every, int) else 1)
    return student


def _convolutional(config: PretrainConfig, forward: float) -> float:
    return forward * (3.0 + recomputed_share(config))


def _head(config: HeadConfig, width: int) -> HeadShape:
    return HeadShape(width, config.hidden_dim, config.bottleneck_dim, config.prototypes, config.layers)
