"""MLflow runs: one per command, kept across resumes, on SQLite unless ``MLFLOW_TRACKING_URI`` says otherwise."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orthoray import storage
from orthoray.progress import say

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "orthoray"
RUN_ID_FILE = "mlflow_run.json"


class Tracker:
    """Log one command to MLflow; a resumed command goes on in the run that its folder remembers.

    Args:
        run_dir: folder of the command's outputs; holds ``mlflow_run.json`` with the run id.
        command: name of the command, used as the run's name.
        params: resolved configuration; nested keys are joined by dots. Never put identities here.
        tags: further tags of the run.

    Without ``MLFLOW_TRACKING_URI`` the store is ``mlflow.db`` beside ``run_dir`` (``run_dir`` must then be local;
    for a remote ``run_dir`` it is ``mlflow.db`` in the working directory).
    """

    def __init__(self, run_dir: str, command: str, params: dict[str, Any], tags: dict[str, str] | None = None) -> None:
        self.run_dir, self.command = run_dir, command
        self.params, self.tags = params, tags or {}
        self.uri = tracking_uri(run_dir)
        self.run_id = ""
        self._client: MlflowClient | None = None

    def __enter__(self) -> Tracker:
        self._client = _client(self.uri)
        remembered = _remembered(self.run_dir, self.uri)
        self.run_id = remembered if self._reopen(remembered) else self._create()
        storage.write_json(storage.join(self.run_dir, RUN_ID_FILE), {"tracking_uri": self.uri, "run_id": self.run_id})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"
        self.client.set_terminated(self.run_id, status=status)

    @property
    def client(self) -> MlflowClient:
        """The MLflow client; only inside the ``with`` block."""
        if self._client is None:
            raise RuntimeError("Tracker is used as a context manager")
        return self._client

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log a batch of metrics at ``step``."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(
            self.run_id, metrics=[Metric(key, float(value), now, step) for key, value in metrics.items()]
        )

    def artifact(self, path: str | Path) -> None:
        """Keep a local file with the run."""
        self.client.log_artifact(self.run_id, str(path))

    def _reopen(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        if not run_id:
            return False
        try:
            self.client.update_run(run_id, status="RUNNING")
        except MlflowException:
            return False
        return True

    def _create(self) -> str:
        from mlflow.entities import Param

        experiment = _experiment(self.client, self.run_dir)
        tags = {**self.tags, "orthoray.command": self.command}
        run = self.client.create_run(experiment, run_name=self.command, tags=tags)
        flat = [Param(key, str(value)[:500]) for key, value in _flatten(self.params).items()]
        for start in range(0, len(flat), 100):  # the most that one batch may hold
            self.client.log_batch(run.info.run_id, params=flat[start : start + 100])
        return str(run.info.run_id)


def tracking_uri(run_dir: str) -> str:
    """The tracking server of a run: ``MLFLOW_TRACKING_URI``, else SQLite beside the run's folder."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    local = storage.local_path(run_dir)
    return f"sqlite:///{(local.resolve().parent if local else Path.cwd()) / 'mlflow.db'}"


def _client(uri: str) -> MlflowClient:
    import logging
    import warnings

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # again: importing mlflow sets it
        return MlflowClient(tracking_uri=uri)


def _remembered(run_dir: str, uri: str) -> str:
    file = storage.join(run_dir, RUN_ID_FILE)
    if not storage.exists(file):
        return ""
    note = storage.read_json(file)
    if note.get("tracking_uri") != uri:
        say(f"  tracking moved from {note.get('tracking_uri')} to {uri}: a new MLflow run is opened")
        return ""
    return str(note.get("run_id", ""))


def _experiment(client: MlflowClient, run_dir: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    local = storage.local_path(run_dir)
    own_store = "MLFLOW_TRACKING_URI" not in os.environ and local is not None
    location = str(local.resolve().parent / "mlartifacts") if own_store and local is not None else None
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=location))
    except MlflowException:  # another process was first
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            raise
        return str(found.experiment_id)


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
