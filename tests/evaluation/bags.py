"""Studies of twelve slices in which one slice alone says what the label is."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from orthoray.data.splits import make_splits
from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.fits import Fits, Fold, fit_folds
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.protocol import Samples, fold_rows
from orthoray.evaluation.task_features import TaskFeatures

SLICES, STRENGTH = 12, 4.5


def samples_of_slices(labels, slices=SLICES, per_patient=1, position=None):
    n = len(labels)
    owner = np.repeat(np.arange(n), slices)
    return Samples(
        sample_id=np.array([f"s{i:04d}" for i in range(n)], dtype=object),
        patient_id=np.array([f"p{i // per_patient:04d}" for i in range(n)], dtype=object),
        label=np.asarray(labels, dtype=np.int64),
        image_id=np.array([f"i{i:05d}" for i in range(len(owner))], dtype=object),
        image_dataset=np.zeros(len(owner), dtype=np.int64),
        owner=owner,
        plane=np.array(["sagittal"] * len(owner), dtype=object),
        position=(np.tile(np.arange(slices), n) + 0.5) / slices if position is None else position,
    )


def planted_lesions(n=240, dim=24, strength=STRENGTH, seed=0):
    """Samples, features, and in which slice of a positive study the lesion is: ``strength`` SDs of one feature."""
    rng = np.random.default_rng(seed)
    samples = samples_of_slices(rng.permutation(np.arange(n) % 2))
    features = rng.normal(size=(n * SLICES, dim)).astype(np.float32)
    where = rng.integers(0, SLICES, n)
    features[np.arange(n) * SLICES + where, 0] += strength * samples.label
    return samples, features, where


def best_of_the_mean(strength=STRENGTH):
    """AUROC that no score of the mean of a study's slices surpasses.

    The mean of 12 slices is normal with SD 1/√12 in each feature, and differs by strength / 12 in one: the best
    score is that feature, with AUROC Φ(d / √2) for a difference of d SDs.
    """
    return float(norm.cdf(strength / SLICES * np.sqrt(SLICES) / np.sqrt(2)))


def best_of_the_largest(strength=STRENGTH):
    """AUROC of the largest value of the lesion's feature among 12 slices, by numerical integration.

    Of an ill study it is below x with probability Φ(x)¹¹ Φ(x − strength), of a healthy one with Φ(x)¹².
    """
    x = np.linspace(-6, 6 + strength, 20_001)
    density = SLICES * norm.pdf(x) * norm.cdf(x) ** (SLICES - 1)
    return float(np.trapezoid((1 - norm.cdf(x) ** (SLICES - 1) * norm.cdf(x - strength)) * density, x))


def spread_by_chance(positive, negative):
    """Standard deviation of the AUROC of a score that knows nothing (Mann and Whitney 1947)."""
    return float(np.sqrt((positive + negative + 1) / (12 * positive * negative)))


def marked_places(n=320, dim=8, seed=0):
    """Each study has a marked slice; the label is whether that lies in the second half.

    The mark is 8 SDs, which noise reaches in no slice, so AUROC 1 is possible for who knows the places. The slices are
    exchangeable without them: then the labels cannot be told.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    features = rng.normal(size=(n * SLICES, dim)).astype(np.float32)
    where = rng.integers(0, SLICES // 2, n) + labels * SLICES // 2
    features[np.arange(n) * SLICES + where, 0] += 8.0
    return samples_of_slices(labels), features


def folds_of(samples, folds=3, seed=0):
    splits = make_splits(samples.frame(), folds, seed)
    return [Fold(*fold_rows(samples, splits, number)) for number in range(folds)]


def fitted(protocols, samples, features, folds, n_classes=2, seed=0, **options):
    data = TaskFeatures(samples, "mean", lambda: features)
    return fit_folds(protocols, data, folds, n_classes, Fits(ProbeConfig(), KnnConfig(), None, **options), seed)


def auroc(samples, folds, found):
    values = [
        compute(["auroc"], samples.label[fold.test], one.scores)["auroc"]
        for fold, one in zip(folds, found, strict=True)
    ]
    return float(np.mean(values))
