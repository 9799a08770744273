"""Which patches the student does not see: rectangular blocks, as in BEiT and DINOv2.

Bao et al., "BEiT", arXiv:2106.08254, algorithm 1; shares of a batch after DINOv2 (arXiv:2304.07193): of all global
crops a part is masked, each with a ratio of its own, the ratios spread evenly. Made on the CPU, from a generator alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

SMALLEST = 4
"""Patches of a block, at least; smaller ones only make up the count."""
LARGEST = 0.5
"""Share of the grid that a block takes, at most."""
ASPECTS = (0.3, 1 / 0.3)
"""Height over width of a block, log-uniform."""
TRIES = 10
"""Blocks that are drawn until one fits."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PatchMasks:
    """Masks of a batch of global crops.

    Attributes:
        masks: (B, h, w) bool, True = masked; in the order of the crops.
        indices: (M,) int64, where masked patches are among all B · h · w, ascending.
        weights: (M,) float32, 1 / number of masked patches in the patch's image.
        most: M is never more than this with the same settings; what buffers of fixed size must hold.
    """

    masks: torch.Tensor
    indices: torch.Tensor
    weights: torch.Tensor
    most: int

    @classmethod
    def of(cls, masks: torch.Tensor, most: int | None = None) -> PatchMasks:
        """From masks (B, h, w) alone, on the CPU; of some images of a batch, for example."""
        flat = masks.flatten(1)
        counts = flat.sum(dim=1)
        indices = flat.flatten().nonzero().flatten()
        weights = counts.float().clamp_min(1.0).reciprocal()[indices // max(1, flat.shape[1])]
        return cls(masks, indices, weights, len(indices) if most is None else most)

    def to(self, device: torch.device) -> PatchMasks:
        """The same on a device."""
        masks, indices, weights = (
            part.to(device, non_blocking=True) for part in (self.masks, self.indices, self.weights)
        )
        return PatchMasks(masks, indices, weights, self.most)


def block_masks(
    batch: int, grid: tuple[int, int], probability: float, ratios: tuple[float, float], random: np.random.Generator
) -> PatchMasks:
    """Masks for ``batch`` crops of a grid of patches.

    ``round(probability · batch)`` crops are masked. (min, max) is cut into as many equal intervals; from each
    a ratio is drawn, and floor(ratio · h · w) patches are masked, exactly. Which crop gets which ratio is drawn too.

    Args:
        batch: number of crops B.
        grid: (h, w) in patches.
        probability: share of the crops that are masked, 0..1.
        ratios: least and greatest share of a crop's patches, 0 ≤ min ≤ max ≤ 1.
        random: the masks follow from its state.
    """
    if not (0.0 <= probability <= 1.0 and 0.0 <= ratios[0] <= ratios[1] <= 1.0):
        raise ValueError(f"probability {probability} and ratios {ratios} must be within 0..1, ratios in order")
    patches = grid[0] * grid[1]
    chosen = round(probability * batch)
    edges = np.linspace(*ratios, chosen + 1)
    drawn = random.uniform(edges[:-1], edges[1:])
    masks = np.zeros((batch, *grid), dtype=np.bool_)
    for place, ratio in zip(random.permutation(batch)[:chosen], drawn, strict=True):
        masks[place] = block_mask(grid, math.floor(patches * ratio), random)
    most = sum(math.floor(patches * edge) for edge in edges[1:])
    return PatchMasks.of(torch.from_numpy(masks), most)


def block_mask(grid: tuple[int, int], count: int, random: np.random.Generator) -> Mask:
    """Mask exactly ``count`` patches of a grid (h, w): in blocks, and by lot where no further block fits."""
    mask = np.zeros(grid, dtype=np.bool_)
    left = count
    while left > 0:
        block = _draw_block(mask, left, random)
        if block is None:
            free = np.flatnonzero(~mask)
            mask.flat[random.choice(free, left, replace=False)] = True
            break
        mask[block] = True
        left = count - int(mask.sum())
    return mask


def _draw_block(mask: Mask, left: int, random: np.random.Generator) -> tuple[slice, slice] | None:
    """A rectangle with between 1 and ``left`` patches that are not masked yet; None if none was found."""
    height, width = mask.shape
    most = max(1.0, min(left, LARGEST * mask.size))
    areas = random.uniform(min(SMALLEST, most), most, TRIES)
    aspects = np.exp(random.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1]), TRIES))
    corners = random.random((TRIES, 2))
    for area, aspect, (down, right) in zip(areas, aspects, corners, strict=True):
        rows = min(height, max(1, round(math.sqrt(area * aspect))))
        columns = min(width, max(1, round(math.sqrt(area / aspect))))
        top, start = int(down * (height - rows + 1)), int(right * (width - columns + 1))
        block = slice(top, top + rows), slice(start, start + columns)
        if 0 < rows * columns - int(mask[block].sum()) <= left:
            return block
    return None
