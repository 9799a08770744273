"""A disk that fills up while a run saves, and an MLflow server that is not there: told, and nothing is lost."""

import shutil
import sys

import pytest
from tests.pretrain.commands import EVERY, same, weights
from tests.test_full_disk import on_a_small_disk

from orthoray.pretrain.states import saved_states

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


def size_of(*paths):
    return sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file())


def test_a_disk_that_fills_up_is_told_and_the_last_state_stays(whole, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    disk = tmp_path / "disk"
    disk.mkdir()
    state = size_of(*(whole / "train").glob("step-*")) // len(saved_states(str(whole)))
    room = size_of(whole / "initial") + 7 * state // 4  # for one state, not for two
    train = f"{sys.executable} -m orthoray.cli pretrain config.yaml out={disk} checkpoint.keep=1; echo status $?"
    find = f"find {disk} -name '*state.pt*' | sort"
    more = f"mount -o remount,size=64m {disk}; {train}; cp -r {disk} {tmp_path}/kept"
    done = on_a_small_disk(disk, f"cd {folder}; {train}; {find}; {more}", f"{room // 1024}k", limit_s=1500)
    shown = done.stdout + done.stderr
    before, after = done.stdout.split("status 1\n")
    assert "MLflow at http://127.0.0.1:9 does not take values" in before
    assert f"the state of step {2 * EVERY} could not be saved: the disk is full" in done.stderr, shown
    assert "give the same command again" in done.stderr
    assert "Traceback" not in shown
    (left,) = [line for line in after.splitlines() if line.endswith("state.pt")]
    assert f"step-{EVERY:08d}" in left
    assert "state.pt." not in shown  # nothing half-written
    assert f"going on at step {EVERY}" in after
    assert "status 0" in after, shown
    kept = tmp_path / "kept"
    assert same(weights(kept / "checkpoint"), weights(whole / "checkpoint"))
    shutil.rmtree(kept)
