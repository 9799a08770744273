"""MLflow: a resumed command goes on in its own run, and a store that does not answer holds nothing up."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from orthoray import tracking
from orthoray.errors import InputError, StoppedError
from orthoray.tracking import Tracker, deliver_pending

LIMIT_S = 240


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_run_is_reopened_on_resume_and_closed_with_the_right_status(tmp_path):
    folder = str(tmp_path / "run")
    tracker = Tracker(folder, "pretrain", {"a": {"b": 1}})
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")

    def ended_by(error):
        with tracker:
            tracker.log({"loss": 3.0}, step=1)
            raise error

    for error, status in ((ValueError(), "FAILED"), (StoppedError(), "KILLED"), (KeyboardInterrupt(), "KILLED")):
        with pytest.raises(type(error)):
            ended_by(error)
        assert client.get_run(tracker.run_id).info.status == status
    with Tracker(folder, "pretrain", {"a": {"b": 1}}) as again:
        again.log({"loss": 2.0}, step=2)
    assert again.run_id == tracker.run_id
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a.b": "1"}
    logged = [(metric.step, metric.value) for metric in client.get_metric_history(tracker.run_id, "loss")]
    assert logged == [(1, 3), (1, 3), (1, 3), (2, 2)]
    assert run.info.artifact_uri.startswith(str(tmp_path))


class Server:
    """A real MLflow server on this machine, on SQLite."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        store = f"sqlite:///{self.folder}/server.db"
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--artifacts-destination", f"{self.folder}/files"]
        env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        stop = time.monotonic() + LIMIT_S
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).read()
                return self
            except OSError:
                told = (self.folder / "server.log").read_text()
                assert self.process.poll() is None, told
                assert time.monotonic() < stop, told
                time.sleep(0.2)

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.mark.slow
def test_a_server_that_dies_holds_nothing_up_and_gets_everything_when_it_is_back(tmp_path, monkeypatch, capsys):
    server, now = Server(tmp_path), [0.0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    folder, client = str(tmp_path / "run"), MlflowClient(tracking_uri=server.uri)

    def steps():
        return [(item.step, item.value) for item in client.get_metric_history(tracker.run_id, "loss")]

    try:
        with Tracker(folder, "pretrain", {"seed": 1}, clock=lambda: now[0]) as tracker:
            for step in range(1, 4):
                tracker.log({"loss": 10.0 - step, "lr": 0.1}, step)
            assert capsys.readouterr().out.count("does not take values") == 1
            server.start()
            tracker.log({"loss": 6.0}, step=4)  # too early: it is asked again after a pause
            assert tracker.run_id == ""
            now[0] += 60.0
            tracker.log({"loss": 5.0}, step=5)
            assert "everything is delivered" in capsys.readouterr().out
            assert steps() == [(step, 10.0 - step) for step in range(1, 6)]
            server.kill()
            tracker.log({"loss": 4.0}, step=6)
            tracker.log({"loss": 3.0}, step=7)
        shown = capsys.readouterr().out
        assert "has not taken 2 value(s)" in shown
        assert "mlflow_pending.json; give the same command again" in shown
        server.start()
        assert client.get_run(tracker.run_id).info.status == "RUNNING"
        deliver_pending(folder, "pretrain", {"seed": 1})
        run = client.get_run(tracker.run_id)
        assert (run.info.status, run.data.params) == ("FINISHED", {"seed": "1"})
        assert steps() == [(step, 10.0 - step) for step in range(1, 8)]
        assert not (tmp_path / "run" / "mlflow_pending.json").exists()
    finally:
        server.kill()


@pytest.mark.slow
def test_a_server_that_is_dead_from_the_start_is_told_and_all_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracking, "MOST_PENDING", 4)
    folder = str(tmp_path / "run")
    with Tracker(folder, "pretrain", {"seed": 1}) as tracker:
        for step in range(6):
            tracker.log({"loss": float(step)}, step)
    assert "the work goes on" in capsys.readouterr().out
    left = json.loads((tmp_path / "run" / "mlflow_pending.json").read_text())
    assert [(name, value, step) for name, value, _, step in left["values"]] == [("loss", n, n) for n in range(2, 6)]
    # it is never back, but there is another store: a run of its own holds all
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    deliver_pending(folder, "pretrain", {"seed": 1})
    (run,) = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/other.db").search_runs(["1"])
    assert (run.data.params, run.data.metrics, run.info.status) == ({"seed": "1"}, {"loss": 5.0}, "FINISHED")


def test_a_store_that_mlflow_does_not_know_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrier-pigeon://loft")
    with (
        pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI: carrier-pigeon://loft cannot be used"),
        Tracker("x", "y", {}),
    ):
        pass


def test_a_store_that_cannot_be_opened_does_not_stop_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    with Tracker(str(tmp_path / "run"), "pretrain", {}) as tracker:
        tracker.log({"loss": 1.0}, 0)
    assert "the work goes on, they are kept" in capsys.readouterr().out
    left = json.loads((tmp_path / "run" / "mlflow_pending.json").read_text())
    assert [(name, value) for name, value, _, _ in left["values"]] == [("loss", 1.0)]


def test_times_go_on_evenly_while_the_wall_clock_jumps(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    began = time.time()
    jumps = iter([began, began - 1e7, began + 1e7, began - 1e8] * 100)
    with Tracker(str(tmp_path / "run"), "pretrain", {}) as tracker, monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: next(jumps))
        for step in range(4):
            tracker.log({"loss": 1.0}, step)
    times = [at for _, _, at, _ in json.loads((tmp_path / "run" / "mlflow_pending.json").read_text())["values"]]
    assert times == sorted(times)
    assert abs(times[0] - 1000 * began) < 60_000
