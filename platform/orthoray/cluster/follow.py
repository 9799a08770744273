"""Follow a job to its end: its log as it is written, across lost connections; its exit status at last."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orthoray.errors import InputError, RunError
from orthoray.progress import clock, say

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient

LOST_AFTER_S = 120.0
"""Seconds without any contact to the cluster after which following ends."""

RECONNECT_S = 1.0
"""Pause before the log is opened again."""


def follow(client: JobSubmissionClient, submission_id: str, write: Callable[[str], None] | None = None) -> int:
    """Print the log of a job until it has ended and return its exit status.

    The stream is opened again when it breaks; what was printed already is not printed twice. Ctrl-C leaves
    the job alone.

    Args:
        client: a client of the job server.
        submission_id: an existing job.
        write: takes the pieces of the log (default: standard output).

    Returns:
        The exit status of the job's process (0 done, 1 failed, 2 bad input …); 1 if it was stopped, was killed
        by a signal or never started, and 1 after Ctrl-C.

    Raises:
        RunError: no contact for `LOST_AFTER_S`; the job itself goes on.
    """
    printer = _Printer(write or _to_stdout)
    try:
        details = _follow_to_end(client, submission_id, printer)
    except KeyboardInterrupt:
        say(
            f"\nDetached; the job goes on. `orthoray logs {submission_id}` attaches again, "
            f"`orthoray stop {submission_id}` stops it."
        )
        return 1
    printer.end_line()
    return _report_end(details, submission_id)


def job_details(client: JobSubmissionClient, submission_id: str) -> JobDetails:
    """Ray's record of one job; InputError if there is none of that name."""
    try:
        return client.get_job_info(submission_id)
    except RuntimeError as error:
        if "status code 404" not in str(error):
            raise RunError(f"{submission_id}: the job server failed: {error}") from None
        raise InputError(f"{submission_id}: the cluster has no such job. `orthoray jobs` lists them.") from None


class _Printer:
    """Passes a stream on once: after `restart` as many characters are skipped as were passed on before."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write, self.shown, self.seen, self.last = write, 0, 0, "\n"

    def restart(self) -> None:
        self.seen = 0

    def take(self, text: str) -> None:
        fresh = text[max(0, self.shown - self.seen) :]
        self.seen += len(text)
        self.shown = max(self.shown, self.seen)
        if fresh:
            self.write(fresh)
            self.last = fresh[-1]

    def end_line(self) -> None:
        if self.last != "\n":
            self.write("\n")


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _follow_to_end(client: JobSubmissionClient, submission_id: str, printer: _Printer) -> JobDetails:
    last_contact = time.monotonic()
    while True:
        before = printer.shown
        complete = _stream_once(client, submission_id, printer)
        if printer.shown > before:
            last_contact = time.monotonic()
        try:
            details = job_details(client, submission_id)
            last_contact = time.monotonic()
            if details.status.is_terminal() and complete:
                return details
        except (OSError, RunError) as error:
            if time.monotonic() - last_contact > LOST_AFTER_S:
                raise RunError(
                    f"{submission_id}: no contact to the cluster for {LOST_AFTER_S:.0f} s ({type(error).__name__}). "
                    f"The job may go on without us; `orthoray logs {submission_id}` attaches again."
                ) from None
        time.sleep(RECONNECT_S)


def _stream_once(client: JobSubmissionClient, submission_id: str, printer: _Printer) -> bool:
    """Print one stream of the log from its beginning; False if it broke before its regular end."""
    import aiohttp

    async def read() -> None:
        async for text in client.tail_job_logs(submission_id):
            printer.take(text)

    printer.restart()
    try:
        asyncio.run(read())
    except (aiohttp.ClientError, OSError, RuntimeError):
        return False
    return True


def _report_end(details: JobDetails, submission_id: str) -> int:
    status = str(details.status)
    code = details.driver_exit_code
    if status == "STOPPED":
        say(f"{submission_id}: stopped; submitting it again resumes its run.")
        return 1
    took = ""
    if details.start_time and details.end_time:
        took = f" after {clock((details.end_time - details.start_time) / 1000)}"
    if status == "SUCCEEDED":
        say(f"{submission_id}: finished{took}.")
        return 0
    if code is None or code < 0:
        say(f"{submission_id}: failed{took}: {(details.message or 'no reason given').strip()[-2000:]}")
        return 1
    say(f"{submission_id}: failed{took}, exit status {code}.")
    return code or 1
