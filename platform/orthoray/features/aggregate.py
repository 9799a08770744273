"""From images to samples: the features of a study are those of its slices, pooled."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orthoray.errors import RunError

Aggregation = Literal["mean", "max"]
"""How the slices of one study become one feature vector."""


def aggregate(
    features: npt.NDArray[np.floating[Any]], owner: npt.NDArray[np.int64], n_samples: int, how: Aggregation = "mean"
) -> npt.NDArray[np.float64]:
    """Pool image features per sample.

    Args:
        features: (M, D) image features.
        owner: (M,) the sample, 0..n_samples-1, that each image belongs to, in any order.
        n_samples: number of samples N.
        how: ``mean`` or elementwise ``max`` over the images of a sample; the same for a sample of one image.

    Returns:
        (N, D) float64.

    Raises:
        RunError: a sample without any image, or an owner outside 0..N-1.
    """
    if owner.shape != (len(features),) or (len(owner) and (owner.min() < 0 or owner.max() >= n_samples)):
        raise RunError(f"aggregate: owners do not fit {len(features)} images and {n_samples} samples.")
    counts = np.bincount(owner, minlength=n_samples)
    if (counts == 0).any():
        raise RunError(f"aggregate: {int((counts == 0).sum())} of {n_samples} samples have no image.")
    order = np.argsort(owner, kind="stable")
    rows = np.asarray(features, dtype=np.float64)[order]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    if how == "max":
        return np.asarray(np.maximum.reduceat(rows, starts, axis=0))
    return np.asarray(np.add.reduceat(rows, starts, axis=0) / counts[:, None])
