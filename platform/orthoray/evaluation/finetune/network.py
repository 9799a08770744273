"""A backbone and a head as one network for the samples of a task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orthoray.evaluation.finetune.heads import Head
from orthoray.features import Pooling
from orthoray.models.features import Normalisation, forward_tokens, normalise


class TaskNetwork(nn.Module):
    """Images of samples in, outputs of the head out.

    Args:
        backbone: timm network of D features.
        head: for D features, 2D with pooling ``cls+mean``.
        pooling: tokens that make a feature vector.
        normalisation: of the backbone's card.
        by_image: the head judges every image by itself (rule ``probabilities``), else the mean of a sample's features.
    """

    def __init__(
        self, backbone: nn.Module, head: Head, pooling: Pooling, normalisation: Normalisation, by_image: bool
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.pooling, self.normalisation, self.by_image = pooling, normalisation, by_image

    def features(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) grey levels, uint8 or 0..1 → (B, D)."""
        cls, patches = forward_tokens(self.backbone, normalise(images, self.normalisation))
        parts = {"cls": lambda: cls, "mean": lambda: patches.mean(dim=1)}
        return torch.cat([parts[name]() for name in self.pooling.split("+")], dim=1)

    def forward(self, images: Tensor, owner: Tensor, count: int) -> Tensor:
        """Outputs (count, M) of samples, or (B, M) of images with ``by_image``; ``owner`` (B,): whose an image is."""
        found = self.features(images)
        out: Tensor = self.head(found if self.by_image else mean_by(found, owner, count))
        return out

    def scores(self, outputs: Tensor, owner: Tensor, count: int) -> Tensor:
        """(count, K) scores of samples from `forward`'s outputs."""
        found = self.head.scores(outputs.double())
        return mean_by(found, owner, count) if self.by_image else found


def mean_by(rows: Tensor, owner: Tensor, count: int) -> Tensor:
    """(B, D) rows → (count, D) means over the rows of each owner."""
    total = rows.new_zeros(count, rows.shape[1]).index_add_(0, owner, rows)
    return total / torch.bincount(owner, minlength=count).to(rows.dtype)[:, None]
