"""Mean ranks over tasks, from a small table by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orthoray.evaluation.overall import rank_lines, rank_table


def summary(values, protocol="lp", fraction=1.0):
    """``values``: model → one value per task."""
    rows = [
        {"task": f"t{at}", "model": model, "protocol": protocol, "fraction": fraction, "mean": value, "headline": True}
        for model, column in values.items()
        for at, value in enumerate(column)
    ]
    return pd.DataFrame(rows)


THREE = {"pixels": [0.5, 0.6, 0.7, 0.5], "ours": [0.6, 0.7, 0.6, 0.9], "other": [0.5, 0.5, 0.8, 0.6]}


def test_ranks_wins_and_p_values():
    table = rank_table(summary(THREE), "ours").set_index("model")
    assert table["mean_rank"].to_dict() == pytest.approx({"pixels": 2.375, "ours": 1.5, "other": 2.125})
    assert table.loc["pixels", ["wins", "ties", "losses"]].tolist() == [3, 0, 1]
    assert table.loc["other", "p"] == 0.5  # differences +.1 +.2 -.2 +.3: 4 of 16 signs give a sum of 2.5 or less
    assert np.isnan(table.loc["ours", "p"])
    lines = rank_lines(table.reset_index())
    assert lines[0].startswith("lp, 4 tasks: ours 1.50, other 2.12, pixels 2.38; equal ranks p 0.")
    assert "lp: better than pixels on 3 of 4 tasks, p 0." in lines[1]


def test_protocols_stand_alone_and_tasks_that_lack_a_model_are_left_out():
    short = summary({name: values[:3] for name, values in THREE.items() if name != "pixels"}, "ft")
    less = summary({name: values[::-1] for name, values in THREE.items()}, fraction=0.5)
    both = pd.concat([summary(THREE), less, short, summary({"pixels": [0.1]}, "ft")])
    table = rank_table(both, "ours").set_index(["protocol", "model"])
    assert table.loc[("lp", "ours"), "mean_rank"] == 1.5  # at the largest share alone
    assert "ft" not in table.index.get_level_values("protocol")  # one task has all three models
    two = rank_table(summary({"a": [1, 2], "b": [2, 3]}), "a")
    assert two["friedman_p"].isna().all()
    assert rank_table(summary({"a": [1, 2]}), "a").empty
    assert rank_lines(rank_table(summary({"a": [1, 2]}), "a")) == []
