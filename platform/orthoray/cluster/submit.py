"""Jobs on a Ray cluster: submit a command once, follow it, list and stop jobs."""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthoray.cluster.arguments import JobArguments, prepare_arguments
from orthoray.cluster.client import Server, connect_client
from orthoray.cluster.follow import follow as follow_job
from orthoray.cluster.follow import job_details
from orthoray.cluster.jobs import Job, attempts, fetch_jobs, list_jobs, render_jobs
from orthoray.cluster.upload import Upload, stage
from orthoray.errors import InputError, RunError, nearest
from orthoray.progress import say

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

__all__ = ["follow_logs", "list_jobs", "render_jobs", "stop_job", "submit"]

STOP_TIMEOUT_S = 60.0
"""Seconds that `stop_job` waits for a job to end."""

_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def submit(
    command: str,
    arguments: list[str],
    *,
    address: str | None = None,
    follow: bool = True,
    submission_id: str | None = None,
    working_dir: str | None = None,
    resubmit: bool = False,
    num_cpus: float = 0.0,
    num_gpus: float = 0.0,
) -> int:
    """Run ``orthoray COMMAND ARGUMENTS`` as a job, once.

    The job's name follows from command, arguments, configuration and user. Submitting again attaches to a job
    that runs, reports one that has finished (unless ``resubmit``), and starts the next attempt (``-2``, ``-3`` …)
    of one that failed or was stopped.

    Args:
        command: what to run (one of `orthoray.cluster.arguments.COMMANDS`).
        arguments: its arguments; relative paths are made absolute for a head on this machine.
        address: URL of Ray's job server.
        follow: print the log until the job has ended.
        submission_id: name of the job instead of the one worked out.
        working_dir: folder that the job runs in a copy of, instead of this project's code.
        resubmit: start again a job that has finished.
        num_cpus: processors reserved for the job's driver.
        num_gpus: GPUs reserved for the job's driver.

    Returns:
        Exit status of the job (1 if stopped, or detached by Ctrl-C); 0 without ``follow`` or if finished before.

    Raises:
        InputError: no cluster, no or a wrong token, bad arguments, an upload over 100 MiB, or another job that
            writes to the same place. Nothing was submitted.
        RunError: the cluster refused the job.
    """
    server, client = connect_client(address)
    prepared = prepare_arguments(command, list(arguments), server.is_loopback)
    name = submission_id or job_name(command, prepared, _user())
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}", name):
        raise InputError(f"--submission-id '{name}': use letters, digits, '-', '_' and '.' only.")
    jobs = fetch_jobs(client)
    _refuse_same_output(jobs, name, prepared.out)
    attempt = _decide(attempts(jobs, name), name, resubmit)
    if attempt.done:
        return 0
    if attempt.is_new:
        with tempfile.TemporaryDirectory(prefix="orthoray-") as folder:
            upload = stage(Path(folder), working_dir, prepared.files)
            _send(client, server, attempt.submission_id, command, prepared, upload, num_cpus, num_gpus)
    if not follow:
        say(f"  follow: orthoray logs {attempt.submission_id}    stop: orthoray stop {attempt.submission_id}")
        return 0
    return follow_job(client, attempt.submission_id)


def follow_logs(address: str | None, submission_id: str) -> int:
    """Follow the log of a job; returns its exit status as `orthoray.cluster.follow.follow` does.

    Raises:
        InputError: the cluster cannot be reached or has no such job.
    """
    client = connect_client(address)[1]
    _require_job(client, submission_id)
    return follow_job(client, submission_id)


def stop_job(address: str | None, submission_id: str) -> None:
    """Stop a job and wait until it has ended.

    Raises:
        InputError: the cluster cannot be reached, has no such job, or the job has ended already.
        RunError: the job has not ended within `STOP_TIMEOUT_S`.
    """
    client = connect_client(address)[1]
    status = _require_job(client, submission_id)
    if status.is_terminal():
        raise InputError(f"{submission_id}: has ended already ({status}); there is nothing to stop.")
    client.stop_job(submission_id)
    limit = time.monotonic() + STOP_TIMEOUT_S
    while not (status := job_details(client, submission_id).status).is_terminal():
        if time.monotonic() > limit:
            waiting = " It waits for resources; Ray stops it as soon as it has got them." if status == "PENDING" else ""
            raise RunError(
                f"{submission_id}: still {status} {STOP_TIMEOUT_S:.0f} s after the request to stop.{waiting}"
            )
        time.sleep(0.5)
    if status != "STOPPED":
        raise RunError(f"{submission_id}: ended as {status} before it could be stopped.")


