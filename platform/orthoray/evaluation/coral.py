"""CORAL: an ordinal head of K - 1 binary questions "is the grade above k?" that share their weights.

Cao, Mirjalili and Raschka, "Rank consistent ordinal regression for neural networks with application to age
estimation", Pattern Recognition Letters 140 (2020), equations 2 to 5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CoralHead(nn.Module):
    """One weight vector and K - 1 biases: logit k is g(x) + b_k, that of P(grade > k).

    The biases start where all grades are equally likely at g = 0, so that they fall with k from the first step on.
    """

    def __init__(self, in_features: int, n_classes: int) -> None:
        """``in_features``: D >= 1; ``n_classes``: K >= 2. ValueError otherwise."""
        super().__init__()
        if in_features < 1 or n_classes < 2:
            raise ValueError(f"an ordinal head needs features and 2 classes, not {in_features} and {n_classes}")
        self.weight = nn.Linear(in_features, 1, bias=False)
        above = torch.arange(n_classes - 1, 0, -1, dtype=torch.float32) / n_classes
        self.bias = nn.Parameter(above.logit())

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) features → (..., K - 1) logits."""
        found: Tensor = self.weight(x) + self.bias
        return found


def coral_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of `coral_losses`."""
    return coral_losses(logits, labels).mean()


def coral_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed binary cross-entropies of the K - 1 questions, sample by sample.

    Args:
        logits: (B, K - 1); computed on in float32 or float64.
        labels: (B,) integers in 0..K-1.

    Returns:
        (B,) >= 0.

    Raises:
        ValueError: shapes that do not fit.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}: expected (B, K-1) and (B,)")
    own = _full(logits)
    above = (labels[:, None] > torch.arange(own.shape[1], device=own.device)).to(own.dtype)
    return functional.binary_cross_entropy_with_logits(own, above, reduction="none").sum(dim=1)


def coral_probabilities(logits: Tensor) -> Tensor:
    """(..., K - 1) logits → (..., K) class probabilities that sum to 1.

    P(k) = P(grade > k - 1) - P(grade > k). Before the biases are in order a difference can be negative: it counts 0,
    and the rest is scaled to 1.
    """
    above = _full(logits).sigmoid()
    shares = (functional.pad(above, (1, 0), value=1.0) - functional.pad(above, (0, 1))).clamp_min(0.0)
    return shares / shares.sum(dim=-1, keepdim=True)


def _full(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
