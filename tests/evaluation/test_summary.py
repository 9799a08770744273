"""Mean, SD and verdict, against numbers worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from orthoray.errors import InputError
from orthoray.evaluation.summary import summarise, summary_lines, verdict, verdict_lines


def table(values, task="mr_acl", metric="auroc"):
    """``values``: model → per-fold values."""
    rows = []
    for model, folds in values.items():
        for fold, value in enumerate([*folds, sum(folds) / len(folds)]):
            number = fold if fold < len(folds) else -1
            rows.append(("s", task, model, "lp", 1.0, 0, number, metric, value, 10, 20))
    names = [
        "study",
        "task",
        "model",
        "protocol",
        "fraction",
        "seed",
        "fold",
        "metric",
        "value",
        "n_patients",
        "n_samples",
    ]
    return pd.DataFrame(rows, columns=names)


CLEAR = {"pixels": [0.5, 0.6, 0.7], "untrained": [0.6, 0.6, 0.6], "pretrained": [0.8, 0.9, 1.0]}


def test_mean_and_sd_by_hand():
    got = summarise(table(CLEAR)).set_index("model")
    assert got.loc["pixels", "mean"] == pytest.approx(0.6)
    assert got.loc["pixels", "sd"] == pytest.approx(0.1)  # ddof 1
    assert got.loc["untrained", "sd"] == 0
    assert got.loc["pretrained", "pooled"] == pytest.approx(0.9)
    assert got["n_folds"].tolist() == [3, 3, 3]
    assert got["headline"].all()
    assert list(got.index) == ["pixels", "untrained", "pretrained"]


def test_headline_is_the_card_s_first_metric():
    both = pd.concat([table(CLEAR), table(CLEAR, metric="accuracy")])
    got = summarise(both)
    assert got.loc[got["headline"], "metric"].unique().tolist() == ["auroc"]


def test_verdict_needs_more_than_the_sd_over_every_baseline():
    won = verdict(table(CLEAR)).iloc[0]
    assert won["beats"]
    assert won["margin"] == pytest.approx(0.3)
    # Ahead of pixels by far, of untrained by 0.05 with SD 0.1: not enough.
    close = {**CLEAR, "untrained": [0.75, 0.85, 0.95]}
    lost = verdict(table(close)).iloc[0]
    assert not lost["beats"]
    assert lost["best_baseline"] == "untrained"
    assert lost["margin"] == pytest.approx(0.05)


def test_noisy_baseline_widens_the_yardstick():
    noisy = {"pixels": [0.1, 0.2, 0.9], "untrained": [0.5, 0.5, 0.5], "pretrained": [0.7, 0.7, 0.7]}
    assert not verdict(table(noisy)).iloc[0]["beats"]  # 0.3 ahead, SD of pixels 0.44


def test_lines_name_tasks_models_and_counts():
    results = pd.concat([table(CLEAR), table({**CLEAR, "pretrained": [0.5, 0.6, 0.7]}, task="xr_tkr")])
    text = "\n".join(summary_lines(summarise(results)))
    assert "0.900 ± 0.100" in text
    assert text.count("auroc") == 2
    lines = verdict_lines(verdict(results))
    assert "on 1 of 2 tasks" in lines[0]
    assert "mr_acl" in lines[1]
    assert "xr_tkr" in lines[2]


def test_unknown_model_is_named():
    with pytest.raises(InputError, match="needs best and one of pixels, untrained"):
        verdict(table(CLEAR), candidate="best")
