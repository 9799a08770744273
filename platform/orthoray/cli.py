"""The `orthoray` command: thin commands over the package; heavy modules are imported when a command runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from orthoray import __version__
from orthoray.errors import InputError, OrthoRayError, nearest

EPILOG = """\b
The data's way:
  orthoray ingest → dataset → orthoray pretrain → checkpoint → orthoray study → results → orthoray report
  Which backbone to start from: orthoray rank → leaderboard

\b
Exit status: 0 done; 1 failed; 2 bad input (nothing was written).
Ctrl-C leaves a resumable run: give the same command again."""


class TeachingGroup(click.Group):
    """A command group that keeps commands in the data's order and names the nearest command on a typing error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the data's way."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; InputError with the nearest name if there is none."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            known = ", ".join(self.commands)
            raise InputError(f"'{args[0]}' is not a command.{nearest(args[0], self.commands)} Commands: {known}.")
        return super().resolve_command(ctx, args)


@click.group(
    cls=TeachingGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="orthoray")
def cli() -> None:
    """OrthoRay: build, prove and report an orthopaedic-imaging foundation model, on Ray.

    New here? `orthoray demo` goes the whole way on synthetic knees on this machine in a few minutes.
    """


@cli.command()
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


def _card_keys(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print every key of a dataset card and stop, if ``wanted``."""
    if not wanted:
        return
    from orthoray.config import describe_keys
    from orthoray.data.card_tables import FactColumn, FactsTable, LabelTable
    from orthoray.data.cards import DatasetCard
    from orthoray.data.sources.options import Finding

    click.echo(describe_keys(DatasetCard))
    for title, model in (
        ("Each entry of facts", FactsTable),
        ("Each of key, and of columns of facts (a column's name alone does too)", FactColumn),
        ("Each entry of labels", LabelTable),
        ("Each of adapter.findings (hospital)", Finding),
    ):
        click.echo(f"\n{title}:\n{describe_keys(model)}")
    context.exit()


@cli.command()
@click.argument("card")
@click.option("--source", required=True, help="Folder or URI that holds the DICOM or image files.")
@click.option("--out", required=True, help="Folder or URI of the dataset to write.")
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is already at OUT.")
@click.option("--limit", type=int, default=None, help="Read only the first N files (to try a card).")
@click.option("--dry-run", is_flag=True, help="Read headers and tables, tell what would happen, write nothing.")
@click.option(
    "--keys",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_card_keys,
    help="List every key of a card with its type and default, then stop.",
)
def ingest(card: str, source: str, out: str, overwrite: bool, limit: int | None, dry_run: bool) -> None:
    """Turn DICOM or images into a de-identified dataset.

    CARD is the name of a card (`knee_xray_kl`) or the path of a YAML file. Every file read is either an
    image of the dataset or a row of excluded.parquet with its reason.

    The same command again goes on with an interrupted run; once the dataset is there, it reads only files
    that are new or have changed, and makes again what a changed card touches.

    \b
    Example (your own images: docs/sources.md):
      orthoray ingest my_card.yaml --source /data/export --out runs/mine/dataset --dry-run
      orthoray ingest knee_xray_kl --source ../shared/data/knee-xray-kl --out runs/knee/dataset
    """
    from orthoray.data.cards import load_card
    from orthoray.data.ingest import ingest as run

    run(load_card(card), source, out, overwrite=overwrite, limit=limit, dry_run=dry_run)


@cli.command()
@click.argument("dataset")
@click.argument("image_id")
@click.option("--source", default=None, help="The source's folder: name the image's file (needs the pseudonym key).")
def explain(dataset: str, image_id: str, source: str | None) -> None:
    """Tell where one image of a dataset comes from.

    DATASET is the folder that `orthoray ingest` wrote, IMAGE_ID an id of index.parquet,
    review.parquet or excluded.parquet.

    \b
    Example:
      orthoray explain runs/mine/dataset i0123456789abcdef0123 --source /data/export
    """
    from orthoray.data.explain import explain as run

    for line in run(dataset, image_id, source):
        click.echo(line)


@cli.command()
@click.argument("dataset")
@click.option("--backbone", required=True, metavar="CHECKPOINT", help="Folder `checkpoint` of a pretraining run.")
def outliers(dataset: str, backbone: str) -> None:
    """Find images unlike those that people accepted.

    Needs the answers of an audit; the next ingest lists what is found for review.

    \b
    Example:
      orthoray outliers runs/knee/dataset --backbone runs/knee/pretrain/checkpoint
    """
    from orthoray.evaluation.outliers import find_outliers

    find_outliers(dataset, backbone)


@cli.command()
@click.argument("dataset")
@click.argument("exports", nargs=-1, metavar="[EXPORT]...")
@click.option("--out", default="sheet.html", show_default=True, help="File of the review sheet.")
@click.option("--only", type=click.Choice(["sample", "review"]), help="review: images that ingest listed for review.")
@click.option("--n", type=int, help="Accepted images to look at [default: 300; with --only review all].")
@click.option("--rejected", default=60, show_default=True, help="Rejected images to look at.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--double-read", default=0.15, show_default=True, help="Share of the pictures that two people read.")
@click.option("--blind", is_flag=True, help="Leave out of the sheet what ingest decided, and why.")
@click.option("--tolerance", default=0.01, show_default=True, help="Share of defects that is good enough (--import).")
@click.option("--import", "imported", multiple=True, metavar="EXPORT", help="Read what a sheet exported, instead.")
def audit(
    dataset: str, exports: tuple[str, ...], imported: tuple[str, ...], out: str, tolerance: float, **sample: Any
) -> None:
    """Write a review sheet for people, or import their decisions.

    The sheet is one HTML file without network. Its export goes back in with --import, which writes
    audit.json into DATASET: the share of defects, the agreement of readers, and whether to read on.

    \b
    Example:
      orthoray audit runs/knee/dataset --out sheet.html
      orthoray audit runs/knee/dataset --only review --out doubts.html
      orthoray audit runs/knee/dataset --import audit-ab.json audit-cd.json
    """
    from orthoray.config import parse_config
    from orthoray.data.audit import Parameters, import_decisions, write_sheet

    if exports and not imported:
        raise InputError(f"'{exports[0]}': what a sheet exported is given with --import.")
    if imported:
        import_decisions(dataset, [*imported, *exports], tolerance)
    else:
        given = {name: value for name, value in sample.items() if value is not None}
        write_sheet(dataset, out, parse_config(Parameters, given, "orthoray audit"))


def _config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """CONFIG, overrides and --keys, shared by the commands that are driven by a configuration."""
    function = click.option("--keys", is_flag=True, help="List every key with its type and default, then stop.")(
        function
    )
    function = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(function)
    return click.argument("config", required=False)(function)


@cli.command()
@_config_options
@click.option("--gpu", default=None, help="One kind of GPU (H100, A100 …) instead of all known ones.")
@click.option("--gpus", type=int, default=None, help="How many share the batch [default: resources.workers, or 1].")
@click.option("--mfu", default=0.4, show_default=True, help="Share of the peak that training is assumed to reach.")
@click.option("--price-gpu-hour", type=float, default=None, help="Price of one GPU for an hour.")
@click.option("--cores", type=float, default=None, help="Processor cores that cut crops, all together.")
@click.option("--images-per-core", type=float, default=None, help="Images per second [default: measured here].")
@click.option("--images", type=int, default=None, help="Number of images, if the datasets are not at hand.")
@click.option("--image-kb", type=float, default=None, help="Stored size of an image, likewise.")
@click.option("--read-mb", type=float, default=None, help="MB per second that storage or network give.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def plan(
    config: str | None, overrides: tuple[str, ...], keys: bool, as_json: bool, gpus: int | None, **wishes: Any
) -> None:
    """Tell what a pretraining run or a ranking would cost and need, before it costs it.

    Arithmetic, memory, speed, hours and money, and settings that will work against the run. Needs no GPU;
    what is not at hand is assumed, and said.

    CONFIG is what `orthoray pretrain` or `orthoray rank` takes.

    \b
    Example:
      orthoray plan pretrain_knee_xray_kl --gpu H100 --gpus 8 --price-gpu-hour 2.5
    """
    from orthoray.config import parse_config
    from orthoray.pretrain.config import PretrainConfig
    from orthoray.transferability.config import RankConfig

    ranking = not keys and config is not None and "=" not in config and _is_ranking(config)
    settings = _settings(RankConfig if ranking else PretrainConfig, config, overrides, keys)
    if settings is None:
        return
    from orthoray.pretrain.estimate_devices import Wishes

    wish = parse_config(Wishes, {**wishes, "gpus": "auto" if gpus is None else gpus}, "orthoray plan")
    if ranking:
        from orthoray.transferability.plan import plan_ranking

        plan_ranking(settings, wish.gpu, gpus or 1, wish.mfu, wish.price_gpu_hour, wish.images, as_json)
        return
    from orthoray.pretrain.estimate import estimate
    from orthoray.pretrain.estimate_text import show

    show(estimate(settings, wish), as_json)


@cli.command()
@_config_options
def pretrain(config: str | None, overrides: tuple[str, ...], keys: bool) -> None:
    """Pretrain a backbone with DINO on datasets.

    The same command again resumes a run that was interrupted.

    CONFIG is a YAML file or the name of a preset in jobs/configs. Any key can be changed behind it.

    \b
    Example:
      orthoray pretrain pretrain_knee_xray_kl out=runs/knee/pretrain seed=1
    """
    from orthoray.pretrain.config import PretrainConfig

    settings = _settings(PretrainConfig, config, overrides, keys)
    if settings is not None:
        from orthoray.pretrain.run import pretrain as run

        run(settings)


@cli.command()
@_config_options
@click.option("--allow-random", is_flag=True, help="Candidates without weights run with random ones, marked as such.")
def rank(config: str | None, overrides: tuple[str, ...], keys: bool, allow_random: bool) -> None:
    """Rank backbones by the transferability of their frozen features.

    Six published estimators and a seventh, three sanity columns, agreement, stability, and a page to look at.

    A (backbone, dataset) cell that has its scores is not computed again. Without weights at hand the command
    says which are missing, where each is published, and what to set.

    \b
    Example:
      orthoray rank rank_paper --allow-random
    """
    from orthoray.transferability.config import RankConfig

    overrides = (*overrides, "allow_random=true") if allow_random else overrides
    settings = _settings(RankConfig, config, overrides, keys)
    if settings is not None:
        from orthoray.report.ranking import build_ranking
        from orthoray.transferability.rank import run_rank as run

        build_ranking(run(settings))


@cli.command()
@_config_options
def study(config: str | None, overrides: tuple[str, ...], keys: bool) -> None:
    """Evaluate models on labelled tasks.

    Patient-grouped folds, linear probe with inner selection, out-of-fold predictions, baselines.

    A row (model, task, protocol, fraction, seed, fold) that has its result is not run again.

    \b
    Example:
      orthoray study study_knee_xray_kl out=runs/knee/study
    """
    from orthoray.evaluation.config import StudyConfig

    settings = _settings(StudyConfig, config, overrides, keys)
    if settings is not None:
        from orthoray.evaluation.study import run_study as run

        run(settings)


@cli.command()
@click.argument("run")
@click.option("--out", default=None, help="Folder for report.html (default: RUN).")
def report(run: str, out: str | None) -> None:
    """Draw one self-contained HTML page.

    RUN is the folder of a downstream study (`orthoray study`).
    """
    from orthoray.progress import outputs
    from orthoray.report.build import build_report

    page = build_report(run, out)
    outputs({"report": str(page)}, next_step="open it in a browser; it needs no network")


@cli.command()
@click.argument("checkpoint")
@click.option("--format", "kind", required=True, metavar="timm|hf|onnx", help="The library that is to load the copy.")
@click.option("--out", required=True, help="Folder or URI to write.")
@click.option("--results", default=None, metavar="STUDY", help="Study whose gains the model card shows.")
@click.option("--size", type=int, default=None, help="Side of the images of an ONNX graph [default: the checkpoint's].")
@click.option("--overwrite", is_flag=True, help="Replace what is at OUT.")
def export(checkpoint: str, kind: str, out: str, results: str | None, size: int | None, overwrite: bool) -> None:
    """Copy a checkpoint for timm, transformers or ONNX.

    CHECKPOINT is the folder `checkpoint` of a pretraining run. The copy is read back with the other
    library and must compute the same features; a model card lies beside it (docs/export.md).

    \b
    Example:
      orthoray export runs/knee/pretrain/checkpoint --format timm --out runs/knee/timm
    """
    from orthoray.models.export import export_checkpoint as run
    from orthoray.progress import outputs, say

    gains = None
    if results is not None:
        from orthoray.features.encoders import checkpoint_spec
        from orthoray.models.export_gains import read_gains

        gains = read_gains(results, checkpoint_spec(checkpoint).content)
    proof = run(checkpoint, kind, out, size=size, gains=gains, overwrite=overwrite)
    say(f"  read back with {proof.by}: features differ by {proof.difference:.1e} ({proof.tolerance:.0e} allowed)")
    for note in proof.notes:
        say(f"  {note}")
    outputs({"copy": out, "model card": f"{out.rstrip('/')}/README.md"})


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
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
    demo, ingest, plan, pretrain, study, report, export.

    The exit status is the job's. Submitting a running job again attaches to it; Ctrl-C detaches.

    \b
    Example:
      orthoray submit --address http://127.0.0.1:8265 pretrain pretrain_knee_xray_kl out=/data/run
    """
    from orthoray.cluster.submit import submit as run

    arguments_left, address = _take_address(list(arguments), options.pop("address"))
    if command not in cli.commands:
        raise InputError(f"'{command}' is not a command.{nearest(command, cli.commands)}")
    sys.exit(run(command, arguments_left, address=address, follow=not no_follow, **options))


@cli.command()
@click.option("--address", default=None, help="Ray's job address.")
def jobs(address: str | None) -> None:
    """List the jobs of a cluster."""
    from orthoray.cluster.submit import list_jobs, render_jobs

    click.echo(render_jobs(list_jobs(address)))


@cli.command()
@click.argument("submission_id")
@click.option("--address", default=None, help="Ray's job address.")
def logs(submission_id: str, address: str | None) -> None:
    """Follow the log of a job; the exit status is the job's."""
    from orthoray.cluster.submit import follow_logs

    sys.exit(follow_logs(address, submission_id))


@cli.command()
@click.argument("submission_id")
@click.option("--address", default=None, help="Ray's job address.")
def stop(submission_id: str, address: str | None) -> None:
    """Stop a job.

    Waits until it has stopped; submitting it again resumes its run.
    """
    from orthoray.cluster.submit import stop_job

    stop_job(address, submission_id)
    click.echo(f"{submission_id}: stopped")


def _take_address(arguments: list[str], address: str | None) -> tuple[list[str], str | None]:
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


def _is_ranking(config: str) -> bool:
    """Is a file or preset the configuration of `orthoray rank`?"""
    from orthoray.config import find_preset, read_yaml

    return "candidates" in read_yaml(find_preset(config))


def _settings(model: Any, config: str | None, overrides: Sequence[str], keys: bool) -> Any:
    from orthoray.config import describe_keys, find_preset, load_config

    if keys:
        click.echo(describe_keys(model))
        return None
    if config is not None and "=" in config:
        overrides, config = (config, *overrides), None
    if config is None and not overrides:
        raise InputError(
            "no CONFIG. Give a YAML file or a preset of jobs/configs; --help has an example, --keys lists all keys."
        )
    path = None if config is None else find_preset(config)
    return load_config(model, path, overrides)


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


if __name__ == "__main__":
    main()
