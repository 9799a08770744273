"""How unlike audited images an image is, by its embedding. No embedding is shipped: bring a frozen backbone's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating]


def outlier_scores(features: Features, reference: Features) -> npt.NDArray[np.float64]:
    """One-class Mahalanobis distance, with 1 where the farthest percent of the reference begins.

    Mean and shrunk covariance (Ledoit and Wolf, J. Multivar. Anal. 88:365, 2004) are those of every second reference;
    the others tell how far good images lie that the model has not seen. Put the result into the index as
    ``outlier_score`` and `orthoray.data.screening` sends what exceeds `OutlierRule.limit` to review.

    Args:
        features: (n, D) embeddings to judge, from one frozen model.
        reference: (m, D) embeddings of images that people have accepted, m at least 200.

    Returns:
        (n,) scores, at least 0.

    Raises:
        ValueError: too few references, or another D.
    """
    from sklearn.covariance import LedoitWolf

    if len(reference) < 200:
        raise ValueError(f"{len(reference)} references: at least 200 are needed for a 99th percentile")
    if features.shape[1:] != reference.shape[1:]:
        raise ValueError(f"features of {features.shape[1:]} cannot be judged by references of {reference.shape[1:]}")
    model = LedoitWolf().fit(reference[::2])
    limit = float(np.percentile(np.sqrt(model.mahalanobis(reference[1::2])), 99))
    return np.asarray(np.sqrt(model.mahalanobis(features)) / limit, np.float64)
