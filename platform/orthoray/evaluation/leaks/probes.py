"""Probes that should learn nothing: what is known without the image, its margin, and labels dealt out at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from orthoray.data.splits import outer_folds
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.leaks.findings import Finding
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.protocol import Samples, fold_rows, inner_folds
from orthoray.evaluation.statistics import cluster_bootstrap
from orthoray.features.aggregate import aggregate

MARGIN = 0.05
"""AUROC above one half that the lower end of an interval must exceed for an alarm."""

RESAMPLES = 500
PERMUTATIONS = 5
MOST_SAMPLES = 2000
"""Samples of a probe, drawn by patient; enough for an interval of a few hundredths."""

FRAME = 3
"""Width, in pixels of a thumbnail, of the margin that the background probe sees."""

ACQUISITION = (
    "site",
    "manufacturer",
    "field_strength_t",
    "row_spacing_mm",
    "col_spacing_mm",
    "height",
    "width",
    "slice_count",
)
"""Columns of a dataset's index that tell where and how an image was made, and nothing of the patient."""

PATIENT = ("age", "sex")
"""Columns that may rightly go with disease: told, without alarm."""

Matrix = npt.NDArray[np.float64]


def metadata(index: pd.DataFrame, columns: tuple[str, ...], owner: npt.NDArray[np.int64], samples: int) -> Matrix:
    """(N, D) what the index knows of each sample: means of numbers, shares of words, and whether it is unknown.

    Args:
        index: (M rows) of the task's images, in their order.
        columns: those that are there are used.
        owner: (M,) sample of each image.
        samples: N.
    """
    found = []
    for name in columns:
        if name not in index.columns:
            continue
        values = index[name].reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(values):
            unknown = values.isna().astype(float).rename("unknown")
            found += [values.fillna(values.median() if values.notna().any() else 0.0).astype(float), unknown]
        else:
            found += [
                column for _, column in pd.get_dummies(values.fillna("unknown").astype(str)).astype(float).items()
            ]
    table = (
        np.stack([column.to_numpy(dtype=np.float64) for column in found], axis=1)
        if found
        else np.zeros((len(index), 0))
    )
    means = aggregate(table, owner, samples)
    return means[:, means.std(axis=0) > 0]


