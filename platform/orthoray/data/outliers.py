"""How unlike audited images an image is, by its embedding. No embedding is shipped: bring a frozen backbone's.

`orthoray outliers` (`orthoray.evaluation.outliers`) writes scores into the dataset; the next ingest judges by them.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from orthoray import storage

Features = npt.NDArray[np.floating]

FILE = "outliers.parquet"
"""In a dataset's folder: `SCORES` of its images, also of those that left because of them."""

SCORES = pa.schema([("image_id", pa.string()), ("sha256", pa.string()), ("outlier_score", pa.float64())])

LEAST = 200
"""References that a 99th percentile needs."""


def outlier_scores(features: Features, reference: Features) -> npt.NDArray[np.float64]:
    """One-class Mahalanobis distance, with 1 where the farthest percent of the reference begins.

    Mean and shrunk covariance (Ledoit and Wolf, J. Multivar. Anal. 88:365, 2004) are those of every second reference;
    the others tell how far good images lie that the model has not seen. `orthoray.data.screening` sends what
    exceeds `OutlierRule.limit` to review.

    Args:
        features: (n, D) embeddings to judge, from one frozen model.
        reference: (m, D) embeddings of images that people have accepted, m at least 200.

    Returns:
        (n,) scores, at least 0.

    Raises:
        ValueError: too few references, or another D.
    """
    from sklearn.covariance import LedoitWolf

    if len(reference) < LEAST:
        raise ValueError(f"{len(reference)} references: at least {LEAST} are needed for a 99th percentile")
    if features.shape[1:] != reference.shape[1:]:
        raise ValueError(f"features of {features.shape[1:]} cannot be judged by references of {reference.shape[1:]}")
    model = LedoitWolf().fit(reference[::2])
    limit = float(np.percentile(np.sqrt(model.mahalanobis(reference[1::2])), 99))
    return np.asarray(np.sqrt(model.mahalanobis(features)) / limit, np.float64)


def known_scores(dataset: str, images: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Scores of images by ``image_id`` and ``sha256``, NaN where there is none or the pixels have changed since."""
    file = storage.join(dataset, FILE)
    if not storage.exists(file):
        return np.full(len(images), np.nan)
    table = storage.read_table(file).to_pandas().set_index(["image_id", "sha256"])["outlier_score"]
    keys = pd.MultiIndex.from_frame(images[["image_id", "sha256"]])
    return np.asarray(table.reindex(keys), np.float64)


def scores_digest(dataset: str) -> str:
    """Hash of the scores of a dataset; "" if there are none."""
    file = storage.join(dataset, FILE)
    return hashlib.sha256(storage.read_bytes(file)).hexdigest() if storage.exists(file) else ""
