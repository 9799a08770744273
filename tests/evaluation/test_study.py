"""A whole study through Ray Data and Ray Tune, and its resumption."""

from __future__ import annotations

import pandas as pd
import pytest
from tests.evaluation.conftest import study_config

from orthoray import storage
from orthoray.errors import InputError
from orthoray.evaluation.study import run_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def cohort(cohort_of):
    return cohort_of()


def stamps(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.rglob("parts/**/*.parquet")}


def test_study_end_to_end_and_resume(ray_session, cohort, capsys):
    out = run_study(study_config(cohort))
    folder = cohort / "out"
    results = pd.read_parquet(folder / "results.parquet")
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert set(results["model"]) == {"pixels", "untrained", "pretrained"}
    assert set(results["task"]) == {"mr_acl", "xr_tkr"}
    assert len(results) == 2 * 3 * 2 * 4 * 7  # tasks x models x protocols x (3 folds + pooled) x metrics
    assert len(predictions) == 2 * 3 * 2 * 18
    pixels = results[(results["model"] == "pixels") & (results["metric"] == "auroc") & (results["fold"] == -1)]
    assert (pixels.loc[pixels["protocol"] == "lp", "value"] > 0.9).all()  # the bar is plainly visible
    shown = capsys.readouterr().out
    assert "beats every baseline" in shown
    tests = pd.read_parquet(folder / "comparisons.parquet")
    assert set(zip(tests["task"], tests["baseline"], strict=True)) == {
        (task, model) for task in ("mr_acl", "xr_tkr") for model in ("pixels", "untrained")
    }
    assert all(
        f"{row.task}, {row.protocol}: {row.difference:+.3f} over {row.baseline}" in shown for row in tests.itertuples()
    )
    assert len(pd.read_parquet(folder / "intervals.parquet")) == 2 * 3 * 2 * 7  # tasks x models x protocols x metrics

    facts = storage.read_json(f"{out}/study.json")
    assert facts["status"] == "done"
    assert [model["name"] for model in facts["models"]] == ["pixels", "untrained", "pretrained"]
    assert facts["overlap"]["transductive"] is True
    assert facts["overlap"]["models"] == {"pretrained": ["ds-test"]}
    assert facts["tasks"]["mr_acl"]["metric"] == "auroc"
    assert sorted(f.name for f in (folder / "splits").glob("*.parquet")) == [
        "mr_acl-seed0.parquet",
        "xr_tkr-seed0.parquet",
    ]
    assert not (folder / ".tune").exists()

    before = stamps(folder)
    assert len(before) == 2 * 3 * 2 * 3
    lost = sorted(name for name in before if "-lp-" in name)[0]
    next(folder.rglob(lost)).unlink()
    run_study(study_config(cohort))
    after = stamps(folder)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == [lost]
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"), predictions)

    with pytest.raises(InputError, match="Splits are never changed"):
        run_study(study_config(cohort, folds=4))
    assert stamps(folder) == after
