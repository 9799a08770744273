"""DINOv2's linear evaluation: many heads by SGD in one pass over the features, the best chosen on inner validation.

Oquab et al., arXiv:2304.07193, appendix B.3, with the rates of their code (dinov2/eval/linear.py): 13 learning rates ×
class tokens of 1 or 4 last blocks × with or without the mean patch token. Heads have nothing in common but the samples
of a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from orthoray.features.blocks import LAST

RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
"""Learning rates for 256 samples a step."""

MOMENTUM = 0.9


class Head(NamedTuple):
    """``rate``: of `RATES`; ``blocks``: 1 or `LAST` last class tokens; ``patches``: with the mean patch token."""

    rate: float
    blocks: int
    patches: bool


HEADS = [Head(rate, *seen) for seen in product((1, LAST), (False, True)) for rate in RATES]
"""All 52."""


class Linear(NamedTuple):
    """A head's ``weight`` (K, d) and ``bias`` (K,), for its own columns of the features."""

    head: Head
    weight: Tensor
    bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """(N, 5 D) → (N, K)."""
        return x[:, columns(self.head, x.shape[1])] @ self.weight.t() + self.bias


def columns(head: Head, width: int) -> slice:
    """What a head sees of features [class token of the fourth-last, …, last block, mean patch token] of ``width``."""
    size = width // (LAST + 1)
    return slice((LAST - head.blocks) * size, (LAST + head.patches) * size)


def steps(n: int, batch: int, iterations: int, seed: int) -> Tensor:
    """(iterations, min(batch, n)) rows of each step: one shuffled pass over 0..n-1 after another."""
    size = min(batch, n)
    random = torch.Generator().manual_seed(seed)
    passes = -(-iterations * size // n)
    order = torch.cat([torch.randperm(n, generator=random) for _ in range(passes)])
    return order[: iterations * size].view(iterations, size)


def start(head: Head, width: int, n_classes: int, seed: int) -> Tensor:
    """(K, d) starting weights, normal with standard deviation 0.01; the same for all rates of the same input."""
    seen = columns(head, width)
    random = torch.Generator().manual_seed(seed * 8 + head.blocks + head.patches)
    return 0.01 * torch.randn(n_classes, seen.stop - seen.start, generator=random)


def fit_heads(
    x: Tensor, y: Tensor, weights: Tensor, heads: Sequence[Head], n_classes: int, order: Tensor, seed: int
) -> list[Linear]:
    """Train heads together: SGD with momentum 0.9 on the mean of weighted cross-entropies, rates falling by a cosine.

    Args:
        x: (N, 5 D) features, see `columns`; the arithmetic is in their dtype.
        y: (N,) int64 labels 0..K-1.
        weights: (N,) of the samples in the loss.
        heads: which.
        n_classes: K.
        order: (T, B) rows of each step. Rates are scaled by B / 256.
        seed: of the starting weights.

    Returns:
        One `Linear` per head, in their order; one that has diverged holds values that are not finite.
    """
    found: dict[int, Linear] = {}
    total, size = order.shape
    inputs = sorted({(head.blocks, head.patches) for head in heads})
    groups = [
        _Group([at for at, head in enumerate(heads) if (head.blocks, head.patches) == seen], heads, x, n_classes, seed)
        for seen in inputs
    ]
    target = torch.nn.functional.one_hot(y, n_classes).to(x.dtype)
    share = (weights.to(x.dtype) / size)[:, None, None]
    for step, rows in enumerate(order):
        fall = 0.5 * (1.0 + math.cos(math.pi * step / total)) * size / 256.0
        batch, wanted, part = x[rows], target[rows][:, None], share[rows]
        for group in groups:
            group.step(batch, wanted, part, fall)
    for group in groups:
        found |= group.done()
    return [found[at] for at in range(len(heads))]


class _Group:
    """Heads that see the same columns: H of them, K classes, d columns."""

    def __init__(self, at: list[int], heads: Sequence[Head], x: Tensor, n_classes: int, seed: int) -> None:
        self.at, self.heads = at, [heads[one] for one in at]
        self.columns = columns(self.heads[0], x.shape[1])
        first = start(self.heads[0], x.shape[1], n_classes, seed).to(x.dtype)
        self.weight = first.repeat(len(at), 1)
        self.bias = torch.zeros(len(at) * n_classes, dtype=x.dtype)
        self.rate = torch.tensor([head.rate for head in self.heads], dtype=x.dtype).repeat_interleave(n_classes)
        self.speed, self.bias_speed = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        self.n_classes = n_classes

    def step(self, batch: Tensor, wanted: Tensor, share: Tensor, fall: float) -> None:
        """One step on (B, 5 D) features, (B, 1, K) targets, (B, 1, 1) weights."""
        seen = batch[:, self.columns]
        logits = torch.addmm(self.bias, seen, self.weight.t()).view(len(batch), -1, self.n_classes)
        error = ((logits.softmax(dim=-1) - wanted) * share).flatten(1)
        self.speed.mul_(MOMENTUM).addmm_(error.t(), seen)
        self.bias_speed.mul_(MOMENTUM).add_(error.sum(dim=0))
        self.weight.addcmul_(self.rate[:, None], self.speed, value=-fall)
        self.bias.addcmul_(self.rate, self.bias_speed, value=-fall)

    def done(self) -> dict[int, Linear]:
        """Place among all heads → the head."""
        weight = self.weight.view(len(self.at), self.n_classes, -1)
        bias = self.bias.view(len(self.at), self.n_classes)
        return {at: Linear(h, w, b) for at, h, w, b in zip(self.at, self.heads, weight, bias, strict=True)}
