"""KoLeo: spreads features over the sphere by pushing nearest neighbours apart.

Sablayrolles et al., "Spreading vectors for similarity search", arXiv:1806.03198, §3.2 (Kozachenko–Leonenko estimator of
entropy): L = −1/n · Σ_i log ‖x_i − x_j‖, x_j the nearest neighbour of x_i; used on class tokens by DINOv2.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from orthoray.pretrain.losses.floats import full, without_autocast
from orthoray.pretrain.losses.workers import gather_rows, rank

CLOSEST = 1e-6
"""Distances below this count as this: −log stays under 13.9, gradients under 1/(2·CLOSEST)."""


def koleo_loss(tokens: torch.Tensor) -> torch.Tensor:
    """−mean log distance to the nearest neighbour among the rows of all workers.

    Finite, with finite gradients, for equal rows: log d is ½·log(d² + CLOSEST²), in float32. (Equal rows have no
    direction to part in, so their gradient is 0.)

    Each worker's loss is the mean over its own rows; its neighbours may be other workers' rows. Gradients reach a
    worker's own rows only, yet in full: as rows, and as neighbours of rows anywhere (`gather_rows`). So the average
    over workers is, in value and gradient, the loss of one process with all rows.

    Args:
        tokens: (B, D) class tokens of one view, B the same on all workers, at least two rows in all. Views of the same
            image must not be in one call: they are each other's neighbours, and should stay so.

    Returns:
        Scalar, in nats.
    """
    with without_autocast(tokens):
        unit = functional.normalize(full(tokens), dim=-1)
        everyone = gather_rows(unit)
        if len(everyone) < 2:
            raise ValueError("KoLeo needs two images per step at least; one has no neighbour")
        with torch.no_grad():
            cosines = unit @ everyone.t()
            cosines.diagonal(offset=rank() * len(unit)).fill_(-torch.inf)
            nearest = cosines.argmax(dim=1)
        squared = (unit - everyone[nearest]).square().sum(dim=-1)
        return -0.5 * torch.log(squared + CLOSEST**2).mean()
