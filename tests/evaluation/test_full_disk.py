"""A disk that fills up in the middle of a study: told, and what is done stays done."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import yaml
from tests.evaluation.conftest import study_values
from tests.test_full_disk import on_a_small_disk

from orthoray.config import parse_config
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.study import run_study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_study_goes_on_when_there_is_room_again(ray_session, cohort_of, tmp_path, monkeypatch):
    folder = cohort_of(18)
    values = study_values(folder, protocols=["lp"], resamples=100, name="small-disk")
    whole = run_study(parse_config(StudyConfig, values, "study"))
    disk, file = tmp_path / "disk", tmp_path / "config.yaml"
    disk.mkdir()
    file.write_text(yaml.safe_dump({**values, "features": {"store": str(tmp_path / "store")}}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")  # its database is not on that disk
    study = f"{sys.executable} -m orthoray.cli study {file} out={disk}/out; echo status $?"
    more = f"mount -o remount,size=64m {disk}; {study}; cp -r {disk}/out {tmp_path}/kept"
    done = on_a_small_disk(disk, f"{study}; {more}", "96k", limit_s=600)
    shown = done.stdout + done.stderr
    _before, after = done.stdout.split("status 1\n")
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, shown
    assert "the disk is full" in errors[0]
    assert "status 0" in after, shown
    assert "0 of them done before" not in after, shown
    columns = ["task", "model", "fold", "metric", "value"]
    ours, told = (pd.read_parquet(f"{place}/results.parquet")[columns] for place in (tmp_path / "kept", whole))
    pd.testing.assert_frame_equal(ours, told)