def margins(thumbs: npt.NDArray[np.float32], owner: npt.NDArray[np.int64], samples: int) -> Matrix:
    """(N, D) grey levels of the outer `FRAME` pixels of thumbnails (M, side * side), meaned over a sample's images."""
    side = int(np.sqrt(thumbs.shape[1]))
    inside = np.zeros((side, side), dtype=bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    return aggregate(thumbs[:, ~inside.ravel()], owner, samples)


def blind_probe(
    check: str,
    task: str,
    features: Matrix,
    samples: Samples,
    split: pd.DataFrame,
    classes: int,
    seed: int,
    alarms: bool = True,
    tests: int = 1,
) -> Finding | None:
    """How well features that should know nothing tell the labels: AUROC (of each class against the rest), out of fold.

    A linear probe with the folds of the study; its 95 % interval is of draws of patients. Alarm: it is more than
    `MARGIN` above one half even at the lower end of an interval that allows for ``tests`` such probes (Bonferroni).
    None without features.
    """
    if features.shape[1] == 0:
        return None
    rows = _some(samples, seed)
    small = samples.without_images(rows)
    kept = split[split["sample_id"].isin(set(small.sample_id))]
    scores = out_of_fold(features[rows], small, kept, classes, ProbeConfig(c_steps=5, log10_c_min=-3, log10_c_max=1))
    found = cluster_bootstrap(
        "auroc_ovr", small.label, scores, small.patient_id, resamples=RESAMPLES, seed=seed, stratify=False
    )
    alarm = alarms and found.value - float(norm.isf(0.025 / tests)) * found.se > 0.5 + MARGIN
    detail = f"AUROC {found.value:.2f} ({found.low:.2f} to {found.high:.2f}) without looking at the joint"
    patients = len(set(small.patient_id))
    return Finding(task, check, found.value, found.low, found.high, 0.5 + MARGIN, alarm, patients, detail)


def permuted_labels(
    task: str, features: Matrix, samples: Samples, split: pd.DataFrame, classes: int, seed: int
) -> Finding:
    """The linear probe on labels that were dealt out anew among patients must find nothing.

    Patients keep their samples together and swap whole sets of labels with patients of as many samples. Alarm: the
    mean AUROC of `PERMUTATIONS` deals is more than `MARGIN` and three standard errors above one half; then the
    protocol leaks.
    """
    rows = _some(samples, seed)
    small = samples.without_images(rows)
    kept = split[split["sample_id"].isin(set(small.sample_id))]
    config = ProbeConfig(c_steps=1, log10_c_min=-2, log10_c_max=-2)
    values = []
    for deal in range(PERMUTATIONS):
        dealt = _dealt(small, np.random.default_rng((seed, deal)))
        scores = out_of_fold(features[rows], dealt, kept, classes, config)
        values.append(_auroc(dealt.label, scores))
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    limit = 0.5 + max(MARGIN, 3 * error)
    detail = f"AUROC {mean:.2f} ± {error:.2f} (standard error of {PERMUTATIONS} deals) on labels dealt out at random"
    return Finding(
        task, "permuted labels", mean, mean - 2 * error, mean + 2 * error, limit, mean > limit, len(rows), detail
    )


def unseen_rows(task: str, features: Matrix, samples: Samples, split: pd.DataFrame, classes: int, seed: int) -> Finding:
    """Nothing may be fitted on test rows: with theirs unreadable a fold's probe must be the same to the last digit."""
    rows = _some(samples, seed)
    small = samples.without_images(rows)
    kept = split[split["sample_id"].isin(set(small.sample_id))]
    train, test = fold_rows(small, kept, outer_folds(kept)[0])
    config = ProbeConfig(c_steps=3, log10_c_min=-3, log10_c_max=0)
    seen, hidden = features[rows], features[rows].copy()
    hidden[test] = np.nan
    part = Part(train, inner_folds(small, train, config, seed))
    plain, blind = (fit_probes(x, small.label, [part], classes, config)[0] for x in (seen, hidden))
    apart = float(np.abs(plain.predict(seen[test]) - blind.predict(seen[test])).max())
    detail = f"scores differ by {apart:.1e} when test rows are hidden from the fit"
    return Finding(
        task, "fitted outside training", apart, float("nan"), float("nan"), 0.0, apart > 0, len(rows), detail
    )


def out_of_fold(features: Matrix, samples: Samples, split: pd.DataFrame, classes: int, config: ProbeConfig) -> Matrix:
    """(N, K) probabilities of a linear probe, each sample's by the fold that tests it."""
    folds = [fold_rows(samples, split, fold) for fold in outer_folds(split)]
    folds = [(train, test) for train, test in folds if len(np.unique(samples.label[train])) > 1]
    choosing = config.c_steps > 1  # labels that were dealt out may leave a class one patient: no inner folds then
    parts = [Part(train, inner_folds(samples, train, config, 0) if choosing else []) for train, _ in folds]
    probes = fit_probes(features, samples.label, parts, classes, config)
    scores = np.full((len(samples.label), classes), 1.0 / classes)
    for probe, (_, test) in zip(probes, folds, strict=True):
        found = probe.predict(features[test])
        scores[test] = found - found.mean(axis=0)  # scores of different fits are not on one scale
    return scores


def _auroc(label: npt.NDArray[np.int64], scores: Matrix) -> float:
    return compute(["auroc_ovr"], label, scores)["auroc_ovr"] if len(np.unique(label)) > 1 else 0.5


def _some(samples: Samples, seed: int) -> npt.NDArray[np.int64]:
    """Rows of at most `MOST_SAMPLES` samples, patient by patient."""
    if len(samples.label) <= MOST_SAMPLES:
        return np.arange(len(samples.label))
    patients = np.unique(samples.patient_id.astype(str))
    order = np.random.default_rng((seed, 43)).permutation(len(patients))
    rank = dict(zip(patients[order], range(len(patients)), strict=True))
    place = np.array([rank[str(p)] for p in samples.patient_id])
    counts = np.cumsum(np.bincount(place))
    return np.flatnonzero(counts[place] <= MOST_SAMPLES)


def _dealt(samples: Samples, rng: np.random.Generator) -> Samples:
    label = samples.label.copy()
    _, patient = np.unique(samples.patient_id.astype(str), return_inverse=True)
    members = [np.flatnonzero(patient == p) for p in range(patient.max() + 1)]
    sizes = np.array([len(rows) for rows in members])
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        for one, other in zip(alike, rng.permutation(alike), strict=True):
            label[members[one]] = samples.label[members[other]]
    return replace(samples, label=label)
