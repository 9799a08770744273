"""Commands that judge backbones: rank, study, report."""

from __future__ import annotations

import click

from orthoray.cli.group import config_options, settings_of
from orthoray.errors import InputError


@click.command()
@config_options
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
    settings = settings_of(RankConfig, config, overrides, keys)
    if settings is not None:
        from orthoray.progress import outputs
        from orthoray.report.ranking import build_ranking
        from orthoray.transferability.rank import run_rank as run

        page = build_ranking(run(settings))
        outputs({"report": str(page)}, next_step="open it in a browser; it needs no network")


@click.command()
@config_options
@click.option("--dry-run", is_flag=True, help="Tell the grid, what is left of it, time and cost; write nothing.")
@click.option("--price-per-hour", type=float, default=None, help="Of the machine, for the cost of --dry-run.")
@click.option("--resume", is_flag=True, help="Go on with a study that was begun; refuse to begin one.")
@click.option("--retry-failed", is_flag=True, help="Run only the rows that failed before (failed.parquet).")
@click.option("--tasks", "list_tasks", is_flag=True, help="List the tasks, their aliases and the suites, and stop.")
def study(
    config: str | None,
    overrides: tuple[str, ...],
    keys: bool,
    dry_run: bool,
    price_per_hour: float | None,
    resume: bool,
    retry_failed: bool,
    list_tasks: bool,
) -> None:
    """Evaluate models on labelled tasks.

    Patient-grouped folds; linear probe, nearest neighbours, fine-tuning; inner selection; out-of-fold
    predictions; baselines; intervals and tests.

    A row (model, task, protocol, fraction, seed, fold) that has its result is not run again, so the same command
    goes on after an interruption, with --resume or without. Results are told as they come; rows that fail are
    listed with reasons and the others finished. A second driver on the same folder is refused.

    \b
    Example:
      orthoray study study_knee_xray_kl out=runs/knee/study --dry-run --price-per-hour 2.5
      orthoray study study_knee_xray_kl out=runs/knee/study
    """
    from orthoray.evaluation.config import StudyConfig
    from orthoray.evaluation.registry import registry_lines

    if list_tasks:
        click.echo("\n".join(registry_lines()))
        return
    settings = settings_of(StudyConfig, config, overrides, keys)
    if settings is None:
        return
    from orthoray import storage
    from orthoray.evaluation.study import plan_lines
    from orthoray.evaluation.study import run_study as run

    if dry_run:
        for line in plan_lines(settings, price_per_hour):
            click.echo(f"  {line}")
        return
    if resume and not storage.exists(storage.join(settings.out, "study.json")):
        raise InputError(f"--resume: {settings.out} holds no study. Leave it out to begin one, or correct `out`.")
    run(settings, retry_failed)


@click.command()
@click.argument("run")
@click.option("--out", default=None, help="Folder for report.html (default: RUN).")
def report(run: str, out: str | None) -> None:
    """Draw one self-contained HTML page.

    RUN is the folder of a downstream study (`orthoray study`) or of a ranking (`orthoray rank`).

    \b
    Example:
      orthoray report runs/knee/study
    """
    from orthoray import storage
    from orthoray.progress import outputs
    from orthoray.report.build import build_report
    from orthoray.report.ranking import build_ranking

    ranking = storage.exists(storage.join(run, "rank.json"))
    page = build_ranking(run, out) if ranking else build_report(run, out)
    outputs({"report": str(page)}, next_step="open it in a browser; it needs no network")
