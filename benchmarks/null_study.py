"""How often a study claims a difference where there is none: permuted labels, two models, the default tests.

    python benchmarks/null_study.py [COMPARISONS]

Each comparison draws features of 150 patients (two images each) for two models that see alike but not the same, and
labels that have nothing to do with them; probes are chosen and fitted in five folds as `orthoray study` does it. A test
at 0.05 may reject in 7 % of the comparisons at most. Beside them stand the plain t-test on folds ("paper mode"), and
the tests of the trained models as they are, without the correction for what the folds share.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import torch

from orthoray.data.splits import make_splits
from orthoray.evaluation.comparisons import compare, draw_all
from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.fits import Fits, Fold, fit_folds
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.protocol import Samples, fold_rows
from orthoray.evaluation.statistics import difference_of, paired_delong_over_folds
from orthoray.evaluation.task_features import TaskFeatures

PATIENTS, DIM, FOLDS, LEVEL, MOST = 150, 24, 5, 0.05, 0.07
OPTIONS = Fits(ProbeConfig(log10_c_min=-3.0, log10_c_max=1.0, c_steps=5), KnnConfig(), None)


def made(seed: int) -> tuple[Samples, dict[str, Any]]:
    """Samples of two images per patient with random labels, and features of two models."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(PATIENTS), 2)
    label = rng.permutation(np.arange(PATIENTS) % 2)[person]
    names = np.array([f"i{k:04d}" for k in range(len(person))], dtype=object)
    patients = np.array([f"p{k:04d}" for k in person], dtype=object)
    zeros, owner = np.zeros(len(person), dtype=np.int64), np.arange(len(person))
    common = rng.standard_normal((PATIENTS, DIM))[person] + 0.7 * rng.standard_normal((len(person), DIM))
    features = {name: common + 0.7 * rng.standard_normal(common.shape) for name in ("ours", "other")}
    return Samples(names, patients, label, names, zeros, owner), features


def tables(samples: Samples, features: dict[str, Any], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and predictions of a study of one task and seed."""
    splits = make_splits(samples.frame(), FOLDS, seed)
    folds = [Fold(*fold_rows(samples, splits, number)) for number in range(FOLDS)]
    results, predictions = [], []
    for model, values in features.items():
        data = TaskFeatures(samples, "mean", lambda values=values: values)
        fitted = fit_folds(["lp"], data, folds, 2, OPTIONS, seed)["lp"]
        for number, (fold, one) in enumerate(zip(folds, fitted, strict=True)):
            head = {"study": "null", "task": "t", "model": model, "protocol": "lp", "fraction": 1.0, "seed": seed}
            scores = {f"score_{k}": one.scores[:, k] for k in range(2)}
            predictions.append(samples.frame(fold.test).assign(**head, fold=number, **scores))
            value = compute(["auroc"], samples.label[fold.test], one.scores)["auroc"]
            trained = json.dumps({"n_train_patients": len(set(samples.patient_id[fold.train]))})
            facts = {"n_patients": len(set(samples.patient_id[fold.test])), "params": trained}
            results.append({**head, "fold": number, "metric": "auroc", "value": value, **facts})
    return pd.DataFrame(results), pd.concat(predictions, ignore_index=True)


def p_values(seed: int) -> dict[str, float]:
    """One comparison, by every test."""
    samples, features = made(seed)
    results, predictions = tables(samples, features, seed)
    draws = draw_all(predictions, {"t": ["auroc"]})
    row = compare(results, draws, {"t": "auroc"}, "ours").iloc[0]
    ours, other = (predictions[predictions["model"] == name] for name in ("ours", "other"))
    areas = paired_delong_over_folds(ours["label"], ours["score_1"], other["score_1"], ours["fold"], ours["patient_id"])
    keys = [("t", model, "lp", 1.0, "auroc") for model in ("ours", "other")]
    return {
        "bootstrap over patients": float(row["p"]),
        "Nadeau and Bengio": float(row["fold_p"]),
        "(bootstrap without correction)": difference_of(*(draws[key] for key in keys)).p,
        "(DeLong with patients, without correction)": areas.p,
        "(paper mode: plain t-test)": float(row["paper_p"]),
    }


def main() -> None:
    """Print the share of rejections of each test; exit with 1 if a default test rejects too often."""
    torch.set_num_threads(1)
    count, begin = int(sys.argv[1]) if sys.argv[1:] else 400, time.perf_counter()
    found = pd.DataFrame([p_values(seed) for seed in range(count)])
    share = (found < LEVEL).mean()
    met = True
    for name, value in share.items():
        default = not str(name).startswith("(")
        judged = f"wanted at most {MOST:.0%}" if default else "beside them"
        met &= value <= MOST or not default
        print(f"  {name}: {value:.1%} of {count} comparisons below {LEVEL:g}, {judged}")
    print(f"null_study: {'met' if met else 'NOT met'} ({time.perf_counter() - begin:.0f} s)")
    sys.exit(not met)


if __name__ == "__main__":
    main()
