"""From grey levels to tokens: normalisation, the forward pass, attention of the class token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from orthoray.config import StrictModel

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


def forward_tokens(backbone: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class token and patch tokens after the final norm.

    Args:
        backbone: a timm ViT.
        x: (B, C, H, W) normalised input.

    Returns:
        class token (B, D) and patch tokens (B, N, D); register tokens are left out. A backbone without class token
        gives the mean of its patch tokens in its place.
    """
    tokens = backbone.forward_features(x)  # type: ignore[operator]
    if tokens.ndim == 4:  # convolutional backbones: (B, D, h, w)
        tokens = tokens.flatten(2).transpose(1, 2)
    prefix = int(getattr(backbone, "num_prefix_tokens", 0))
    patches = tokens[:, prefix:]
    return (tokens[:, 0] if prefix else patches.mean(dim=1)), patches


def attention_map(backbone: nn.Module, x: torch.Tensor, block: int = -1) -> torch.Tensor:
    """Attention of the class token to the patches in one block.

    Query and key are computed again from the input of the block's attention, since fused attention keeps no weights.

    Args:
        backbone: a timm ViT with class token and fused ``qkv`` projection.
        x: (B, C, H, W) normalised input; H and W multiples of the patch size.
        block: index of the block, -1 = the last.

    Returns:
        (B, heads, h, w) float32: softmax(q·k/√d) of the class token over all tokens, patch part, h = H / patch.
    """
    import torch

    attention: Any = backbone.blocks[block].attn  # type: ignore[index, union-attr]
    seen: list[torch.Tensor] = []
    hook = attention.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()))
    try:
        with torch.inference_mode():
            backbone.forward_features(x)  # type: ignore[operator]
    finally:
        hook.remove()
    tokens = seen[0]
    batch, count, width = tokens.shape
    heads = int(attention.num_heads)
    with torch.inference_mode():
        qkv = attention.qkv(tokens).reshape(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        query, key = attention.q_norm(qkv[0][:, :, :1]), attention.k_norm(qkv[1])
        weights: torch.Tensor = ((query * attention.scale) @ key.transpose(-2, -1)).float().softmax(dim=-1)[:, :, 0]
    patch_height, patch_width = backbone.patch_embed.patch_size  # type: ignore[union-attr, misc]
    grid = (x.shape[-2] // int(patch_height), x.shape[-1] // int(patch_width))
    prefix = int(backbone.num_prefix_tokens)  # type: ignore[arg-type]
    return weights[:, :, prefix:].reshape(batch, heads, *grid)
