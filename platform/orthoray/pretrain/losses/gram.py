"""Gram anchoring: the student's patches keep the similarities that an earlier teacher's patches had.

Siméoni et al., "DINOv3", arXiv:2508.10104, §4.2: L = ‖X_S·X_Sᵀ − X_G·X_Gᵀ‖²_F with L2-normalised patch features of the
student (S) and of the Gram teacher (G), a backbone that is frozen, or replaced by the teacher now and then. Here L is
divided by the number of entries, as in the authors' code, so that a weight means the same on every grid.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from orthoray.pretrain.losses.floats import full, without_autocast


def gram_loss(student: torch.Tensor, teacher: torch.Tensor, per: Literal["image", "batch"] = "image") -> torch.Tensor:
    """Mean squared difference of cosine similarities between patches.

    Args:
        student: (B, N, D) patch features of the global crops, after the backbone's last norm.
        teacher: (B, N, E) of the Gram teacher, for the same crops and grid (`resample_patches`); no gradient.
        per: ``image`` = patches are compared within each image, N² entries each; ``batch`` = with those of all images
            of this worker, (B·N)² entries.

    Returns:
        Scalar, 0 (same similarities) … 4. Workers' losses are averaged like any mean over images; ``batch`` depends on
        how the batch is split.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(f"student has {tuple(student.shape[:2])} patches, Gram teacher {tuple(teacher.shape[:2])}")
    with without_autocast(student):
        own = functional.normalize(full(student), dim=-1)
        other = functional.normalize(full(teacher.detach()), dim=-1)
        if per == "batch":
            return _gram_of_batch(own.flatten(0, 1), other.flatten(0, 1))
        return (own @ own.mT - other @ other.mT).square().mean()


def _gram_of_batch(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """‖A·Aᵀ − B·Bᵀ‖²_F / n² of (n, D) A and (n, E) B, without a matrix of n².

    With S = A + B and Δ = A − B (zeros make up the widths) A·Aᵀ − B·Bᵀ is half of S·Δᵀ + Δ·Sᵀ, whose squared norm is
    2·⟨Sᵀ·S, Δᵀ·Δ⟩ + 2·⟨Δᵀ·S, Sᵀ·Δ⟩. All of it is as small as Δ², so nothing large cancels when A is close to B.
    """
    width = max(own.shape[1], other.shape[1])
    own, other = (functional.pad(part, (0, width - part.shape[1])) for part in (own, other))
    total, difference = own + other, own - other
    mixed = difference.t() @ total
    inner = (total.t() @ total * (difference.t() @ difference)).sum() + (mixed * mixed.t()).sum()
    return inner / (2.0 * len(own) ** 2)


def resample_patches(patches: torch.Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> torch.Tensor:
    """Patch features of a larger crop, brought to the student's grid by bicubic interpolation (no antialiasing).

    Args:
        patches: (B, H·W, D), row by row, not normalised.
        grid: (H, W).
        wanted: (h, w).

    Returns:
        (B, h·w, D) float32.
    """
    if patches.shape[1] != grid[0] * grid[1]:
        raise ValueError(f"{patches.shape[1]} patches are no grid of {grid[0]} × {grid[1]}")
    maps = full(patches).mT.reshape(len(patches), -1, *grid)
    if grid != wanted:
        maps = functional.interpolate(maps, size=wanted, mode="bicubic", align_corners=False)
    return maps.flatten(-2).mT


def gram_teacher_due(step: int, first: int, every: int | None, most: int | None) -> bool:
    """True if the Gram teacher becomes a copy of the teacher before ``step``.

    Args:
        step: number of the step, from 0.
        first: step of the first copy; the loss has no meaning before it.
        every: steps between copies; None = the first one stays.
        most: copies at most; None = no limit.
    """
    if step < first:
        return False
    if every is None:
        return step == first
    number, rest = divmod(step - first, every)
    return rest == 0 and (most is None or number < most)
