"""Commands of a cluster: submit, jobs, logs, stop."""

from __future__ import annotations

import sys
from typing import Any, cast

import click

from orthoray.errors import InputError, nearest


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--address", default=None, help="Ray's job address [default: http://127.0.0.1:8265].")
@click.option("--submission-id", default=None, help="Name of the job [default: from command, config and user].")
@click.option("--working-dir", default=None, help="Folder that the job runs in a copy of [default: this project].")
@click.option("--no-follow", is_flag=True, help="Return after submitting instead of following the log.")
@click.option("--resubmit", is_flag=True, help="Run again a job that has finished.")
@click.option("--num-cpus", default=0.0, help="Processors reserved for the job's driver.")
@click.option("--num-gpus", default=0.0, help="GPUs reserved for the job's driver.")
@click.argument("command")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def submit(command: str, arguments: tuple[str, ...], no_follow: bool, **options: Any) -> None:
    """Run a command as a job on a Ray cluster.

    Submits COMMAND ARGUMENTS and follows the log; options go before COMMAND. Commands that can be jobs:
    demo, ingest, plan, pretrain, rank, study, report, export.

    The exit status is the job's. Submitting a running job again attaches to it; Ctrl-C detaches.

    \b
    Example:
      orthoray submit --address http://127.0.0.1:8265 pretrain pretrain_knee_xray_kl out=/data/run
    """
    from orthoray.cluster.submit import submit as run

    arguments_left, address = take_address(list(arguments), options.pop("address"))
    known = cast(click.Group, click.get_current_context().find_root().command).commands
    if command not in known:
        raise InputError(f"'{command}' is not a command.{nearest(command, known)}")
    sys.exit(run(command, arguments_left, address=address, follow=not no_follow, **options))


@click.command()
@click.option("--address", default=None, help="Ray's job address.")
def jobs(address: str | None) -> None:
    """List the jobs of a cluster."""
    from orthoray.cluster.submit import list_jobs, render_jobs

    click.echo(render_jobs(list_jobs(address)))


@click.command()
@click.argument("submission_id")
@click.option("--address", default=None, help="Ray's job address.")
def logs(submission_id: str, address: str | None) -> None:
    """Follow the log of a job; the exit status is the job's."""
    from orthoray.cluster.submit import follow_logs

    sys.exit(follow_logs(address, submission_id))


@click.command()
@click.argument("submission_id")
@click.option("--address", default=None, help="Ray's job address.")
def stop(submission_id: str, address: str | None) -> None:
    """Stop a job.

    Waits until it has stopped; submitting it again resumes its run.
    """
    from orthoray.cluster.submit import stop_job

    stop_job(address, submission_id)
    click.echo(f"{submission_id}: stopped")


def take_address(arguments: list[str], address: str | None) -> tuple[list[str], str | None]:
    """Accept `--address URL` behind the command too, where people write it first."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--address":
            address = next(rest, None)
        elif argument.startswith("--address="):
            address = argument.partition("=")[2]
        else:
            kept.append(argument)
    return kept, address
