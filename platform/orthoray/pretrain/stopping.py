"""Ending a run in order: a driver that is asked to, or a machine that is taken away, leaves a state to go on from.

Kubernetes, Slurm and spot machines send SIGTERM and wait some seconds. A worker notes it, and at the next row of the
history all workers save and end at the same step. The driver passes its own SIGTERM on to the workers. Ray's notice
that a node will be drained saves the state too, but training goes on: Ray Train starts the workers again elsewhere.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from ray.train.torch import TorchConfig

from orthoray.pretrain.losses.workers import max_over_workers

_told = threading.Event()
"""Set in a worker's process by SIGTERM."""


class Wish(NamedTuple):
    """What all workers do after a step. ``save``: the state, at once; ``stop``: end; ``why``: words for the person."""

    save: bool = False
    stop: bool = False
    why: str = ""


class Wishes:
    """Asks, at every row of the history and on all workers alike, whether to save or to end.

    Args:
        mailbox: actor of `orthoray.pretrain.monitor`.
        device: of this worker.
        rank: of this worker; rank 0 asks the mailbox.
        drains: also ask Ray whether a node is about to be drained.
    """

    def __init__(self, mailbox: Any, device: torch.device, rank: int, drains: bool) -> None:
        self.mailbox, self.device, self.rank, self.drains = mailbox, device, rank, drains
        self._drained = False

    def ask(self) -> Wish:
        """The wish after this step; collective."""
        import ray
        import ray.train

        asked = self.rank == 0 and bool(ray.get(self.mailbox.stopping.remote()))
        flags = torch.tensor([asked, _told.is_set()], dtype=torch.uint8, device=self.device)
        asked, told = map(bool, max_over_workers(flags).tolist())
        if asked or told:
            return Wish(save=True, stop=True, why="a worker got SIGTERM" if told else "")
        if self.drains and not self._drained and ray.train.get_preemption_info() is not None:
            self._drained = True
            return Wish(save=True, why="a node is about to be drained")
        return Wish()


def _note(number: int, frame: Any) -> None:
    _told.set()


def watch_termination() -> None:
    """From now on SIGTERM is noted instead of ending this process; for the main thread of a worker."""
    _told.clear()
    signal.signal(signal.SIGTERM, _note)


_Backend: Any = TorchConfig().backend_cls


class _Watched(_Backend):  # type: ignore[misc]
    """Starts workers as Ray Train does for PyTorch, and lets them note SIGTERM."""

    def on_training_start(self, worker_group: Any, backend_config: Any) -> None:
        super().on_training_start(worker_group, backend_config)
        worker_group.execute(watch_termination)


class WatchedTorchConfig(TorchConfig):
    """How Ray Train starts the workers of a run."""

    @property
    def backend_cls(self) -> Any:
        """See `ray.train.backend.BackendConfig`."""
        return _Watched


@contextmanager
def passing_on(stop: threading.Event) -> Iterator[None]:
    """In here the first SIGTERM of this process sets ``stop``; the next one does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def pass_on(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, before)
        stop.set()

    signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
