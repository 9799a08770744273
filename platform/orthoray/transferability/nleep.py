"""NLEEP: LEEP on the components of a Gaussian mixture in PCA space (Li et al., CVPR 2021)."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from orthoray.transferability.checks import Matrix, Outcome, Parity, Sample, ScoreInputError, choose


def nleep(
    sample: Sample,
    *,
    seed: int = 0,
    parity: Parity = "corrected",
    form: Literal["log", "prob"] = "log",
    components: Literal["5C", "N/10"] = "5C",
    repeats: int = 5,
) -> Outcome:
    """Mean over seeds ``seed .. seed+repeats-1``; ``log`` is a mean log-likelihood, ``prob`` a mean probability.

    ``components="5C"`` is capped at N/10 unless ``parity="reference"``.
    """
    choose("form", form, ("log", "prob"))
    choose("components", components, ("5C", "N/10"))
    if repeats < 1:
        raise ScoreInputError(f"repeats={repeats} must be at least 1.")
    n = len(sample.y)
    if components == "N/10":
        k = max(min(sample.classes, n // 5), n // 10)
    else:
        k = 5 * sample.classes if parity == "reference" else min(5 * sample.classes, n // 10)
    k = max(1, min(k, n))
    solver = "covariance_eigh" if n >= sample.x.shape[1] else "full"  # the same components, much sooner
    reduced = PCA(n_components=0.8, svd_solver=solver).fit_transform(sample.x)
    values = [_one(reduced, sample, k, seed + number, form) for number in range(repeats)]
    flags = ("one_component",) if k == 1 else ()
    return Outcome(float(np.mean(values)), flags, {"components": k, "dims": reduced.shape[1], "values": values})


def _one(reduced: Matrix, sample: Sample, k: int, seed: int, form: str) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 steps are the published limit
        try:
            mixture = GaussianMixture(n_components=k, random_state=seed).fit(reduced)
        except ValueError as error:
            raise ScoreInputError(f"the mixture of {k} does not fit ({error}): give more samples.") from error
    inside = mixture.predict_proba(reduced)
    mass = inside.sum(axis=0)
    joint = inside.T @ np.eye(sample.classes)[sample.y]
    given = np.divide(joint, mass[:, None], out=np.zeros_like(joint), where=mass[:, None] > 0)
    own = (inside @ given)[np.arange(len(sample.y)), sample.y]
    return float(np.log(np.maximum(own, np.finfo(float).tiny)).mean() if form == "log" else own.mean())
