"""PED: classes repel each other like charges for a few steps, then a base score is taken (Li et al., ICCV 2023)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from scipy.spatial.distance import pdist, squareform

from orthoray.transferability.checks import Matrix, Outcome, Parity, Sample, ScoreInputError, check_features, choose
from orthoray.transferability.logme import logme
from orthoray.transferability.nleep import nleep
from orthoray.transferability.sfda import sfda

STEPS, TIME, STRENGTH, EXIT, LEAST_SPREAD = 6, 0.1, 1.0, 0.5, 1e-3


def ped(
    sample: Sample,
    *,
    seed: int = 0,
    parity: Parity = "corrected",
    base: Literal["sfda", "logme", "nleep"] = "sfda",
    generic_features: Any = None,
    overlap: float = 0.6,
) -> Outcome:
    """Move the classes apart, then score with ``base``; ``generic_features`` (M, D) is the same backbone's output on a
    generic corpus, the same images for every backbone. ``overlap`` is the published n of sigma.
    """
    choose("base", base, ("sfda", "logme", "nleep"))
    if generic_features is None:
        raise ScoreInputError("PED needs generic_features=(M, D): the same backbone's features of a generic corpus.")
    generic = check_features(generic_features, "generic_features")
    if generic.shape[1] != sample.x.shape[1]:
        raise ScoreInputError(
            f"generic_features have {generic.shape[1]} columns, features {sample.x.shape[1]}: use the same backbone."
        )
    if not overlap > 0:
        raise ScoreInputError(f"overlap={overlap} must be positive; published values are 0.3 and 0.6.")
    shift, accepted = _repel(sample, generic, float(overlap))
    moved = replace(sample, x=sample.x + shift[sample.y])
    if base == "sfda":
        found = sfda(moved, seed=seed, parity=parity)
    elif base == "logme":
        found = logme(moved, seed=seed, parity=parity)
    else:
        found = nleep(moved, seed=seed, parity=parity, form="prob")
    return Outcome(found.value, found.flags, {**found.details, "base": base, "steps_accepted": accepted})


def _repel(sample: Sample, generic: Matrix, overlap: float) -> tuple[Matrix, int]:
    """(C, D) displacement of each class and the steps taken. Classes move rigidly, so only their means are followed."""
    spread = np.maximum(generic.std(axis=0), LEAST_SPREAD)
    means = sample.means()
    centred = np.square((sample.x - means[sample.y]) / spread)
    totals = np.bincount(sample.y, centred.sum(axis=1)) / sample.counts
    radius = overlap * np.sqrt(totals)
    start = (means - generic.mean(axis=0)) / spread
    place, first, accepted = start, 0.0, 0
    for step in range(STEPS):
        delta = _displacement(place, radius)
        change = float(np.abs(delta).sum())
        first = change if step == 0 else first
        if change == 0 or change / first <= EXIT:
            break
        place, accepted = place + delta, accepted + 1
    return (place - start) * spread, accepted


def _displacement(place: Matrix, radius: Matrix) -> Matrix:
    """(C, D) sum over partners; classes whose means coincide have no direction and do not push each other."""
    gap = squareform(pdist(place))
    inside = np.maximum(radius[:, None] + radius[None, :] - gap, 0.0)
    push = np.minimum(0.5 * TIME**2 * STRENGTH * inside, inside)
    pull = np.divide(push, gap, out=np.zeros_like(gap), where=gap > 0)
    return np.asarray(pull.sum(axis=1)[:, None] * place - pull @ place)
