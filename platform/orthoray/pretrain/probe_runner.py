"""Probes beside training: one Ray task at a time, on processors that training leaves over, or none at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from orthoray import storage
from orthoray.pretrain.best import Best
from orthoray.pretrain.probes import ProbeJob, Row, probe_checkpoint
from orthoray.pretrain.teacher_checkpoint import FOLDER
from orthoray.progress import say

FILE = "probes.jsonl"
"""Rows of all probes of a run, in its folder."""

ALL = "all"
"""Task of the row that holds the mean over the tasks, by which the best checkpoint is chosen."""

BEST = "best"
"""The best probed checkpoint, in a run's folder."""


@dataclass(frozen=True)
class Offer:
    """A checkpoint that waits to be probed. ``keep``: it is not the runner's to remove."""

    step: int
    checkpoint: str
    since: float
    keep: bool


class ProbeRunner:
    """Takes offers of checkpoints and turns them into rows; lives in the driver.

    Nothing here raises for a probe that fails: training is worth more than looking at it.

    Args:
        run: URI of the run's folder; it gets ``probes.jsonl`` and ``best/``.
        job: from `plan_probes`.
        log: takes metrics and a step, for MLflow.
        clock: seconds that never go back.

    Attributes:
        verdict: why the run should stop early, or None.
    """

    def __init__(
        self,
        run: str,
        job: ProbeJob,
        log: Callable[[dict[str, float], int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run, self.job, self.log, self.clock = run, job, log, clock
        self.rows = read_probes(run)
        self.best = Best(job.config)
        if storage.exists(storage.join(run, BEST, "card.json")):
            found = [row for row in self.rows if "value" in row and row["task"] != ALL]
            for step in sorted({row["step"] for row in found}):
                self.best.take(step, [row for row in found if row["step"] == step])
        self.verdict = self.best.verdict()
        self._waiting: Offer | None = None
        self._running: tuple[Offer, Any] | None = None

    def offer(self, step: int, checkpoint: str, keep: bool = False) -> None:
        """Probe a checkpoint when there is room for it; one that still waits is left out in its favour."""
        if any(row["step"] == step and "value" in row for row in self.rows):
            self._remove(Offer(step, checkpoint, 0.0, keep))  # a resumed run comes by again
            return
        if self._waiting is not None:
            self._skip(self._waiting, "the next one was due before a processor was free")
        self._waiting = Offer(step, checkpoint, self.clock(), keep)
        self.poll()

    def poll(self) -> None:
        """Collect what has finished, start what waits, give up what has waited too long. Returns at once."""
        if self._running is not None:
            offer, task = self._running
            done, _ = ray.wait([task], timeout=0)
            if not done:
                return
            self._running = None
            self._collect(offer, task)
        if self._waiting is not None:
            offer, short = self._waiting, self._lacking()
            if short is None:
                self._waiting = None
                self._running = (offer, self._start(offer))
            elif self.clock() - offer.since >= self.job.config.wait_seconds:
                self._waiting = None
                self._skip(offer, short)

    def finish(self, seconds: float = 600.0) -> None:
        """At the end of a run, when its processors are free: let what is left be probed for at most ``seconds``."""
        end = self.clock() + seconds
        while (self._running is not None or self._waiting is not None) and self.clock() < end:
            if self._running is not None:
                ray.wait([self._running[1]], timeout=max(0.0, end - self.clock()))
            else:
                time.sleep(0.2)
            self.poll()
        if self._running is not None:
            offer, task = self._running
            self._running = None
            ray.cancel(task, force=True)
            self._skip(offer, f"it had not finished {seconds:.0f} s after the run")
        if self._waiting is not None:
            self._skip(self._waiting, "the run was over")
            self._waiting = None
        waiting = storage.join(self.run, FOLDER)
        if not storage.list_files(waiting):
            storage.remove_tree(waiting)

    def _start(self, offer: Offer) -> Any:
        from orthoray.cluster.session import WORKER_ENV

        made = self.job.config
        task: Any = ray.remote(probe_checkpoint).options(
            num_cpus=made.cpus, num_gpus=made.gpus, max_retries=0, runtime_env={"env_vars": WORKER_ENV}
        )
        device = "cuda" if made.gpus else "cpu"
        return task.remote(offer.checkpoint, self.job, max(1, round(made.cpus)), device)

    def _lacking(self) -> str | None:
        """What a probe wants and the cluster does not have free; None if it may start."""
        free = ray.available_resources()  # type: ignore[no-untyped-call]
        for name, wanted in (("CPU", self.job.config.cpus), ("GPU", self.job.config.gpus)):
            if wanted > float(free.get(name, 0.0)) + 1e-6:
                return f"{wanted:g} {name} wanted, {float(free.get(name, 0.0)):g} free"
        return None

    def _collect(self, offer: Offer, task: Any) -> None:
        try:
            found: list[Row] = ray.get(task)
        except Exception as error:  # whatever a worker, its death or the data raises
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            self._skip(offer, f"it failed: {lines[-1] if lines else type(error).__name__}")
            return
        best = self.best.take(offer.step, found)
        if best:
            self._keep(offer)
        score = {"value": self.best.score_of(found), "best": best}
        whole = {"task": ALL, "protocol": self.job.config.choose_by, "metric": "mean", **score}
        self._write(offer.step, [*found, whole])
        self.log(_metrics(found), offer.step)
        say(f"  probe at step {offer.step:,}: {_words(found)}{'; the best so far' if best else ''}")
        self._remove(offer)
        self.verdict = self.best.verdict()

    def _skip(self, offer: Offer, reason: str) -> None:
        self._write(offer.step, [{"skipped": reason}])
        say(f"  probe at step {offer.step:,} left out: {reason}")
        self._remove(offer)

    def _write(self, step: int, rows: list[Row]) -> None:
        """Add the rows of a step, in place of any that it had."""
        self.rows = [row for row in self.rows if row["step"] != step] + [{"step": step, **row} for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        storage.write_bytes(storage.join(self.run, FILE), text.encode())

    def _keep(self, offer: Offer) -> None:
        target = storage.join(self.run, BEST)
        fresh = storage.join(self.run, f".{BEST}.tmp")
        storage.remove_tree(fresh)
        storage.clone_tree(offer.checkpoint, fresh)
        storage.remove_tree(target)
        storage.rename(fresh, target)

    @staticmethod
    def _remove(offer: Offer) -> None:
        if not offer.keep:
            storage.remove_tree(offer.checkpoint)


def read_probes(run: str) -> list[Row]:
    """The rows of ``probes.jsonl``: ``step`` with a result of `probe_checkpoint`, or with the reason ``skipped``."""
    file = storage.join(run, FILE)
    if not storage.exists(file):
        return []
    return [json.loads(line) for line in storage.read_bytes(file).decode().splitlines() if line.strip()]


def best_probe(run: str) -> Row | None:
    """The row of the probe whose checkpoint is kept in `BEST` (``step``, ``protocol``, ``value``), or None."""
    if not storage.exists(storage.join(run, BEST, "card.json")):
        return None
    return next((row for row in reversed(read_probes(run)) if row.get("task") == ALL and row["best"]), None)


def _metrics(rows: list[Row]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        name = f"probe/{row['task']}/{row['protocol']}/{row['metric']}"
        found |= {name: row["value"], f"{name}/low": row["low"], f"{name}/high": row["high"]}
    return found


def _words(rows: list[Row]) -> str:
    return ", ".join(
        f"{row['task']} {row['protocol']} {row['value']:.3f} ({row['low']:.3f}–{row['high']:.3f})" for row in rows
    )
