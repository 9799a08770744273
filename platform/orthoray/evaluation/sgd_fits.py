"""One outer fold of the 52 heads: the best on inner validation, fitted again on the whole training part."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.frozen_settings import SgdConfig
from orthoray.evaluation.probe import Part, inner_score, row_weights
from orthoray.evaluation.protocol import Indices
from orthoray.evaluation.sgd_heads import HEADS, Head, Linear, fit_heads, steps
from orthoray.evaluation.task_features import TaskFeatures

Matrix = npt.NDArray[np.float64]


def fit_sgd(
    data: TaskFeatures, part: Part, test: Indices, n_classes: int, probe: ProbeConfig, config: SgdConfig, seed: int
) -> tuple[Matrix, dict[str, Any]]:
    """Train all heads on inner folds, choose one, train it on the training part, and score ``test``.

    Features are not standardised: the backbone's final norm has done it, as in DINOv2.

    Args:
        data: features of the task, with those of blocks.
        part: training rows and inner folds.
        test: rows of the test samples.
        n_classes: K.
        probe: inner metric and class weights.
        config: of the training.
        seed: of starting weights and order.

    Returns:
        (N test, K) probabilities, and facts for the row's ``params``.

    Raises:
        RunError: no features of blocks, or every head has diverged.
    """
    features, labels = data.blocks, data.samples.label
    totals, size = np.zeros(len(HEADS)), 0
    for fit, validate in part.inner:
        rows, held = part.train[fit], part.train[validate]
        heads = _train(features, labels, rows, HEADS, n_classes, probe, config, seed)
        scores = [_score(head, features, labels, rows, held, n_classes, probe) for head in heads]
        totals, size = totals + len(held) * np.array(scores), size + len(held)
    if not np.isfinite(totals).any():
        raise RunError(f"all {len(HEADS)} heads have diverged: their features are too large for SGD. Use lp.")
    best = int(np.argmax(totals))
    head = _train(features, labels, part.train, [HEADS[best]], n_classes, probe, config, seed)[0]
    found = _probabilities(head, features[test])
    if not np.isfinite(found).all():
        raise RunError("the chosen head has diverged on the whole training part; lower sgd.iterations.")
    facts = {
        "rate": head.head.rate,
        "blocks": head.head.blocks,
        "patches": head.head.patches,
        "inner_metric": probe.inner_metric,
        "inner_folds": len(part.inner),
        "inner_score": round(float(totals[best] / size), 6),
        "heads": len(HEADS),
        "heads_diverged": int((~np.isfinite(totals)).sum()),
        "class_weight": probe.class_weight,
    }
    return found, facts


def _train(
    features: Matrix,
    labels: npt.NDArray[np.int64],
    rows: Indices,
    heads: list[Head],
    n_classes: int,
    probe: ProbeConfig,
    config: SgdConfig,
    seed: int,
) -> list[Linear]:
    x = torch.from_numpy(features[rows].astype(np.float32))
    y, weights = torch.from_numpy(labels[rows]), torch.from_numpy(row_weights(labels, rows, probe)[rows])
    order = steps(len(rows), config.batch_size, config.iterations, seed)
    return fit_heads(x, y, weights, heads, n_classes, order, seed)


def _probabilities(head: Linear, features: Matrix) -> Matrix:
    logits = head.logits(torch.from_numpy(features.astype(np.float32)))
    return np.asarray(logits.double().softmax(dim=1).numpy())


def _score(
    head: Linear,
    features: Matrix,
    labels: npt.NDArray[np.int64],
    fit: Indices,
    held: Indices,
    n_classes: int,
    probe: ProbeConfig,
) -> float:
    scores = _probabilities(head, features[held])
    if not np.isfinite(scores).all():
        return -np.inf
    return inner_score(probe, labels[fit], labels[held], scores, n_classes)
