"""Heads of fine-tuning: what they give, what they are taught by, and how that becomes probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from orthoray.evaluation.coral import CoralHead, coral_losses, coral_probabilities
from orthoray.evaluation.cox_torch import cox_loss
from orthoray.evaluation.finetune.settings import HeadKind


class Target:
    """What n samples should give: ``label`` (n,) integers, or ``mixed`` (n, K) shares of classes; ``time`` (n,) days.

    ``weight`` (n,) weighs each sample; the loss is the weighted mean.
    """

    def __init__(self, label: Tensor, weight: Tensor, time: Tensor | None = None, mixed: Tensor | None = None) -> None:
        self.label, self.weight, self.time, self.mixed = label, weight, time, mixed

    def of(self, owner: Tensor) -> Target:
        """The same for images: each has its sample's."""
        time, mixed = (None if part is None else part[owner] for part in (self.time, self.mixed))
        return Target(self.label[owner], self.weight[owner], time, mixed)


class Head(nn.Module, ABC):
    """(n, D) features → (n, M) outputs."""

    @abstractmethod
    def losses(self, outputs: Tensor, target: Target) -> Tensor:
        """(n,) loss of each sample, without its weight."""

    @abstractmethod
    def scores(self, outputs: Tensor) -> Tensor:
        """(n, K) what the predictions table keeps: probabilities of classes, or (n, 1) log hazards."""


class LinearHead(Head):
    """Softmax over K classes and cross-entropy with label smoothing."""

    def __init__(self, width: int, classes: int, smoothing: float) -> None:
        super().__init__()
        self.linear, self.smoothing = nn.Linear(width, classes), smoothing
        nn.init.trunc_normal_(self.linear.weight, std=2e-5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(n, D) → (n, K) logits."""
        out: Tensor = self.linear(features)
        return out

    def losses(self, outputs: Tensor, target: Target) -> Tensor:
        """Cross-entropy."""
        wanted = target.label if target.mixed is None else target.mixed
        return functional.cross_entropy(outputs, wanted, label_smoothing=self.smoothing, reduction="none")

    def scores(self, outputs: Tensor) -> Tensor:
        """Softmax."""
        return outputs.softmax(dim=1)


class OrdinalHead(Head):
    """CORAL: K - 1 cumulative logits with shared weights (Cao, Mirjalili and Raschka 2020)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.coral = CoralHead(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(n, D) → (n, K - 1)."""
        out: Tensor = self.coral(features)
        return out

    def losses(self, outputs: Tensor, target: Target) -> Tensor:
        """Sum of the K - 1 binary cross-entropies, sample by sample."""
        return coral_losses(outputs, target.label)

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities of the K grades."""
        return coral_probabilities(outputs)


class HazardHead(Head):
    """Cox: one log hazard; the partial likelihood is that of the batch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1, bias=False)
        nn.init.trunc_normal_(self.linear.weight, std=2e-5)

    def forward(self, features: Tensor) -> Tensor:
        """(n, D) → (n, 1)."""
        out: Tensor = self.linear(features)
        return out

    def losses(self, outputs: Tensor, target: Target) -> Tensor:
        """The batch's negative log partial likelihood, the same for each sample."""
        assert target.time is not None
        return cox_loss(outputs[:, 0], target.time, target.label).expand(len(outputs))

    def scores(self, outputs: Tensor) -> Tensor:
        """The log hazard."""
        return outputs


def make_head(kind: HeadKind, width: int, classes: int, smoothing: float) -> Head:
    """A head of ``kind`` for features of ``width`` values."""
    if kind == "coral":
        return OrdinalHead(width, classes)
    return HazardHead(width) if kind == "cox" else LinearHead(width, classes, smoothing)
