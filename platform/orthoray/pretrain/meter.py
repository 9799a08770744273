"""What a worker measures between two rows of the history, and when it logs and saves."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import torch

from orthoray.errors import RunError
from orthoray.models.peaks import peak_flops
from orthoray.models.precision import Precision
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.costs import StepFlops
from orthoray.pretrain.learner import MEASURES, Learner, StepValues
from orthoray.pretrain.losses.workers import as_rank_0, mean_over_workers, rank, world
from orthoray.pretrain.step_shape import backbone_of, step_shape
from orthoray.pretrain.waiting import HostWaiting, Waiting, waiting_of

SHOWN = ("lr", "weight_decay", "teacher_momentum", "teacher_temp")
"""The scheduled values that a row holds."""

OPTIONAL = ("koleo", "ibot", "gram")
"""Measures that a row holds only where their loss is on."""

AGREE_EVERY = 8
"""With several workers, whether to log or save is agreed upon every so many steps."""


UNKNOWN = StepFlops()
"""Of a step that nobody has counted."""


class Meter:
    """Means of the measures and the speed since the last row.

    Args:
        batch: images of one step, over all workers.
        flops: arithmetic of one image in one step.
        peak: what all devices together can do, FLOP/s; 0 = unknown, and their use is then told as 0.
        waiting: measures for how long the device had nothing to do (default: by the host's clock).
    """

    def __init__(
        self, batch: int, flops: StepFlops = UNKNOWN, peak: float = 0.0, waiting: Waiting | None = None
    ) -> None:
        self.batch, self.flops, self.peak = batch, flops, peak
        self._waiting = HostWaiting() if waiting is None else waiting
        self.start()

    def start(self) -> None:
        """Begin a new interval."""
        self._begin, self._steps = time.perf_counter(), 0
        self._sum: torch.Tensor | None = None

    def waiting(self) -> Any:
        """Context of asking for the next batch."""
        return self._waiting.during()

    def add(self, measures: torch.Tensor) -> None:
        """Take in a step's `MEASURES`."""
        self._sum = measures if self._sum is None else self._sum + measures
        self._steps += 1

    def row(self, step: int, values: StepValues) -> dict[str, float]:
        """The row of the history up to ``step`` (steps done); begins a new interval.

        Raises:
            RunError: the loss is not finite. The same on every worker, since the measures are averaged over them.
        """
        means = self._means()
        seconds = time.perf_counter() - self._begin
        if not all(map(math.isfinite, means.values())):
            raise RunError(
                f"the loss is not finite at step {step}: the run has diverged. Lower optimiser.lr or optimiser.clip, "
                "or raise optimiser.warmup, and give another `out`."
            )
        rate = self._steps * self.batch / seconds
        shown = {name: value for name, value in means.items() if name not in OPTIONAL or value != 0.0}
        row = {"step": step, "images_seen": step * self.batch, "seconds": seconds, **shown}
        row |= {name: value for name, value in asdict(values).items() if name in SHOWN}
        row |= {"images_per_second": rate, "data_wait": self._waiting.take() / seconds}
        used = rate / self.peak if self.peak else 0.0
        row |= {"mfu": used * self.flops.nominal, "mfu_executed": used * self.flops.executed}
        self.start()
        return row

    def _means(self) -> dict[str, float]:
        if self._sum is None:
            raise RuntimeError("no step since the last row")
        mean = mean_over_workers(self._sum / self._steps)
        return dict(zip(MEASURES, mean.tolist(), strict=True))


def meter_for(config: PretrainConfig, learner: Learner, precision: Precision) -> Meter:
    """A meter that, on rank 0, knows the cost of a step and the peak of the devices."""
    waiting = waiting_of(learner.device)
    if rank():
        return Meter(config.batch_size, waiting=waiting)
    workers = int(config.resources.workers)  # resolved by now
    flops = step_shape(config, backbone_of(config))[0].flops()
    return Meter(config.batch_size, flops, workers * peak_flops(learner.device, precision.dtype, workers), waiting)


class Pace:
    """Decides, the same on every worker, when a row is logged and when the state is saved."""

    def __init__(self, log_seconds: float, save_seconds: float, save_steps: int, first: int) -> None:
        self.log_seconds, self.save_seconds, self.save_steps = log_seconds, save_seconds, save_steps
        self._first = first
        self._logged = self._saved = time.monotonic()

    def due(self, step: int, last: bool, device: torch.device) -> tuple[bool, bool]:
        """Whether to log and whether to save after ``step``; at the last step both."""
        now = time.monotonic()
        save = (step + 1) % self.save_steps == 0
        log = now - self._logged >= self.log_seconds or step == self._first
        timed = [log, now - self._saved >= self.save_seconds]
        if world() > 1:
            timed = as_rank_0(timed, device) if step % AGREE_EVERY == 0 else [False, False]
        log, save = timed[0] or save or last, timed[1] or save or last
        if log or save:
            self._logged = now
        return log, save

    def saved(self) -> None:
        """Tell that the state has just been saved."""
        self._saved = time.monotonic()
