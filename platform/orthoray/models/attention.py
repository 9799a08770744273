"""Attention of the class token to the patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orthoray.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn


def attention_map(backbone: nn.Module, x: torch.Tensor, block: int = -1) -> torch.Tensor:
    """Attention of the class token to the patches in one block.

    Query and key are computed again from the input of the block's attention, since fused attention keeps no weights.

    Args:
        backbone: a timm ViT or Eva (DINOv3) with a class token; its keys are turned by position as in its forward pass.
        x: (B, C, H, W) normalised input; H and W multiples of the patch size.
        block: index of the block, -1 = the last.

    Returns:
        (B, heads, h, w) float32: softmax(q·k/√d) of the class token over all tokens, patch part, h = H / patch.

    Raises:
        InputError: a backbone without attention or without class token.
    """
    import torch

    blocks: Any = getattr(backbone, "blocks", None)
    attention: Any = getattr(blocks[block], "attn", None) if blocks is not None else None
    prefix = int(getattr(backbone, "num_prefix_tokens", 0) or 0)
    if attention is None or not prefix:
        raise InputError(f"{type(backbone).__name__} has no class token that attends to patches; use a ViT.")
    seen: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], options: dict[str, Any]) -> None:
        seen.append((inputs[0].detach(), options.get("rope")))

    hook = attention.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.inference_mode():
            backbone.forward_features(x)  # type: ignore[operator]
            query, key = _query_and_key(attention, *seen[0])
            weights: torch.Tensor = (
                ((query[:, :, :1] * attention.scale) @ key.transpose(-2, -1)).float().softmax(dim=-1)
            )
    finally:
        hook.remove()
    patch_height, patch_width = backbone.patch_embed.patch_size  # type: ignore[union-attr, misc]
    grid = (x.shape[-2] // int(patch_height), x.shape[-1] // int(patch_width))
    return weights[:, :, 0, prefix:].reshape(*weights.shape[:2], *grid)


def _query_and_key(
    attention: Any, tokens: torch.Tensor, rope: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N, D) input of the attention → query and key (B, heads, N, d), normalised and turned as there."""
    import torch

    from orthoray.models.timm_import import import_timm

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.reshape(*projected.shape[:2], int(attention.num_heads), -1).transpose(1, 2)

    if attention.qkv is not None:
        fused = attention.qkv(tokens)
        if getattr(attention, "q_bias", None) is not None:
            fused = fused + torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
        query, key, _ = (heads(part) for part in fused.chunk(3, dim=-1))
    else:
        query, key = heads(attention.q_proj(tokens)), heads(attention.k_proj(tokens))
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rope is None:
        return query, key
    turn = import_timm().layers.apply_rot_embed_cat
    first, half = int(attention.num_prefix_tokens), bool(getattr(attention, "rotate_half", False))

    def turned(side: torch.Tensor) -> torch.Tensor:
        return torch.cat((side[:, :, :first], turn(side[:, :, first:], rope, half=half)), dim=2)

    return turned(query), turned(key)
