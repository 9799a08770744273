"""From grey levels to tokens: normalisation and the forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from orthoray.config import StrictModel
from orthoray.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn


class Normalisation(StrictModel):
    """How grey levels (0..1) are normalised before the backbone.

    ``fixed``: ``(x - mean) / std``. ``per_image``: every image or crop gets mean 0 and standard deviation 1 of its own
    (plus ``floor`` under the division), so that exposure and window cancel out; mean and std are then unused.
    """

    kind: Literal["fixed", "per_image"] = "fixed"
    mean: float = 0.5
    std: float = 0.25
    floor: float = 0.05


def normalise(images: torch.Tensor, normalisation: Normalisation | Any) -> torch.Tensor:
    """Normalise (B, 1, H, W) grey images.

    Args:
        images: uint8 in 0..255, or float in 0..1.
        normalisation: a `Normalisation`, or anything with an attribute ``normalisation`` (a checkpoint's card).

    Returns:
        float32 of the same shape.
    """
    import torch

    rule: Normalisation = getattr(normalisation, "normalisation", normalisation)
    x = images.float() / 255.0 if images.dtype == torch.uint8 else images.float()
    if rule.kind == "fixed":
        return (x - rule.mean).div_(rule.std)
    std, mean = torch.std_mean(x, dim=(-2, -1), keepdim=True, correction=0)
    return (x - mean).div_(std + rule.floor)


def patch_size_of(backbone: nn.Module) -> int:
    """Side of a patch in pixels; 0 for a network without patches."""
    patch: Any = getattr(getattr(backbone, "patch_embed", None), "patch_size", (0,))
    return int(patch[0])


def forward_tokens(backbone: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class token and patch tokens after the final norm.

    Args:
        backbone: a timm ViT, Eva (DINOv3) or convolutional network.
        x: (B, C, H, W) normalised input.

    Returns:
        class token (B, D) and patch tokens (B, N, D); register tokens are left out. A backbone without class token
        gives the mean of its patch tokens in its place; a ConvNeXt, as in DINOv3, the norm of the mean beside the norms
        of the places.
    """
    tokens = backbone.forward_features(x)  # type: ignore[operator]
    if tokens.ndim == 4:
        return _pooled(backbone, tokens)
    prefix = int(getattr(backbone, "num_prefix_tokens", 0))
    patches = tokens[:, prefix:]
    return (tokens[:, 0] if prefix else patches.mean(dim=1)), patches


def forward_blocks(backbone: nn.Module, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Class tokens of the last blocks, each after the final norm, and the mean patch token of the last one.

    Args:
        backbone: a timm ViT or Eva (DINOv3) of ``count`` blocks or more.
        x: (B, C, H, W) normalised input.
        count: number of blocks.

    Returns:
        class tokens (B, count, D), the last block's last, and the mean of its patch tokens (B, D). A backbone without
        class token gives the means of patch tokens in its place.
    """
    import torch

    prefix = bool(getattr(backbone, "num_prefix_tokens", 0))
    found = backbone.forward_intermediates(  # type: ignore[operator]
        x, indices=count, return_prefix_tokens=prefix, norm=True, output_fmt="NLC", intermediates_only=True
    )
    patches = [(one[0] if prefix else one).mean(dim=1) for one in found]
    return torch.stack([one[1][:, 0] for one in found] if prefix else patches, dim=1), patches[-1]


def norm_after_pooling(backbone: nn.Module) -> nn.Module | None:
    """The norm that timm keeps in a ConvNeXt's head, after the pooling; None if `forward_features` ends in a norm."""
    head = getattr(backbone, "head", None)
    found = getattr(head, "norm", None) if hasattr(head, "global_pool") and hasattr(backbone, "stages") else None
    return found if found is not None and any(True for _ in found.parameters()) else None


def _pooled(backbone: nn.Module, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, D, h, w) maps → their mean (B, D) and their places (B, h·w, D), both normalised."""
    import torch

    width = int(backbone.num_features)  # type: ignore[arg-type]
    if maps.shape[1] != width:
        raise InputError(f"{type(backbone).__name__} keeps its channels last, which forward_tokens does not read.")
    columns = torch.cat((maps.mean(dim=(2, 3))[:, :, None], maps.flatten(2)), dim=2)
    norm = norm_after_pooling(backbone)
    tokens = (columns if norm is None else norm(columns[:, :, None])[:, :, 0]).transpose(1, 2)
    return tokens[:, 0], tokens[:, 1:]
