"""What a loaded backbone does: does position reach its class token, and does it compute what its source does?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from orthoray.errors import InputError
from orthoray.models.features import forward_tokens, patch_size_of

POSITION_REQUIRED = 1e-3
"""Relative change of the class token under which a network counts as blind to positions."""

Forward = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor] | torch.Tensor]
"""Images → class token (B, D), with or without patch tokens (B, N, D)."""


def shuffled_patch_check(model: nn.Module, side: int = 0, seed: int = 0) -> float:
    """How much the class token changes when the patches of an image change places.

    A ViT without positions is blind to it: then only rounding differs (1e-6). With layer scales at their starting value
    of 1e-5 a network from scratch is as good as blind too; the check is for networks whose weights were loaded.

    Args:
        model: a timm backbone; its mode and gradients are left as they are.
        side: of the square test image in pixels; 0 = the side that the model was made for.
        seed: of the image (noise) and of the new places.

    Returns:
        `position_sensitivity` of two images.
    """
    patch = _patch(model)
    side = side or _side(model) // patch * patch
    draw = torch.Generator().manual_seed(seed)
    first = next(model.parameters())
    channels = next(weight.shape[1] for weight in model.parameters() if weight.ndim == 4)
    noise = torch.randn(2, channels, side, side, generator=draw).to(first.device, first.dtype)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return float(position_sensitivity(model, noise, patch, draw))
    finally:
        model.train(training)


@torch.no_grad()
def position_sensitivity(
    backbone: nn.Module, images: torch.Tensor, patch: int, generator: torch.Generator
) -> torch.Tensor:
    """Relative change of the class token when the patches of an image change places: mean ‖Δ‖ / ‖token‖.

    A ViT whose position embedding is lost, or does not reach its output, gives nothing but rounding (1e-6 in float32),
    a sound one 1e-2 and more. Call it outside of autocast with a backbone in evaluation mode.

    Args:
        backbone: a timm backbone.
        images: (B, C, H, W) float32 normalised images that are not blank.
        patch: side of the tiles that change places; H and W are multiples of it.
        generator: source of the one permutation, on the CPU.
    """
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    tiles = images.reshape(batch, channels, rows, patch, columns, patch).transpose(3, 4).flatten(2, 3)
    order = torch.randperm(rows * columns, generator=generator).to(images.device)
    shuffled = tiles[:, :, order].reshape(batch, channels, rows, columns, patch, patch).transpose(3, 4)
    before = forward_tokens(backbone, images)[0].float()
    after = forward_tokens(backbone, shuffled.reshape(images.shape))[0].float()
    change: torch.Tensor = (before - after).norm(dim=-1) / before.norm(dim=-1).clamp_min(1e-12)
    return change.mean()


def require_position(model: nn.Module, origin: str = "these weights") -> float:
    """Run `shuffled_patch_check`.

    Returns:
        Its value.

    Raises:
        InputError: the class token stays the same to 1e-3.
    """
    change = shuffled_patch_check(model)
    if not change > POSITION_REQUIRED:
        raise InputError(
            f"{origin}: the class token does not notice when patches change places ({change:.1e}): RoPE or position "
            "embedding is lost, or the weights were never trained. If that is meant, say so with model.rope=off."
        )
    return change


def deviation(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference between two tensors of features, in multiples of the root mean square of ``wanted``."""
    if found.shape != wanted.shape:
        return float("inf")
    wide = wanted.double()
    return float((found.double() - wide).abs().max() / wide.square().mean().sqrt().clamp_min(1e-12))


def same_features(model: nn.Module, source_forward: Forward, inputs: torch.Tensor, tolerance: float = 1e-4) -> float:
    """Compare a backbone with the network that its weights come from.

    Args:
        model: the backbone, in evaluation mode.
        source_forward: the source network's forward pass. It gets the same images and does by itself what it needs
            (repeat the channel three times, say).
        inputs: (B, C, H, W) normalised images.
        tolerance: largest `deviation` allowed.

    Returns:
        The largest deviation of class and patch tokens.

    Raises:
        InputError: more than ``tolerance``, or another number of tokens.
    """
    with torch.inference_mode():
        ours, theirs = forward_tokens(model, inputs), source_forward(inputs)
    pairs = [(ours[0], theirs)] if isinstance(theirs, torch.Tensor) else list(zip(ours, theirs, strict=True))
    parts = dict(zip(("class token", "patch tokens"), (deviation(*pair) for pair in pairs), strict=False))
    worst = max(parts, key=lambda name: parts[name])
    if not parts[worst] <= tolerance:
        raise InputError(
            f"the {worst} differs from the source network's by {parts[worst]:.1e} of its size, {tolerance:.0e} are "
            "allowed: the weights are not all where they belong, or the networks compute differently."
        )
    return parts[worst]


def _patch(model: nn.Module) -> int:
    reductions = getattr(model, "feature_info", ())
    return patch_size_of(model) or max(int(level["reduction"]) for level in reductions)


def _side(model: nn.Module) -> int:
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return 224 if size is None else int(size[0])
