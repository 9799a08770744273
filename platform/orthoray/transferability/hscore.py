"""Regularised H-score: between-class over Ledoit-Wolf shrunk total covariance (Ibrahim et al., 2021)."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from sklearn.covariance import ledoit_wolf

from orthoray.transferability.checks import Outcome, Parity, Sample, ScoreInputError


def hscore(sample: Sample, *, seed: int = 0, parity: Parity = "corrected") -> Outcome:
    """tr(Sigma^-1 (1 - a) Cov(E[f|y])), at least 0; features are centred first, a is the shrinkage."""
    centre = sample.x.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(sample.x - centre, assume_centered=True)
    means = (sample.means() - centre) * np.sqrt(sample.counts / (len(sample.y) - 1))[:, None]
    try:
        solved = scipy.linalg.solve(covariance, means.T, assume_a="pos", check_finite=False)
    except np.linalg.LinAlgError as error:
        raise ScoreInputError("the covariance is singular: remove constant or repeated columns.") from error
    return Outcome(float((1 - shrinkage) * np.sum(means.T * solved)), (), {"shrinkage": float(shrinkage)})
