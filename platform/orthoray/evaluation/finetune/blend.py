"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) over the samples of a batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Blend(NamedTuple):
    """``share`` of each sample is kept, the rest comes from ``partner`` (n,); a ``box`` (top, left, height, width) in
    shares of the image is cut in, or with None the grey levels are mixed.
    """

    share: float
    partner: Tensor
    box: tuple[float, float, float, float] | None


def draw_blend(count: int, mixup: float, cutmix: float, rng: np.random.Generator) -> Blend:
    """Draw one blend for a batch of ``count`` samples; with both, either is as likely."""
    cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    strength = cutmix if cut else mixup
    share = float(rng.beta(strength, strength))
    partner = torch.from_numpy(rng.permutation(count))
    if not cut:
        return Blend(share, partner, None)
    side = float(np.sqrt(1.0 - share))
    top, left = (rng.random(2) * (1.0 - side)).tolist()
    return Blend(share, partner, (top, left, side, side))


def blend(images: Tensor, owner: Tensor, made: Blend) -> tuple[Tensor, float]:
    """Blend images, and give the share that each keeps in the end (a box has whole pixels).

    Args:
        images: (B, 1, H, W) of n samples, those of a sample one after another.
        owner: (B,) 0 … n - 1.
        made: of n samples. The k-th image of a sample meets the k-th of its partner, counted round.
    """
    counts = torch.bincount(owner, minlength=len(made.partner))
    first = torch.cumsum(counts, 0) - counts
    nth = torch.arange(len(owner), device=owner.device) - first[owner]
    theirs = made.partner.to(owner.device)[owner]
    other = images[first[theirs] + nth % counts[theirs]]
    if made.box is None:
        return made.share * images + (1.0 - made.share) * other, made.share
    height, width = images.shape[-2:]
    top, left = round(made.box[0] * height), round(made.box[1] * width)
    bottom, right = top + round(made.box[2] * height), left + round(made.box[3] * width)
    cut = images.clone()
    cut[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return cut, 1.0 - (min(bottom, height) - top) * (min(right, width) - left) / (height * width)


def mixed_labels(label: Tensor, made: Blend, share: float, classes: int) -> Tensor:
    """(n,) labels → (n, K) shares of classes."""
    own = functional.one_hot(label, classes).float()
    return share * own + (1.0 - share) * own[made.partner.to(label.device)]
