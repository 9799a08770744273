"""One door to all estimators."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orthoray.errors import nearest
from orthoray.transferability.checks import Outcome, ScoreInputError, check, choose
from orthoray.transferability.hscore import hscore
from orthoray.transferability.itm import itm
from orthoray.transferability.knn import knn
from orthoray.transferability.logme import logme
from orthoray.transferability.ncti import ncti
from orthoray.transferability.nleep import nleep
from orthoray.transferability.parc import parc
from orthoray.transferability.ped import ped
from orthoray.transferability.probe import probe
from orthoray.transferability.sfda import sfda

ESTIMATORS: dict[str, Callable[..., Outcome]] = {
    "logme": logme,
    "sfda": sfda,
    "ped": ped,
    "parc": parc,
    "nleep": nleep,
    "itm": itm,
    "ncti": ncti,
    "hscore": hscore,
    "knn": knn,
    "probe": probe,
}


@dataclass(frozen=True)
class Score:
    """A score: name (PED's with its base), finite value, warnings, wall seconds, and the estimator's own figures."""

    name: str
    value: float
    flags: tuple[str, ...]
    seconds: float
    details: dict[str, Any]


def score(name: str, features: Any, labels: Any, *, seed: int = 0, **options: Any) -> float:
    """The value of `evaluate`: higher is better; comparable within one target set and one N only."""
    return evaluate(name, features, labels, seed=seed, **options).value


def evaluate(name: str, features: Any, labels: Any, *, seed: int = 0, **options: Any) -> Score:
    """Score frozen ``features`` (N, D) against class ``labels`` (N,) in float64; neither array is changed.

    Args:
        name: one of `ESTIMATORS`.
        features: real numbers of any type.
        labels: integers; gaps are closed and flagged.
        seed: of what is random in the estimator.
        options: the estimator's own, and ``parity="corrected"|"reference"``.

    Raises:
        ScoreInputError: a ValueError; unknown name or option, or input from which the score cannot be computed.
    """
    if name not in ESTIMATORS:
        raise ScoreInputError(f"unknown estimator {name!r}; known: {list(ESTIMATORS)}.{nearest(name, ESTIMATORS)}")
    known = [each for each in inspect.signature(ESTIMATORS[name]).parameters if each not in ("sample", "seed")]
    for option in options:
        if option not in known:
            raise ScoreInputError(f"{name} has no option {option!r}; it has {known}.{nearest(option, known)}")
    choose("parity", options.get("parity", "corrected"), ("corrected", "reference"))
    begin = time.perf_counter()
    sample = check(features, labels)
    with np.errstate(all="ignore"):  # a value that is not finite is refused below
        found = ESTIMATORS[name](sample, seed=seed, **options)
    if not math.isfinite(found.value):
        raise ScoreInputError(f"{name} has no finite value for these features: check their scale and repeats.")
    full = f"ped_{found.details['base']}" if name == "ped" else name
    flags = tuple(dict.fromkeys((*sample.flags, *found.flags)))
    return Score(full, found.value, flags, time.perf_counter() - begin, found.details)
