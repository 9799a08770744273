"""How much arithmetic a ViT costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class VitShape:
    """The sizes that decide a ViT's cost; ``mlp_width`` of a gated MLP is that of a plain one of the same cost."""

    depth: int
    width: int
    patch: int
    prefix_tokens: int
    mlp_width: int
    in_chans: int = 1

    @classmethod
    def of(cls, backbone: nn.Module) -> VitShape | None:
        """Read the sizes of a timm ViT; None for another kind of network."""
        model: Any = backbone
        if not hasattr(model, "blocks") or not hasattr(model, "patch_embed"):
            return None
        first = model.blocks[0]
        return cls(
            depth=len(model.blocks),
            width=int(model.embed_dim),
            patch=int(model.patch_embed.patch_size[0]),
            prefix_tokens=int(model.num_prefix_tokens),
            mlp_width=_linear_weights(first.mlp) // (2 * int(model.embed_dim)),
            in_chans=int(model.patch_embed.proj.in_channels),
        )

    def forward_flops(self, side: int) -> float:
        """FLOPs (two per multiply-add, matrix products only) of one forward pass of a ``side`` × ``side`` image.

        ``L·(8ND² + 4N²D + 4NDM) + 2(side/P)²·C·P²·D`` with N tokens, width D and MLP width M.
        """
        patches = (side // self.patch) ** 2
        tokens = patches + self.prefix_tokens
        block = 8 * tokens * self.width**2 + 4 * tokens**2 * self.width + 4 * tokens * self.width * self.mlp_width
        return float(self.depth * block + 2 * patches * self.in_chans * self.patch**2 * self.width)


def _linear_weights(module: nn.Module) -> int:
    """Number of weights in the linear layers of a module."""
    layers: list[Any] = [layer for layer in module.modules() if hasattr(layer, "in_features")]
    return sum(int(layer.in_features) * int(layer.out_features) for layer in layers if hasattr(layer, "out_features"))
