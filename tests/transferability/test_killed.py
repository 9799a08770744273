"""A ranking that is killed goes on with what it lacks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from tests.pretrain.commands import psutil


def everything_killed(process):
    """The command and all that it started."""
    children = psutil().Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    for child in children:
        with contextlib.suppress(psutil().NoSuchProcess):
            child.kill()
    psutil().wait_procs(children, timeout=20)
    process.wait(20)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_killed_ranking_keeps_its_cells_and_ends_as_if_nothing_had_been(tmp_path, dataset_folder, tiny_checkpoint):
    checkpoints = [tiny_checkpoint(tmp_path / f"c{n}", seed=n) for n in range(3)]
    values = {
        "candidates": [{"name": f"m{n}", "checkpoint": uri} for n, uri in enumerate(checkpoints)],
        "targets": [
            {"dataset": dataset_folder(tmp_path / "d0", patients=60, dataset_id="d0"), "task": "xr_tkr"},
            {"dataset": dataset_folder(tmp_path / "d1", patients=60, dataset_id="d1"), "task": "mr_acl"},
        ],
        "bootstraps": 300,
        "estimators": ["logme", "itm"],
    }
    given = [f"{key}={json.dumps(value)}" for key, value in values.items()]

    def command(out):
        return [sys.executable, "-m", "orthoray.cli", "rank", f"out={out}", *given]

    out = tmp_path / "killed"
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    process = subprocess.Popen(command(out), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stop = time.monotonic() + 300
    while not (cells := list(out.glob("cells/*/*.json"))):
        assert process.poll() is None
        assert time.monotonic() < stop
        time.sleep(0.02)
    everything_killed(process)
    kept = {cell: cell.read_bytes() for cell in cells}
    told = subprocess.run(command(out), env=environment, capture_output=True, text=True, timeout=500)
    assert told.returncode == 0, told.stdout + told.stderr
    assert all(cell.read_bytes() == content for cell, content in kept.items())
    assert not list(out.rglob("*.tmp*"))
    subprocess.run(command(tmp_path / "whole"), env=environment, capture_output=True, timeout=500, check=True)
    folders = (out, tmp_path / "whole")
    first, second = (pd.read_parquet(f / "leaderboard.parquet").drop(columns="seconds") for f in folders)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
