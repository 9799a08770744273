"""The DINO projection head (Caron et al., arXiv:2104.14294, §3.1 and appendix C)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from orthoray.pretrain.cosines import cosines
from orthoray.pretrain.settings.objective import HeadConfig


class DinoHead(nn.Module):
    """Tokens (B, D) → prototype scores (B, K): cosines between bottleneck and prototypes, in -1..1."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        sizes = [width, *[config.hidden_dim] * (config.layers - 1), config.bottleneck_dim]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(sizes)):
            layers.append(nn.Linear(before, after))
            if index < config.layers - 1:
                layers.extend([nn.BatchNorm1d(after)] if config.batch_norm else [])
                layers.append(nn.GELU())
        self.mlp = nn.Sequential(*layers)
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.bottleneck_dim))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: torch.Tensor, scored: bool = True) -> torch.Tensor:
        """Score (B, D) tokens against the prototypes: (B, K); without ``scored`` their bottlenecks (B, d) of length 1.

        Both float32; within autocast scores are products of its type.
        """
        bottleneck = functional.normalize(self.mlp(tokens).float(), dim=-1, eps=1e-6)
        return cosines(bottleneck, self.prototypes) if scored else bottleneck

    def unit_prototypes(self) -> torch.Tensor:
        """(K, d) prototypes of length 1, float32, with gradient."""
        return functional.normalize(self.prototypes, dim=-1)

    def flops(self) -> float:
        """Forward FLOPs of one token."""
        weights = [layer.weight.numel() for layer in self.mlp if isinstance(layer, nn.Linear)]
        return 2.0 * (sum(weights) + self.prototypes.numel())
