"""The `orthoray` command: thin commands over the package; heavy modules are imported when a command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from orthoray import __version__
from orthoray.cli.data import audit, explain, ingest, outliers, phantom
from orthoray.cli.group import TeachingGroup
from orthoray.cli.judging import rank, report, study
from orthoray.cli.remote import jobs, logs, stop, submit
from orthoray.cli.training import export, plan, pretrain
from orthoray.errors import OrthoRayError

__all__ = ["cli", "main"]

EPILOG = """\b
The data's way:
  orthoray ingest → dataset → orthoray pretrain → checkpoint → orthoray study → results → orthoray report
  Which backbone to start from: orthoray rank → leaderboard

\b
Exit status: 0 done; 1 failed; 2 bad input (nothing was written).
Ctrl-C leaves a resumable run: give the same command again."""


@click.group(
    cls=TeachingGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="orthoray")
def cli() -> None:
    """OrthoRay: build, prove and report an orthopaedic-imaging foundation model, on Ray.

    New here? `orthoray demo` goes the whole way on synthetic knees on this machine in a few minutes.
    """


@click.command()
@click.option("--out", default="orthoray-demo", show_default=True, help="Folder for everything the demo makes.")
@click.option("--seed", default=0, show_default=True, help="Seed of cohort, pretraining and folds.")
@click.option("--patients", type=int, default=None, help="Size of the phantom cohort (default: the demo's preset).")
def demo(out: str, seed: int, patients: int | None) -> None:
    """Go the whole way on a synthetic cohort.

    DICOM → dataset → DINO pretraining → evaluation → report, on this machine.

    Needs no data, no network and no GPU. Open report.html in OUT when it has finished.
    """
    from orthoray.demo import run_demo

    run_demo(out, seed=seed, patients=patients)


for _command in (
    *(demo, phantom, ingest, explain, outliers, audit),
    *(plan, pretrain, rank, study, report, export),
    *(submit, jobs, logs, stop),
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with 0 (done), 1 (failed or interrupted) or 2 (bad input)."""
    try:
        status = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except OrthoRayError as error:
        click.echo(f"Error: {getattr(error, 'cause', None) or error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted. What was finished is kept; give the same command again to go on.", err=True)
        sys.exit(1)
    except OSError as error:
        from orthoray.errors import describe_os_error

        text = describe_os_error(error)
        if text is None:
            raise
        click.echo(f"Error: {text}", err=True)
        sys.exit(1)
