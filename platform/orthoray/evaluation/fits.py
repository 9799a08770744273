"""What each protocol does with frozen features: scores for the test rows of every fold, and what was chosen for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.cox_probe import fit_cox_probe
from orthoray.evaluation.knn import knn_scores
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.protocol import Indices, Samples, inner_folds, most_shots

Matrix = npt.NDArray[np.float64]


class Fold(NamedTuple):
    """Rows that train and rows that are tested."""

    train: Indices
    test: Indices


class Fitted(NamedTuple):
    """(N test rows, K) class probabilities, or (N, 1) log hazards; and facts for the row's ``params``."""

    scores: Matrix
    facts: dict[str, Any]


@dataclass(frozen=True)
class Fits:
    """Options of all protocols, and the number of principal components that a linear probe takes first, if any."""

    probe: ProbeConfig
    knn: KnnConfig
    components: int | None


def fit_folds(
    protocol: str, features: Matrix, samples: Samples, folds: Sequence[Fold], n_classes: int, options: Fits, seed: int
) -> list[Fitted]:
    """Fit and test all folds of one fraction and seed.

    Args:
        protocol: ``lp`` or ``knn``.
        features: (N, D) float64 of ``samples``.
        samples: of the task.
        folds: rows of each.
        n_classes: K.
        options: of the protocols.
        seed: of the inner folds.

    Raises:
        RunError: see `fit_probes`.
    """
    if protocol == "knn":
        return [_neighbours(features, samples, fold, n_classes, options.knn) for fold in folds]
    parts = [Part(fold.train, _inner(samples, fold.train, options.probe, seed)) for fold in folds]
    if samples.time is not None:
        data = (features, samples.label, samples.time)
        models = [fit_cox_probe(*data, part, options.probe, options.components) for part in parts]
        return [
            Fitted(model.predict(features[fold.test]), model.facts) for model, fold in zip(models, folds, strict=True)
        ]
    probes = fit_probes(features, samples.label, parts, n_classes, options.probe, options.components)
    return [Fitted(probe.predict(features[fold.test]), probe.facts) for probe, fold in zip(probes, folds, strict=True)]


def _inner(samples: Samples, train: Indices, config: ProbeConfig, seed: int) -> list[tuple[Indices, Indices]]:
    """Inner folds; none where a class has a single patient, as with one shot: the probe then takes `FEW_C`."""
    return inner_folds(samples, train, config, seed) if most_shots(samples, train) > 1 else []


def _neighbours(features: Matrix, samples: Samples, fold: Fold, n_classes: int, config: KnnConfig) -> Fitted:
    known = samples.label[fold.train]
    scores = knn_scores(features[fold.train], known, features[fold.test], n_classes, config.k, config.temperature)
    return Fitted(scores, {"k": min(config.k, len(known)), "temperature": config.temperature})
