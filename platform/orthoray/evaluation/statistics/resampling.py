"""Draws of patients with replacement, and a metric on every draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.errors import InputError
from orthoray.evaluation.statistics.checks import (
    Floats,
    Ints,
    StatisticInputError,
    groups,
    numbers,
    same_length,
)
from orthoray.evaluation.statistics.weighted import Evaluate, weighted

Metric = Callable[[npt.NDArray[Any], Floats], float]
"""(labels, scores) → value; NaN, ValueError or InputError where it is not defined."""
Parts = Sequence[npt.NDArray[np.intp]]
"""Rows of each fold; all rows once if there are none."""

CHUNK = 1 << 21
"""Weights of samples that are held at a time."""


class Cohort(NamedTuple):
    """Patients by number, and the groups among which they are drawn.

    Attributes:
        codes: (N,) the patient 0..P-1 of each sample.
        strata: numbers of the patients of each stratum; each patient is in one.
        patients: P.
    """

    codes: Ints
    strata: tuple[Ints, ...]
    patients: int

    @property
    def chunk(self) -> int:
        """How many draws are weighed at a time."""
        return max(1, CHUNK // len(self.codes))


def _cohort(labels: npt.NDArray[Any], codes: Ints, stratify: bool) -> Cohort:
    """Group patients by the largest label among their samples, or not at all."""
    people = int(codes.max()) + 1
    if not stratify:
        return Cohort(codes, (np.arange(people),), people)
    if not np.issubdtype(labels.dtype, np.integer):
        raise StatisticInputError(f"labels of type {labels.dtype} make no strata; set stratify=False or number them.")
    largest = np.full(people, labels.min())
    np.maximum.at(largest, codes, labels)
    return Cohort(codes, tuple(np.flatnonzero(largest == value) for value in np.unique(largest)), people)


def sample_of(
    labels: npt.ArrayLike, scores: list[npt.ArrayLike], patients: npt.ArrayLike, stratify: bool
) -> tuple[npt.NDArray[Any], list[Floats], Cohort]:
    """Labels, scores of each model and patients, checked."""
    found = np.asarray(labels)
    values = [numbers("scores", one) for one in scores]
    if found.ndim != 1 or len(found) == 0:
        raise StatisticInputError(f"labels must be one per sample and at least one, not of shape {found.shape}.")
    for one in values:
        same_length(labels=len(found), scores=len(one) if one.ndim else 0)
        if not np.isfinite(one).all():
            raise StatisticInputError(
                f"{int((~np.isfinite(one)).sum())} scores are NaN or infinite; remove them first."
            )
    if np.issubdtype(found.dtype, np.floating) and not np.isfinite(found).all():
        raise StatisticInputError("some labels are NaN or infinite; remove these samples first.")
    found = found.astype(np.int64) if found.dtype == np.bool_ else found
    cohort = _cohort(found, groups("patients", patients, len(found))[0], stratify)
    if cohort.patients < 2:
        raise StatisticInputError("all samples are of one patient; an interval over patients needs at least two.")
    return found, values, cohort


def folds_of(folds: npt.ArrayLike | None, length: int) -> Parts:
    """Rows of each fold, in order of their names."""
    if folds is None:
        return [np.arange(length)]
    codes, names = groups("folds", folds, length)
    return [np.flatnonzero(codes == at) for at in range(len(names))]


def draws(cohort: Cohort, resamples: int, seed: int) -> Iterator[Ints]:
    """Yield (C, P) how often each patient was drawn, in chunks; more resamples continue the same draws."""
    seeds = np.random.SeedSequence(seed).spawn(len(cohort.strata))
    generators = [np.random.default_rng(one) for one in seeds]
    for start in range(0, resamples, cohort.chunk):
        count = min(cohort.chunk, resamples - start)
        drawn = np.empty((count, cohort.patients), dtype=np.int64)
        for members, generator in zip(cohort.strata, generators, strict=True):
            size = len(members)
            picked = generator.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
            drawn[:, members] = np.bincount(picked.ravel(), minlength=count * size).reshape(count, size)
        yield drawn


def left_out(cohort: Cohort) -> Iterator[Ints]:
    """Yield (C, P) weights in which one patient after the other is missing, in chunks."""
    for start in range(0, cohort.patients, cohort.chunk):
        missing = np.arange(start, min(start + cohort.chunk, cohort.patients))
        yield (np.arange(cohort.patients)[None, :] != missing[:, None]).astype(np.int64)


def on_all(metric: Metric | str, labels: npt.NDArray[Any], scores: Floats, folds: Parts) -> float:
    """The metric on all samples (mean over the folds); its own errors pass, a value that is not finite is refused."""
    found = []
    for rows in folds:
        known, given = labels[rows], scores[rows]
        if callable(metric):
            found.append(float(metric(known.copy(), given.copy())))
        else:
            once = np.ones((1, len(rows)), dtype=np.int64)
            found.append(float(weighted(metric, known, given, np.arange(len(rows)))(once)[0]))
    value = float(np.mean(found))
    if not np.isfinite(value):
        raise StatisticInputError(f"the metric is {value} on all samples; choose one that is defined for them.")
    return value


def evaluator(
    metric: Metric | str, labels: npt.NDArray[Any], scores: Floats, codes: Ints, folds: Parts | None = None
) -> Evaluate:
    """A function that computes the metric (its mean over the folds) on many draws; NaN where a fold has none."""
    parts = [np.arange(len(labels))] if folds is None else folds
    each = [_of_rows(metric, labels[rows], scores[rows], codes[rows]) for rows in parts]
    return lambda drawn: np.asarray(np.mean([evaluate(drawn) for evaluate in each], axis=0))


def _of_rows(metric: Metric | str, labels: npt.NDArray[Any], scores: Floats, codes: Ints) -> Evaluate:
    return _repeated(metric, labels, scores, codes) if callable(metric) else weighted(metric, labels, scores, codes)


def _repeated(metric: Metric, labels: npt.NDArray[Any], scores: Floats, codes: Ints) -> Evaluate:
    rows = np.arange(len(labels))

    def one(drawn: Ints) -> float:
        picked = np.repeat(rows, drawn[codes])
        if len(picked) == 0:
            return float("nan")
        try:
            value = float(metric(labels[picked], scores[picked]))
        except (ValueError, InputError):
            return float("nan")
        return value if np.isfinite(value) else float("nan")

    return lambda drawn: np.array([one(row) for row in drawn])
