"""MLflow runs: one per command, kept across resumes, on SQLite unless ``MLFLOW_TRACKING_URI`` says otherwise.

Work never waits for MLflow, nor fails with it. What a server does not take is kept and sent when it answers again; what
is left at the end lies in `PENDING_FILE`, and the next command in that folder sends it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orthoray import storage
from orthoray.errors import InputError, StoppedError
from orthoray.progress import say

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "orthoray"
RUN_ID_FILE = "mlflow_run.json"

PENDING_FILE = "mlflow_pending.json"
"""In a run's folder: values that MLflow has not taken yet."""

REQUEST = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Patience with a server, unless the environment says otherwise; MLflow's own would block for minutes."""

PAUSES = (5.0, 60.0)
"""Seconds until a server that did not answer is asked again: the first time, and at most."""

MOST_PENDING = 200_000
"""Values that are kept for a server that does not answer; then the oldest go."""

BATCH = 1000
"""The most values that MLflow takes at once."""

Value = tuple[str, float, int, int]
"""Name, value, time in ms, step."""


class Tracker:
    """Log one command to MLflow; a resumed command goes on in the run that its folder remembers.

    Args:
        run_dir: folder of the command's outputs; holds ``mlflow_run.json`` with the run id.
        command: name of the command, used as the run's name.
        params: resolved configuration; nested keys are joined by dots. Never put identities here.
        tags: further tags of the run.
        clock: seconds that never go back.

    Without ``MLFLOW_TRACKING_URI`` the store is ``mlflow.db`` beside ``run_dir`` (``run_dir`` must then be local;
    for a remote ``run_dir`` it is ``mlflow.db`` in the working directory).

    Attributes:
        run_id: of MLflow; empty as long as the store has not answered.

    Raises:
        InputError: on entering, if ``MLFLOW_TRACKING_URI`` is of a kind that MLflow does not know.
    """

    def __init__(
        self,
        run_dir: str,
        command: str,
        params: dict[str, Any],
        tags: dict[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir, self.command = run_dir, command
        self.params, self.tags = params, tags or {}
        self.uri = tracking_uri(run_dir)
        self.run_id = ""
        self._client: MlflowClient | None = None
        self._clock = clock
        self._offset = time.time() - clock()  # wall clocks jump; times within a session must not
        self._pending: deque[Value] = deque(maxlen=MOST_PENDING)
        self._dropped = 0
        self._pause, self._next_try = PAUSES[0], 0.0
        self._silent = False
        self._left = storage.join(run_dir, PENDING_FILE)
        self._unsent: list[tuple[str, str]] = []

    def __enter__(self) -> Tracker:
        if storage.exists(self._left):
            left = storage.read_json(self._left)
            self._pending.extend((str(key), float(value), at, step) for key, value, at, step in left["values"])
            self._unsent = [(str(key), str(value)) for key, value in left["params"]]
        self._next_try = self._clock()
        self._send()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt | StoppedError)
        status = "FINISHED" if kind is None else "KILLED" if stopped else "FAILED"
        self._next_try = self._clock()
        self._send(status)
        if not self._silent:
            storage.remove_tree(self._left)

    @property
    def client(self) -> MlflowClient:
        """The MLflow client; only inside the ``with`` block."""
        if self._client is None:
            raise RuntimeError("Tracker is used as a context manager")
        return self._client

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log a batch of metrics at ``step``; never raises for a store that does not answer."""
        now = int((self._clock() + self._offset) * 1000)
        self._dropped += max(0, len(self._pending) + len(metrics) - MOST_PENDING)
        self._pending.extend((key, float(value), now, step) for key, value in metrics.items())
        self._send()

    def _send(self, status: str | None = None) -> None:
        """Send what waits, and with ``status`` close the run; after a failure not before the pause is over."""
        if self._clock() < self._next_try:
            return
        try:
            self._deliver(status)
        except InputError:  # a kind of store that there is not: no pause will mend that
            raise
        except Exception as error:  # whatever a store, a driver of it or the way there raises
            self._failed(error, final=status is not None)
            return
        if self._silent:
            self._silent, self._pause = False, PAUSES[0]
            lost = f"; {self._dropped:,} value(s) were too many to keep" if self._dropped else ""
            say(f"  MLflow answers again: everything is delivered{lost}")

    def _deliver(self, status: str | None) -> None:
        from mlflow.entities import Metric, Param

        if not self.run_id:
            self._open()
        while self._unsent:
            some = self._unsent[:100]  # the most that one batch may hold
            self.client.log_batch(self.run_id, params=[Param(*param) for param in some])
            del self._unsent[: len(some)]
        while self._pending:
            batch = [self._pending[at] for at in range(min(BATCH, len(self._pending)))]
            self.client.log_batch(self.run_id, metrics=[Metric(*value) for value in batch])
            for _ in batch:
                self._pending.popleft()
        if status is not None:
            self.client.set_terminated(self.run_id, status=status)

    def _failed(self, error: Exception, final: bool) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if not self._silent and not final:
            say(f"  warning: MLflow at {self.uri} does not take values ({reason}); the work goes on, they are kept")
        self._silent, self._next_try = True, self._clock() + self._pause
        self._pause = min(2 * self._pause, PAUSES[1])
        if not final:
            return
        text = f"  warning: MLflow at {self.uri} has not taken {len(self._pending):,} value(s) ({reason})"
        try:
            storage.write_json(self._left, {"values": list(self._pending), "params": self._unsent})
        except OSError as problem:
            say(f"{text}, and they could not be kept ({type(problem).__name__})")
            return
        say(f"{text}. They are in {self._left}; give the same command again when it answers, and they are sent")

    def _open(self) -> None:
        self._client = self._client or _client(self.uri)
        remembered = _remembered(self.run_dir, self.uri)
        self.run_id = remembered if self._reopen(remembered) else self._create()
        storage.write_json(storage.join(self.run_dir, RUN_ID_FILE), {"tracking_uri": self.uri, "run_id": self.run_id})

    def _reopen(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        if not run_id:
            return False
        try:
            self.client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # gone, or deleted
                return False
            raise
        return True

    def _create(self) -> str:
        experiment = _experiment(self.client, self.run_dir)
        tags = {**self.tags, "orthoray.command": self.command}
        run = self.client.create_run(experiment, run_name=self.command, tags=tags)
        self._unsent = [(key, str(value)[:500]) for key, value in _flatten(self.params).items()]
        return str(run.info.run_id)


def deliver_pending(run_dir: str, command: str, params: dict[str, Any]) -> None:
    """Send what MLflow has not taken of a command that has finished; nothing to do in most cases."""
    if storage.exists(storage.join(run_dir, PENDING_FILE)):
        with Tracker(run_dir, command, params):
            pass


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
    for name, value in REQUEST.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # again: importing mlflow sets it
        try:
            return MlflowClient(tracking_uri=uri)
        except MlflowException as error:
            raise InputError(f"MLFLOW_TRACKING_URI: {uri} cannot be used: {str(error).splitlines()[0]}") from None


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
