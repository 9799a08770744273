"""Cross-validated linear probe: logistic regression on standardised features, a sanity column."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orthoray.transferability.checks import Outcome, Parity, Sample, ScoreInputError


def probe(sample: Sample, *, seed: int = 0, parity: Parity = "corrected", folds: int = 3) -> Outcome:
    """Out-of-fold balanced accuracy in 0..1; macro one-against-rest AUROC and accuracy in the details."""
    folds = min(folds, int(sample.counts.max()))
    if folds < 2:
        raise ScoreInputError("the probe needs two folds and a class of two samples: give more samples or folds=3.")
    chance = np.zeros((len(sample.y), sample.classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        for fit, held in splitter.split(sample.x, sample.y):
            known = np.unique(sample.y[fit])
            if len(known) == 1:
                chance[held, known[0]] = 1.0
                continue
            model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))
            chance[np.ix_(held, known)] = model.fit(sample.x[fit], sample.y[fit]).predict_proba(sample.x[held])
    right = chance.argmax(axis=1) == sample.y
    areas = [roc_auc_score(sample.y == c, chance[:, c]) for c in range(sample.classes)]
    recall = np.bincount(sample.y, right) / sample.counts
    return Outcome(float(recall.mean()), (), {"auroc": float(np.mean(areas)), "accuracy": float(right.mean())})
