"""Attention as two matrix products and a softmax where PyTorch's fused kernel is slower: bf16 on processors.

The fused kernel for processors (torch 2.13) spends most of its time in the backward pass of short sequences. Measured
with AVX512-BF16, one thread, forward and backward, heads of 64: 37 tokens 22.2 → 2.1 ms, 197 tokens 26.3 → 10.5 ms, 577
tokens 82 → 29 ms, 1,025 tokens 98 → 50 ms. In fp32 both take the same up to 197 tokens; beyond, the fused one wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from orthoray.models.precision import Precision

MOST_BYTES = 2 << 30
"""What the attention of all blocks may keep for the backward pass. Beyond that memory counts for more than time."""

BYTES_PER_PAIR = 6
"""Kept for every pair of tokens and head: the softmax in float32, and a copy in bf16."""


def prefer_plain_attention(
    backbone: nn.Module, device: torch.device, precision: Precision, images: int, tokens: int
) -> bool:
    """Switch a timm backbone to plain products if they are faster and fit.

    Args:
        backbone: its attention modules have ``fused_attn`` and ``num_heads``, as timm's do; others stay as they are.
        device: where it trains.
        precision: of its products.
        images: in one pass.
        tokens: of an image.

    Returns:
        True if it was switched.
    """
    modules: list[Any] = [module for module in backbone.modules() if hasattr(module, "fused_attn")]
    kept = BYTES_PER_PAIR * images * tokens**2 * sum(int(module.num_heads) for module in modules)
    if not modules or device.type != "cpu" or precision.name != "bf16" or kept > MOST_BYTES:
        return False
    for module in modules:
        module.fused_attn = False
    return True
