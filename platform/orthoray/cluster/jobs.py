"""The jobs of a cluster: their records, their attempts, a table of them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orthoray.cluster.client import connect_client
from orthoray.errors import RunError
from orthoray.progress import clock

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


@dataclass(frozen=True)
class Job:
    """One submitted job; times in seconds since 1970, None while not begun or not ended."""

    submission_id: str
    status: str
    start: float | None
    end: float | None
    entrypoint: str
    metadata: dict[str, str]

    @property
    def is_active(self) -> bool:
        """True while the job waits or runs."""
        return self.status in ("PENDING", "RUNNING")


def list_jobs(address: str | None = None) -> list[Job]:
    """The cluster's jobs, newest first; InputError if the cluster cannot be reached."""
    return fetch_jobs(connect_client(address)[1])


def render_jobs(jobs: list[Job]) -> str:
    """A plain table of jobs: name, status, start (local time), duration, command."""
    if not jobs:
        return "No jobs."
    rows = [("job", "status", "since", "duration", "command")]
    for job in jobs:
        since = "-" if job.start is None else f"{datetime.fromtimestamp(job.start):%Y-%m-%d %H:%M:%S}"
        lasted = "-" if job.start is None else clock((job.end or time.time()) - job.start)
        rows.append((job.submission_id, job.status, since, lasted, job.entrypoint))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def attempts(jobs: list[Job], name: str) -> dict[int, Job]:
    """The jobs called ``name`` (attempt 1), ``name-2``, ``name-3`` … by number of the attempt."""
    pattern = re.compile(re.escape(name) + r"(?:-(\d{1,4}))?")
    matches = ((pattern.fullmatch(job.submission_id), job) for job in jobs)
    return {int(match[1] or 1): job for match, job in matches if match}


def fetch_jobs(client: JobSubmissionClient) -> list[Job]:
    """The submitted jobs, newest first; drivers that were not submitted as jobs have no name and are left out."""
    try:
        found = client.list_jobs()
    except (RuntimeError, OSError) as error:
        raise RunError(f"The cluster did not list its jobs: {error}") from None
    jobs = [_job(details) for details in found if details.submission_id]
    return sorted(jobs, key=lambda job: job.start or float("inf"), reverse=True)


def _job(details: Any) -> Job:
    start, end = (None if not stamp else stamp / 1000 for stamp in (details.start_time, details.end_time))
    metadata = dict(details.metadata or {})
    return Job(details.submission_id, str(details.status), start, end, details.entrypoint, metadata)
