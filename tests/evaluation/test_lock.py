"""One driver per study: refused while another is alive, whatever the clocks say; whoever was killed is succeeded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from orthoray import storage
from orthoray.errors import InputError, RunError
from orthoray.evaluation.lock import FILE, StudyLock, process_start

pytestmark = pytest.mark.slow
HOLD = """
import sys, time
from orthoray.evaluation.lock import StudyLock
with StudyLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


BEATING = """
import json, os, sys, time
for beat in range(100):
    with open(sys.argv[1] + ".new", "w") as file:
        json.dump({**json.loads(sys.argv[2]), "beat": beat}, file)
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(0.1)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the study."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def foreign(folder, **change):
    """A lock that a driver on another machine wrote."""
    claim = {"token": "t", "host": "elsewhere", "pid": 4242, "started": "1", "since": "a while ago", "beat": 7}
    storage.write_json(f"{folder}/{FILE}", {**claim, **change})


def test_a_second_driver_is_refused_and_the_first_is_named(tmp_path, other):
    with pytest.raises(InputError, match=f"process {other.pid} on .*, since 20.*choose another `out`"):
        StudyLock(str(tmp_path)).__enter__()
    assert storage.read_json(f"{tmp_path}/{FILE}")["pid"] == other.pid  # untouched


def test_a_driver_that_was_killed_is_succeeded_at_once(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with StudyLock(str(tmp_path), watch=60.0):
        assert storage.read_json(f"{tmp_path}/{FILE}")["pid"] == os.getpid()
    assert not (tmp_path / FILE).exists()


def test_a_number_that_another_process_has_now_is_no_driver(tmp_path):
    import socket

    foreign(tmp_path, host=socket.gethostname(), pid=os.getpid(), started="12")
    with StudyLock(str(tmp_path)):
        pass


@pytest.mark.parametrize("since", ["1999-01-01 00:00:00 UTC", "2999-01-01 00:00:00 UTC"])
def test_on_another_machine_only_its_beat_counts_not_its_clock(tmp_path, since):
    foreign(tmp_path, since=since)
    with StudyLock(str(tmp_path), watch=0.4):  # no beat for that long
        pass
    claim = {"token": "t", "host": "elsewhere", "pid": 4242, "started": "1", "since": since}
    process = subprocess.Popen([sys.executable, "-c", BEATING, str(tmp_path / FILE), json.dumps(claim)])
    try:
        while not (tmp_path / FILE).exists():
            time.sleep(0.02)
        with pytest.raises(InputError, match="elsewhere"):
            StudyLock(str(tmp_path), watch=3.0).__enter__()
    finally:
        process.kill()
        process.wait()


def test_a_lock_that_was_cut_off_locks_nobody_out(tmp_path):
    (tmp_path / FILE).write_text('{"token": "t", "ho')
    with StudyLock(str(tmp_path)):
        pass


def test_who_was_taken_over_is_told_and_leaves_the_lock_alone(tmp_path):
    with StudyLock(str(tmp_path), beat=0.05) as lock:
        lock.check()
        foreign(tmp_path)
        for _ in range(100):
            if lock.lost:
                break
            time.sleep(0.05)
        with pytest.raises(RunError, match="taken this study over"):
            lock.check()
    assert storage.read_json(f"{tmp_path}/{FILE}")["host"] == "elsewhere"


def test_the_start_of_a_process():
    assert process_start(os.getpid()) == process_start(os.getpid()) != ""
    assert process_start(2**22 + 1) == ""
