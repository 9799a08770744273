"""Robustness: probes of clean images on worse ones, in a real study, and the mean corruption error by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.evaluation.conftest import study_config

from orthoray.config import parse_config
from orthoray.errors import InputError
from orthoray.evaluation.config import RobustnessConfig
from orthoray.evaluation.robustness import mean_error, robustness_lines


def table(**values):
    """``model: (noise, blur)`` values of one task."""
    rows = []
    for model, (noise, blur) in values.items():
        for kind, value in (("noise", noise), ("blur", blur)):
            rows.append({"task": "t", "model": model, "metric": "auroc", "corruption": kind, "severity": 3})
            rows[-1] |= {"clean": 0.9, "value": value, "loss": 0.9 - value}
    return pd.DataFrame(rows)


def test_mean_corruption_error_is_the_mean_ratio_of_errors():
    found = mean_error(table(pixels=(0.6, 0.8), ours=(0.8, 0.9))).set_index("model")["mce"]
    assert found["pixels"] == 1.0
    assert found["ours"] == pytest.approx(((0.2 / 0.4) + (0.1 / 0.2)) / 2)
    assert mean_error(table(ours=(0.8, 0.9))).empty
    assert np.isnan(mean_error(table(pixels=(1.0, 1.0), ours=(0.8, 0.9)))["mce"]).all()
    line = robustness_lines(table(pixels=(0.6, 0.8), ours=(0.8, 0.9)))[1]
    assert line.startswith("t, ours: auroc 0.900, 0.050 lost on average, most by noise (0.100)")
    assert robustness_lines(pd.DataFrame()) == []


def test_a_kind_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="noise"):
        parse_config(RobustnessConfig, {"corruptions": ["noize"]}, "robustness")


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_tests_worse_images_and_reads_what_it_measured(ray_session, cohort_of, capsys):
    from orthoray.evaluation.study import run_study

    folder = cohort_of(18)
    change = {"tasks": ["xr_tkr"], "protocols": ["lp"], "resamples": 100}
    change["robustness"] = {"corruptions": ["contrast", "sampling"], "severities": [1, 5]}
    out = run_study(study_config(folder, **change))
    found = pd.read_parquet(f"{out}/robustness.parquet")
    assert len(found) == 3 * 2 * 2
    results = pd.read_parquet(f"{out}/results.parquet")
    rows = results[(results["fold"] >= 0) & (results["metric"] == "auroc")]
    for model, mean in rows.groupby("model")["value"].mean().items():
        own = found[found["model"] == model]
        assert own["clean"].to_numpy() == pytest.approx(np.full(4, mean))  # the study's own probes
        assert (own["loss"] == own["clean"] - own["value"]).all()
    assert "Robustness" in capsys.readouterr().out
    stamp = (folder / "out" / "robustness.parquet").stat().st_mtime_ns
    run_study(study_config(folder, **change))
    assert (folder / "out" / "robustness.parquet").stat().st_mtime_ns == stamp
