"""Errors of Ray workers, told without anything that they may quote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orthoray.errors import OrthoRayError, RunError


class WorkerError(RunError):
    """A worker failed, or was ended. What others had finished is still there for the next run."""


@contextmanager
def worker_failures(work: str) -> Iterator[None]:
    """Turn what a worker raised into an error for the user.

    Errors of OrthoRay and of the system (full disk) come through as they are; of any other only the type is told,
    because its message or traceback may quote a header or a file name.

    Raises:
        WorkerError: the worker failed in another way.
    """
    import ray.exceptions

    try:
        yield
    except ray.exceptions.RayError as error:
        cause = _innermost(error)
        if isinstance(cause, OrthoRayError):
            raise type(cause)(str(cause)) from None
        if isinstance(cause, OSError) and cause.errno is not None:
            raise OSError(cause.errno, cause.strerror) from None
        raise WorkerError(
            f"{work} failed in a worker ({type(cause).__name__}). Look into the logs of Ray on that machine (they are "
            "not repeated here, as they may name files of patients)."
        ) from None


def _innermost(error: BaseException) -> BaseException:
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        error = getattr(error, "cause", None) or error.__cause__ or error
    return error
