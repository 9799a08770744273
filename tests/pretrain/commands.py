"""`orthoray pretrain` as a user runs it: a process of its own, with a worker to kill and a Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file

from orthoray.pretrain.states import saved_states

LIMIT_S = 600
STEPS, EVERY = 400, 100
"""Length of the runs that tests share, and after how many steps they save."""


class Command:
    """A running `orthoray NAME ARGUMENTS`; use as a context manager, which leaves no process behind."""

    def __init__(self, folder, *arguments, name="pretrain"):
        psutil()  # imported now, since a kill must not wait for it
        self.log = folder / f"log-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "orthoray.cli", name, *map(str, arguments)]
        # Ray Train looks at its workers, and takes their checkpoints in, this often (2 s by default)
        env = os.environ | {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
        with self.log.open("w") as handle:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=handle, stderr=handle, start_new_session=True
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        members = self._members()
        for member in members:
            with contextlib.suppress(psutil().NoSuchProcess):
                member.kill()
        psutil().wait_procs(members, timeout=20)
        self.process.wait(20)

    @property
    def shown(self):
        return self.log.read_text()

    def finish(self):
        """The exit status."""
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running:\n{self.shown}") from None

    def until(self, condition, what):
        """Wait until ``condition()`` is true and return its value."""
        stop = time.monotonic() + LIMIT_S
        while not (found := condition()):
            assert self.process.poll() is None, f"ended before {what}:\n{self.shown}"
            assert time.monotonic() < stop, f"no {what}:\n{self.shown}"
            time.sleep(0.05)
        return found

    def worker(self):
        """The process in which rank 0 trains."""
        workers = [item for item in self._members() if "RayTrainWorker" in " ".join(item.cmdline())]
        assert len(workers) == 1, [item.cmdline() for item in self._members()]
        return workers[0]

    def interrupt(self):
        """Ctrl-C, which a terminal sends to the whole group of processes in front."""
        os.killpg(self.process.pid, signal.SIGINT)

    def _members(self):
        with contextlib.suppress(psutil().NoSuchProcess):
            own = psutil().Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []


def psutil():
    """Ray brings a copy of psutil, which importing Ray makes importable."""
    import ray  # noqa: F401

    import psutil as module  # isort: skip

    return module


def run(folder, *arguments):
    """Run `orthoray pretrain ARGUMENTS` to its end; (exit status, everything shown)."""
    with Command(folder, *arguments) as command:
        return command.finish(), command.shown


def committed(out):
    """Step of the newest state that is whole; 0 = none yet."""
    return max((saved.step for saved in saved_states(str(out))), default=0)


def mlflow_run(out):
    """(run, [(step, loss)] in the order of logging) of a run folder."""
    from mlflow import MlflowClient

    note = json.loads((out / "mlflow_run.json").read_text())
    client = MlflowClient(note["tracking_uri"])
    logged = client.get_metric_history(note["run_id"], "loss")
    return client.get_run(note["run_id"]), sorted(logged, key=lambda item: (item.timestamp, item.step))


def weights(folder):
    """The tensors of a checkpoint folder."""
    return load_file(folder / "model.safetensors")


def same(one, other):
    """True if two mappings hold the same tensors, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def contents(folder):
    """{path: bytes} of all files below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
