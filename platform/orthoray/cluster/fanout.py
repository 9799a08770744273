"""Plain Ray tasks, one per job, with a bar that moves as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from orthoray.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


def as_they_end(pending: dict[Any, T], bar: Progress) -> Iterator[tuple[T, Any]]:
    """What stands behind each task, and the task, in the order in which they end."""
    import ray

    waiting = dict(pending)
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        bar.advance(1)
        yield waiting.pop(done), done


def for_each(function: Callable[[T], R], jobs: Sequence[T], title: str, unit: str) -> list[R]:
    """The results of ``function`` on all jobs, in their order; one processor each, begun again if a worker is lost.

    Raises:
        ray.exceptions.RayTaskError: ``function`` raised.
    """
    import ray

    work = ray.remote(num_cpus=1, max_retries=2)(function)
    results: dict[int, R] = {}
    with Progress(len(jobs), title, unit) as bar:
        pending = {work.remote(job): place for place, job in enumerate(jobs)}
        for place, done in as_they_end(pending, bar):
            results[place] = ray.get(done)
    return [results[place] for place in range(len(jobs))]
