"""A run that is taken away and cut short in every way goes on as if nothing had been."""

import json
import os
import re
import signal

import pytest
import torch
from tests.pretrain.commands import EVERY, STEPS, Command, committed, mlflow_run, run, same, weights

from orthoray.pretrain.monitor import read_history
from orthoray.pretrain.states import saved_states

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]
OF_TIME = {"seconds", "images_per_second", "data_wait", "mfu", "mfu_executed"}
SOMETIMES = {"position_sensitivity"}
"""Measured where a session begins and where it saves."""


def measured(out):
    return [{key: row[key] for key in row.keys() - OF_TIME - SOMETIMES} for row in read_history(str(out))]


def test_sigterm_a_killed_driver_and_a_truncated_state_change_nothing(whole, folder):
    out = folder / "stopped"

    with Command(folder, "config.yaml", "out=stopped") as command:
        command.until(lambda: committed(out), "first state")
        command.worker().terminate()  # as Kubernetes, Slurm and spot machines do
        assert command.finish() == 1, command.shown
        first = committed(out)
        assert re.search(rf"step {first}: a worker got SIGTERM, the state is saved", command.shown)
        assert f"The state of step {first} of {STEPS} is saved; give the same command again" in command.shown
        assert "Traceback" not in command.shown
    assert EVERY <= first < STEPS
    assert read_history(str(out))[-1]["step"] == first  # nothing was done that is not saved
    assert mlflow_run(out)[0].info.status == "KILLED"
    assert json.loads((out / "run.json").read_text())["status"] == "running"

    with Command(folder, "config.yaml", "out=stopped") as command:
        command.until(lambda: len(mlflow_run(out)[1]) > first, "step after SIGTERM to the worker")
        os.kill(command.process.pid, signal.SIGTERM)
        assert command.finish() == 1, command.shown
        assert f"going on at step {first}" in command.shown
        second = committed(out)
        assert f"stopped (SIGTERM). The state of step {second} of {STEPS} is saved" in command.shown
    assert first < second < STEPS
    assert read_history(str(out))[-1]["step"] == second

    with Command(folder, "config.yaml", "out=stopped") as command:
        command.until(lambda: len(mlflow_run(out)[1]) > second, "step after SIGTERM to the driver")
        command.process.kill()
        assert command.finish() == -signal.SIGKILL
        assert f"going on at step {second}" in command.shown

    newest, before = saved_states(str(out))[:2]
    with open(newest.file, "r+b") as handle:
        handle.truncate(os.path.getsize(newest.file) // 3)
    status, shown = run(folder, "config.yaml", "out=stopped")
    assert status == 0, shown
    assert f"warning: the state of step {newest.step} cannot be read (the file is cut off" in shown
    assert f"{newest.step - before.step} step(s) are done again" in shown
    assert f"going on at step {before.step}" in shown

    assert measured(out) == measured(whole)
    assert same(weights(out / "checkpoint"), weights(whole / "checkpoint"))
    states = [torch.load(item / "checkpoint" / "trainer" / "state.pt", weights_only=True) for item in (out, whole)]
    assert same(states[0]["student"], states[1]["student"])
