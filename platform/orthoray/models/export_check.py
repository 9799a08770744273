"""Proof that an exported copy computes what the checkpoint computes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orthoray.errors import RunError
from orthoray.models.checks import deviation
from orthoray.models.features import forward_tokens, normalise
from orthoray.models.rope import exact_periods, rope_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from orthoray.models.checkpoint import CheckpointCard


@dataclass(frozen=True)
class Proof:
    """``by``: what the copy was read back with; ``difference``: the largest `deviation` of its tokens; ``notes``."""

    by: str
    difference: float
    tolerance: float
    notes: tuple[str, ...] = ()

    def check(self) -> Proof:
        """Give back the proof if it holds; RunError if it does not."""
        if not self.difference <= self.tolerance:
            raise RunError(
                f"the exported copy computes something else: read back with {self.by}, its features differ by "
                f"{self.difference:.1e} of their size, {self.tolerance:.0e} are allowed. Nothing was written. "
                "Please report it with the checkpoint's card.json."
            )
        return self


def sample_images(card: CheckpointCard, side: int | None = None, batch: int = 2) -> torch.Tensor:
    """(batch, C, side, side) grey levels of 0..1, the same on every machine."""
    import torch

    side = side or card.img_size
    lot = torch.Generator().manual_seed(0)
    return torch.rand(batch, 1, side, side, generator=lot).repeat(1, card.architecture.in_chans, 1, 1)


def reference(backbone: nn.Module, card: CheckpointCard) -> tuple[nn.Module, tuple[str, ...]]:
    """The network that a format with float32 RoPE periods can hold, and what to say if it is not quite the checkpoint.

    Meta's files round DINOv3's periods to bfloat16 and a checkpoint keeps that (``rope: bf16``); timm and transformers
    compute them exactly. The copy is then compared with the network of exact periods.
    """
    import torch

    if rope_of(backbone) != "bf16":
        return backbone, ()
    exact = exact_periods(copy.deepcopy(backbone))
    images = normalise(sample_images(card), card)
    with torch.inference_mode():
        moved = difference(forward_tokens(exact, images), forward_tokens(backbone, images))
    note = (
        "The checkpoint rounds the periods of RoPE to bfloat16, as Meta's files do; this format computes them in "
        f"float32. That alone changes the features by up to {moved:.1e} of their size."
    )
    return exact, (note,)


def difference(found: tuple[torch.Tensor, torch.Tensor], wanted: tuple[torch.Tensor, torch.Tensor]) -> float:
    """The larger `deviation` of class and patch tokens."""
    return max(deviation(one, other) for one, other in zip(found, wanted, strict=True))
