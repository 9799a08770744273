"""What a loaded backbone does: does position reach its class token, and does it compute what its source does?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orthoray.errors import InputError
from orthoray.models.features import forward_tokens

if TYPE_CHECKING:
    import torch
    from torch import nn

POSITION_REQUIRED = 1e-3
"""Relative change of the class token under which a network counts as blind to positions."""

Forward = Callable[["torch.Tensor"], "tuple[torch.Tensor, torch.Tensor] | torch.Tensor"]
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
        ‖shuffled − straight‖ / ‖straight‖, over two images.
    """
    import torch

    patch = _patch(model)
    side = side or _side(model) // patch * patch
    lot = torch.Generator().manual_seed(seed)
    first = next(model.parameters())
    channels = next(weight.shape[1] for weight in model.parameters() if weight.ndim == 4)
    straight = torch.randn(2, channels, side, side, generator=lot).to(first.device, first.dtype)
    count = side // patch
    places = torch.randperm(count * count, generator=lot).to(first.device)
    cut = straight.unfold(2, patch, patch).unfold(3, patch, patch)
    shuffled = cut.flatten(2, 3)[:, :, places].reshape(cut.shape).transpose(3, 4).reshape(straight.shape)
    tokens, changed = _class_tokens(model, straight), _class_tokens(model, shuffled)
    return float((changed - tokens).norm() / tokens.norm())


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
    import torch

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


def _class_tokens(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    import torch

    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return forward_tokens(model, images)[0].double()
    finally:
        model.train(training)


def _patch(model: nn.Module) -> int:
    size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if size is not None:
        return int(size[0])
    return max(int(level["reduction"]) for level in model.feature_info)  # type: ignore[union-attr]


def _side(model: nn.Module) -> int:
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return 224 if size is None else int(size[0])
