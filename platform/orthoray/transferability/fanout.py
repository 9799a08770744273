"""The work of a ranking as Ray tasks: checkpoint folders of the candidates, then the cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orthoray import storage
from orthoray.cluster.fanout import as_they_end
from orthoray.errors import InputError, RunError
from orthoray.features.candidate_settings import Candidate
from orthoray.features.candidates import RANDOM, Ready, prepare
from orthoray.progress import Progress, say
from orthoray.transferability.cells import CellJob, run_cell


def prepare_all(candidates: Sequence[Candidate], out: str, random: set[str]) -> list[Ready]:
    """Checkpoint folders of all candidates; each is made in a Ray task, as networks of gigabytes are."""
    import ray

    from orthoray.cluster.session import connect

    connect()
    make = ray.remote(num_cpus=1, max_retries=1)(prepare)
    with Progress(len(candidates), "candidates", "backbones") as bar:
        pending: dict[Any, int] = {}
        for place, candidate in enumerate(candidates):
            by = RANDOM.replace(" ", "-") if candidate.name in random else "weights"
            folder = storage.join(out, "candidates", f"{candidate.name}-{by}")
            pending[make.remote(candidate, folder, candidate.name in random)] = place
        found = {place: _got(done) for place, done in as_they_end(pending, bar)}
    return [found[place] for place in range(len(candidates))]


def run_cells(todo: Sequence[CellJob], cpus: float, total: int) -> None:
    """Fan the cells out, each a Ray task; RunError names the first that failed, after all others have ended."""
    import ray

    say(f"  {total} cells, {total - len(todo)} of them done before")
    if not todo:
        return
    work = ray.remote(num_cpus=cpus, max_retries=2)(run_cell)
    failures = []
    with Progress(len(todo), "scores", "cells") as bar:
        pending = {work.remote(job): job for job in todo}
        for job, done in as_they_end(pending, bar):
            try:
                _got(done)
            except RunError as error:
                failures.append(f"{job.target.name}, {job.folder}: {error}")
    if failures:
        raise RunError(
            f"{len(failures)} of {len(todo)} cells failed; the first: {failures[0]}. Finished cells are kept: give the "
            "same command again."
        )


def _got(reference: Any) -> Any:
    """A task's result; its own input errors as they are, all else as a RunError."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, InputError):
            raise InputError(str(cause)) from None
        raise RunError(f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}") from None
    except ray.exceptions.RayError as error:
        raise RunError((str(error).splitlines() or [type(error).__name__])[0]) from None
