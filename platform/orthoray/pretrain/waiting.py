"""How long a training device had nothing to do because the next batch was not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Waiting(Protocol):
    """Seconds of waiting, taken in one place."""

    def during(self) -> Any:
        """Context in which the host asks for the next batch."""

    def take(self) -> float:
        """Seconds since the last call; all work that was given to the device must be done by now."""


class HostWaiting:
    """For a device that does its work at once, as processors do: the time inside `during`."""

    def __init__(self) -> None:
        self._seconds = 0.0

    @contextmanager
    def during(self) -> Iterator[None]:
        """Count the time inside."""
        begin = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - begin

    def take(self) -> float:
        """Seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class DeviceWaiting:
    """For a device with a queue: the time that passes on it between two events, around `during`.

    The first is reached when the device has done all work of earlier steps; the second when it has, and the host has
    got the batch. A host that waits while the device still works thus counts nothing.

    Args:
        new_event: makes an event with ``record()`` and ``elapsed_time(later)`` in milliseconds
            (`torch.cuda.Event(enable_timing=True)`).
    """

    def __init__(self, new_event: Callable[[], Any]) -> None:
        self._new_event = new_event
        self._pairs: list[tuple[Any, Any]] = []

    @contextmanager
    def during(self) -> Iterator[None]:
        """Record an event before and after."""
        before, after = self._new_event(), self._new_event()
        before.record()
        yield
        after.record()
        self._pairs.append((before, after))

    def take(self) -> float:
        """Seconds since the last call."""
        pairs, self._pairs = self._pairs, []
        return sum(float(before.elapsed_time(after)) for before, after in pairs) / 1000.0


def waiting_of(device: torch.device) -> Waiting:
    """By events on a CUDA device, by the host's clock elsewhere."""
    if device.type == "cuda":
        return DeviceWaiting(lambda: torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
    return HostWaiting()
