"""The errors that users meet, and the exit status each one stands for."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class OrthoRayError(Exception):
    """Base of all errors whose message is meant for the user; `exit_code` is the process's exit status."""

    exit_code = 1


class InputError(OrthoRayError):
    """The input (file, key, option) is wrong. Raised before anything is written; exit status 2."""

    exit_code = 2


class RunError(OrthoRayError):
    """The work itself failed after it had started; exit status 1."""

    exit_code = 1


class StoppedError(RunError):
    """Somebody or something asked the work to stop; the same command goes on with it. Exit status 1."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the choice nearest to ``name``, or an empty string if none is near."""
    pool = [str(choice) for choice in choices]
    found = difflib.get_close_matches(name, pool, n=1, cutoff=0.55)
    if not found:
        lowered = {choice.lower(): choice for choice in pool}
        found = [lowered[key] for key in difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.55)]
    return f" Did you mean '{found[0]}'?" if found else ""


def is_full_disk(error: BaseException) -> bool:
    """Did the disk, or the share of it that the user may fill, run out of space?"""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def describe_os_error(error: OSError) -> str | None:
    """Explain the system errors that users can mend (full disk, no permission); None for any other."""
    where = f" at {error.filename}" if error.filename else ""
    if is_full_disk(error):
        return (
            f"the disk is full{where}. Nothing half-written was left in place: "
            "free some space and give the same command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write{where}. Choose another --out, or correct the permissions."
    return None
