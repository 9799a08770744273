"""What each protocol does with frozen features: scores for the test rows of every fold, and what was chosen for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.bag_fits import fit_bags
from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.cox_probe import fit_cox_probe
from orthoray.evaluation.frozen_settings import MilConfig, SgdConfig, TransformerConfig
from orthoray.evaluation.knn import knn_scores
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.protocol import Indices, Samples, inner_folds, most_shots
from orthoray.evaluation.sgd_fits import fit_sgd
from orthoray.evaluation.slices import RULES, combine, to_slices
from orthoray.evaluation.task_features import TaskFeatures

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
    mil: MilConfig = field(default_factory=MilConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    sgd: SgdConfig = field(default_factory=SgdConfig)


def family(protocol: str) -> str:
    """Protocols of one family share their fit: ``slices`` for all rules on a slice-level probe."""
    return "slices" if protocol in RULES else protocol


def fit_folds(
    protocols: Sequence[str], data: TaskFeatures, folds: Sequence[Fold], n_classes: int, options: Fits, seed: int
) -> dict[str, list[Fitted]]:
    """Fit and test all folds of one fraction and seed.

    Args:
        protocols: of one `family`.
        data: features of the task.
        folds: rows of each.
        n_classes: K.
        options: of the protocols.
        seed: of the inner folds, and of starting values.

    Returns:
        Protocol → one result per fold.

    Raises:
        RunError: features that are not finite or not there; see also `fit_probes` and `fit_sgd`.
    """
    kind = family(protocols[0])
    if kind == "slices":
        return _on_slices(protocols, data, folds, n_classes, options, seed)
    return {kind: _alone(kind, data, folds, n_classes, options, seed)}


def _alone(
    protocol: str, data: TaskFeatures, folds: Sequence[Fold], n_classes: int, options: Fits, seed: int
) -> list[Fitted]:
    samples = data.samples
    if protocol == "knn":
        return [_neighbours(data.pooled, samples, fold, n_classes, options.knn) for fold in folds]
    if protocol in ("mil", "transformer"):
        config = options.mil if protocol == "mil" else options.transformer
        return [Fitted(*fit_bags(data, fold.train, fold.test, n_classes, config, seed)) for fold in folds]
    parts = [Part(fold.train, _inner(samples, fold.train, options.probe, seed)) for fold in folds]
    if samples.time is not None:
        times = (data.pooled, samples.label, samples.time)
        models = [fit_cox_probe(*times, part, options.probe, options.components) for part in parts]
        return [
            Fitted(model.predict(data.pooled[fold.test]), model.facts)
            for model, fold in zip(models, folds, strict=True)
        ]
    if protocol == "sgd":
        return [
            Fitted(*fit_sgd(data, part, fold.test, n_classes, options.probe, options.sgd, seed))
            for part, fold in zip(parts, folds, strict=True)
        ]
    probes = fit_probes(data.pooled, samples.label, parts, n_classes, options.probe, options.components)
    return [
        Fitted(probe.predict(data.pooled[fold.test]), probe.facts) for probe, fold in zip(probes, folds, strict=True)
    ]


def _on_slices(
    rules: Sequence[str], data: TaskFeatures, folds: Sequence[Fold], n_classes: int, options: Fits, seed: int
) -> dict[str, list[Fitted]]:
    """One probe per fold on slices with the label of their study, whose C is chosen by the loss of slices."""
    samples, images = data.samples, np.asarray(data.images, dtype=np.float64)
    parts = []
    for fold in folds:
        rows, pairs = data.rows_of(fold.train), _inner(samples, fold.train, options.probe, seed)
        parts.append(Part(rows, to_slices(samples.owner[rows], fold.train, pairs)))
    labels = samples.label[samples.owner]
    probes = fit_probes(images, labels, parts, n_classes, options.probe, options.components)
    found: dict[str, list[Fitted]] = {rule: [] for rule in rules}
    for probe, fold, part in zip(probes, folds, parts, strict=True):
        rows, test = data.rows_of(fold.test), np.sort(fold.test)
        scores = probe.predict(images[rows])
        back = np.searchsorted(test, fold.test)
        for rule in rules:
            whole = combine(scores, np.searchsorted(test, samples.owner[rows]), len(test), rule)
            found[rule].append(Fitted(whole[back], {**probe.facts, "n_train_images": len(part.train)}))
    return found


def _inner(samples: Samples, train: Indices, config: ProbeConfig, seed: int) -> list[tuple[Indices, Indices]]:
    """Inner folds; none where a class has a single patient, as with one shot: the probe then takes `FEW_C`."""
    return inner_folds(samples, train, config, seed) if most_shots(samples, train) > 1 else []


def _neighbours(features: Matrix, samples: Samples, fold: Fold, n_classes: int, config: KnnConfig) -> Fitted:
    known = samples.label[fold.train]
    scores = knn_scores(features[fold.train], known, features[fold.test], n_classes, config.k, config.temperature)
    return Fitted(scores, {"k": min(config.k, len(known)), "temperature": config.temperature})
