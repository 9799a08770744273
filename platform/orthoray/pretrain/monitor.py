"""From the workers to the person: a mailbox actor, and the driver's side that writes history, MLflow and progress."""

from __future__ import annotations

import json
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

import ray

from orthoray import storage
from orthoray.progress import Progress, say
from orthoray.tracking import Tracker

if TYPE_CHECKING:
    from orthoray.pretrain.doctor import Doctor
    from orthoray.pretrain.probe_runner import ProbeRunner

POLL_SECONDS = 1.0
WRITE_SECONDS = 10.0
"""The history file is written again at most this often."""


@ray.remote(num_cpus=0)
class Mailbox:
    """Keeps what workers report until the driver takes it; outlives a killed worker."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.stop_asked = False

    def stop(self) -> None:
        """Ask the workers to save and end."""
        self.stop_asked = True

    def stopping(self) -> bool:
        """True once they are asked to."""
        return self.stop_asked

    def put(self, event: dict[str, Any]) -> None:
        """Add an event: ``{"kind": "start" | "row" | "probe" | "note" | "failed_batch" | "stopped" | "fatal", …}``.

        After the last two, workers that are started again end at once.
        """
        self.events.append(event)
        self.stop_asked = self.stop_asked or event["kind"] in ("stopped", "fatal")

    def take(self) -> list[dict[str, Any]]:
        """All events since the last call."""
        events, self.events = self.events, []
        return events


class Monitor:
    """Drains the mailbox in a thread while Ray Train runs; use as a context manager.

    Attributes:
        history: the rows of the whole run, those of earlier sessions included.
        fatal: message of a failure that would come again, or None.
        worker_pid: process of rank 0, once it has started.
        ended: why the run was told to end before its last step, or None.
        terminate: set it to have the workers save and end, to go on another time.
        stopped: the run has been, or will be, stopped to go on another time; why, or None.
        failed: per worker, its part in the step at which the run diverged.
    """

    def __init__(
        self,
        uri: str,
        mailbox: Any,
        tracker: Tracker,
        images: int,
        batch: int,
        doctor: Doctor | None = None,
        probes: ProbeRunner | None = None,
    ) -> None:
        self.doctor, self.probes = doctor, probes
        self.ended: str | None = None
        self.stopped: str | None = None
        self.terminate = threading.Event()
        self.failed: list[dict[str, Any]] = []
        self.uri, self.mailbox, self.tracker, self.batch = uri, mailbox, tracker, batch
        self.history = read_history(uri)
        self.fatal: str | None = None
        self.worker_pid = 0
        self._bar = Progress(images, "pretraining", "img")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._unwritten = False
        self._fresh = True
        self._failure: Exception | None = None

    def __enter__(self) -> Monitor:
        self._bar.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._bar.__exit__(kind, value, trace)
        if kind is None and self._failure is not None and self.fatal is None:
            raise self._failure

    def _run(self) -> None:
        polls = 0
        while not self._stop.wait(POLL_SECONDS):
            polls += 1
            self._once(write=self._unwritten and polls % round(WRITE_SECONDS / POLL_SECONDS) == 0)
        self._once(write=True)
        if self.probes is not None and self.fatal is None and self.stopped is None:
            self.probes.finish()

    def _once(self, write: bool) -> None:
        """Drain the mailbox and write; the first failure (full disk, locked tracking store) is kept, not the last."""
        try:
            self._pass_on()
            self._drain()
            if self.probes is not None:
                self.probes.poll()
                self._end(self.probes.verdict)
            if write:
                self._write()
        except Exception as error:  # raised again at the end: the thread must go on, or `fatal` would be missed
            if self._failure is None:
                self._failure = error
                say(f"  warning: progress cannot be recorded ({type(error).__name__}); training goes on")

    def _pass_on(self) -> None:
        if self.terminate.is_set() and self.stopped is None:
            self.stopped = "SIGTERM"
            say("  SIGTERM: the workers save the state and end")
            self.mailbox.stop.remote()

    def _drain(self) -> None:
        try:
            events = ray.get(self.mailbox.take.remote(), timeout=30)
        except (ray.exceptions.RayError, ValueError):
            return  # Ray is going down; what was taken before is kept
        for event in events:
            if event["kind"] == "start":
                self._started(event)
            elif event["kind"] == "fatal":
                self.fatal = self.fatal or event["message"]
            elif event["kind"] in ("note", "stopped"):
                say(f"  {event['text']}")
                self.stopped = self.stopped or (event["text"] if event["kind"] == "stopped" else None)
            elif event["kind"] == "failed_batch":
                self.failed.append({name: event[name] for name in ("step", "rank", "rows")})
            elif event["kind"] == "probe" and self.probes is not None:
                self.probes.offer(int(event["step"]), event["checkpoint"])
            else:
                self._row(event["row"])

    def _started(self, event: dict[str, Any]) -> None:
        step = int(event["step"])
        self.worker_pid = int(event["pid"])
        for line in event.get("damaged", []):
            say(f"  warning: {line}")
        say(f"  {event['text']}" + (f"; going on at step {step}" if step else ""))
        self.history = [row for row in self.history if row["step"] <= step]
        self._fresh = True

    def _row(self, row: dict[str, Any]) -> None:
        interval = row["seconds"]
        row["seconds"] = interval + (self.history[-1]["seconds"] if self.history else 0.0)
        self.history.append(row)
        self._unwritten = True
        step = int(row["step"])
        self.tracker.log({key: value for key, value in row.items() if key != "step"}, step)
        if self._fresh:  # what came before the first row was start-up
            self._bar.start_at(int(row["images_seen"]))
            self._fresh = False
        self._bar.advance(
            int(row["images_seen"]) - self._bar.done,
            loss=row["loss"],
            lr=row["lr"],
            entropy=row["teacher_entropy"],
            wait=f"{row['data_wait']:.0%}",
            mfu=f"{row['mfu']:.0%}",
            executed=f"{row['mfu_executed']:.0%}",
        )
        for finding in self.doctor.examine(self.history) if self.doctor else []:
            say(f"  doctor, step {finding.step:,}: {finding.cause}. {finding.text}")
        lost = self.doctor.must_stop() if self.doctor else None
        if lost is not None:
            self.fatal = f"stopped by the doctor at step {lost.step:,}: {lost.cause}. {lost.text}"
            self._end(self.fatal)

    def _end(self, reason: str | None) -> None:
        if reason and self.ended is None:
            self.ended = reason
            say(f"  {reason}")
            self.mailbox.stop.remote()

    def _write(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self.history)
        storage.write_bytes(storage.join(self.uri, "history.jsonl"), text.encode())
        self._unwritten = False


def read_history(uri: str) -> list[dict[str, Any]]:
    """The rows of ``history.jsonl`` of a run folder; none if there is no file yet."""
    file = storage.join(uri, "history.jsonl")
    if not storage.exists(file):
        return []
    return [json.loads(line) for line in storage.read_bytes(file).decode().splitlines() if line.strip()]