def job_name(command: str, prepared: JobArguments, user: str) -> str:
    """A readable name that is the same for the same command, arguments, configuration and user."""
    identity = json.dumps([command, prepared.arguments, prepared.files, user], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    words = [command, prepared.name[:40], user[:20]]
    clean = [re.sub(r"[^A-Za-z0-9_]+", "_", word).strip("_") for word in words]
    return "-".join([*filter(None, clean), digest])


@dataclass(frozen=True)
class _Attempt:
    submission_id: str
    is_new: bool
    done: bool = False


def _decide(earlier: dict[int, Job], name: str, resubmit: bool) -> _Attempt:
    """Attach to the newest attempt, report it as finished, or start the next one."""
    if not earlier:
        return _Attempt(name, True)
    number = max(earlier)
    newest = earlier[number]
    if newest.is_active:
        say(f"{newest.submission_id}: {newest.status.lower()} already; attached to it.")
        return _Attempt(newest.submission_id, False)
    following = f"{name}-{number + 1}"
    if newest.status == "SUCCEEDED" and not resubmit:
        say(f"{newest.submission_id}: already finished. To run it again: orthoray submit --resubmit …")
        return _Attempt(newest.submission_id, False, done=True)
    say(f"{newest.submission_id}: {newest.status.lower()}; the next attempt is {following}.")
    return _Attempt(following, True)


def _refuse_same_output(jobs: list[Job], name: str, out: str | None) -> None:
    for job in jobs:
        if out and job.is_active and job.metadata.get("out") == out and job.submission_id not in _names(jobs, name):
            raise InputError(
                f"Job {job.submission_id} is {job.status.lower()} and writes to {out} too. Stop it "
                f"(`orthoray stop {job.submission_id}`) or choose another output."
            )


def _names(jobs: list[Job], name: str) -> set[str]:
    return {job.submission_id for job in attempts(jobs, name).values()}


def _send(
    client: JobSubmissionClient,
    server: Server,
    submission_id: str,
    command: str,
    prepared: JobArguments,
    upload: Upload,
    num_cpus: float,
    num_gpus: float,
) -> None:
    script = f"jobs/{command}.py"
    program = [script] if (upload.folder / script).is_file() else ["-m", "orthoray.cli", command]
    metadata = {"user": _user(), "command": command, "config": prepared.name, "out": prepared.out or ""}
    environment = _ENVIRONMENT | {"RAY_AUTH_MODE": "token" if server.token else "disabled"}
    say(f"{submission_id}: to {server.address}, {upload.files} files, {upload.size / (1 << 20):.1f} MiB")
    if server.is_loopback and prepared.out and "://" not in prepared.out:
        say(f"  output: {prepared.out} (on the machine that runs the cluster)")
    try:
        client.submit_job(
            entrypoint=shlex.join(["python", *program, *prepared.arguments]),
            submission_id=submission_id,
            runtime_env={
                "working_dir": str(upload.folder),
                "py_modules": [str(upload.package)],
                "env_vars": environment,
            },
            metadata=metadata,
            entrypoint_num_cpus=num_cpus,
            entrypoint_num_gpus=num_gpus,
        )
    except (RuntimeError, OSError) as error:
        raise RunError(f"{submission_id}: the cluster (Ray {server.ray_version}) refused the job: {error}") from None


def _require_job(client: JobSubmissionClient, submission_id: str) -> Any:
    """The status of a job; InputError with the nearest name if there is none."""
    try:
        return job_details(client, submission_id).status
    except InputError as error:
        names = [job.submission_id for job in fetch_jobs(client)]
        raise InputError(f"{error}{nearest(submission_id, names)}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
