"""`orthoray study`: a downstream study from configuration to result tables."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from orthoray import storage
from orthoray.config import to_yaml
from orthoray.data.splits import UNUSED, outer_folds
from orthoray.errors import InputError, RunError
from orthoray.evaluation.applicable import gap_lines
from orthoray.evaluation.baselines import FOLDER, missing_line, with_baselines
from orthoray.evaluation.conclusions import conclude
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.cross_joint import unknown_line
from orthoray.evaluation.describe import describe
from orthoray.evaluation.dry_run import dry_run
from orthoray.evaluation.failures import failure_lines, only_failed, write_failures
from orthoray.evaluation.feature_folders import Folders, make_folders
from orthoray.evaluation.finetune.study import image_specs, tune_rows, tuning_facts
from orthoray.evaluation.leaks.run import check_copies, check_leaks
from orthoray.evaluation.live import Live
from orthoray.evaluation.lock import StudyLock
from orthoray.evaluation.preflight import Plan, PlannedTask, plan_study
from orthoray.evaluation.results import collect
from orthoray.evaluation.robustness import measure_robustness, robustness_lines
from orthoray.evaluation.row_facts import protocol_facts
from orthoray.evaluation.rows import Row, digest, finished, samples_digest, whole_groups
from orthoray.evaluation.shots import rows_of, shots_of, too_many
from orthoray.evaluation.splitfiles import check_existing_splits, write_study_splits
from orthoray.evaluation.subgroups import attributes
from orthoray.evaluation.summary import summarise, summary_lines, verdict, verdict_lines
from orthoray.evaluation.tracked import log_groups
from orthoray.evaluation.trials import StudyJob, TaskJob, run_rows
from orthoray.features.blocks import blocks_spec
from orthoray.features.encoders import EncoderSpec, pixel_spec
from orthoray.progress import heading, outputs, say
from orthoray.tracking import Tracker

STANDARD = ("pixels", "untrained", "pretrained")


def run_study(config: StudyConfig, retry_failed: bool = False) -> str:
    """Run a downstream study and return the URI of its folder; with ``retry_failed`` only rows that failed before.

    The folder gets ``config.yaml``, ``study.json``, ``splits/``, ``features/`` (unless ``features.store`` says
    otherwise), ``parts/`` (one file per finished row), ``results.parquet`` and ``predictions.parquet``, and what is
    computed from these two: ``intervals.parquet``, ``comparisons.parquet`` and, with several fractions,
    ``efficiency.parquet``. A row that has its part file is not run again, so an interrupted study goes on where it
    stopped. Rows that fail are listed in ``failed.parquet``; all others are finished first.

    Raises:
        InputError: anything wrong with the configuration or the data, found before anything is written, or another
            driver is at work in the same folder.
        RunError: rows failed, or an extraction did; finished rows keep their results.
    """
    out, asked = storage.absolute(config.out), config
    config, plan = _planned(config, storage.join(out, FOLDER))
    check_copies(config, plan)
    _announce(config, plan)
    storage.makedirs(out)
    with StudyLock(out) as lock:
        storage.write_bytes(storage.join(out, "config.yaml"), to_yaml(asked).encode())
        write_study_splits(out, plan)
        storage.write_json(storage.join(out, "study.json"), describe(config, plan, "running"))
        with Tracker(out, "study", config.model_dump(mode="json")) as tracker:
            failed, rows = _work(config, plan, out, lock, tracker, retry_failed)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(rows)} rows failed; {storage.join(out, 'failed.parquet')} has the reasons. What is "
            "whole is in the tables. Give the same command again, or with --retry-failed for these rows alone."
        )
    return out


def plan_lines(config: StudyConfig, price_per_hour: float | None = None) -> list[str]:
    """What a study would do, see `dry_run`; nothing is written.

    Raises:
        InputError: as `run_study`.
    """
    with tempfile.TemporaryDirectory() as folder:
        config, plan = _planned(config, folder)
        _announce(config, plan)
        return dry_run(config, plan, study_rows(config, plan), price_per_hour)


def _planned(config: StudyConfig, folder: str) -> tuple[StudyConfig, Plan]:
    """The configuration with its baselines, whose checkpoints are written to ``folder``, and the plan of it.

    All that is wrong with the study itself is found before such a checkpoint is written.
    """
    plan = plan_study(config)
    check_existing_splits(storage.absolute(config.out), plan)
    whole, missing = with_baselines(config, folder)
    return whole, replace(plan if whole.models == config.models else plan_study(whole), missing=missing)


def _work(
    config: StudyConfig, plan: Plan, out: str, lock: StudyLock, tracker: Tracker, retry_failed: bool
) -> tuple[dict[Row, str], list[Row]]:
    """Run what is left and write the tables; returns the rows that failed, with reasons, and all rows."""
    rows = study_rows(config, plan)
    done = finished(rows, out)
    todo = [row for row in rows if row not in done]
    if retry_failed:
        todo = only_failed(out, todo)
        if not todo:
            raise InputError(f"{out}: no row of this study has failed before; leave --retry-failed out.")
    beside = "; some protocols do not apply, see above" if plan.gaps else ""
    say(f"  {len(rows)} fits, {len(done)} of them done before{_kept(rows, done, todo)}{beside}")
    cards = {name: task.card for name, task in plan.tasks.items()}
    failed = _run(config, plan, out, todo, Live(out, rows, done, cards, config.name)) if todo else {}
    lock.check()
    write_failures(out, failed)
    whole = whole_groups(rows, out)
    _tell_failures(failed, rows, whole)
    results, predictions = collect(config.name, out, whole, cards, tracker.run_id)
    table = summarise(results, {name: card.headline for name, card in cards.items()})
    indices = [dataset.index() for dataset in plan.datasets]
    known = {name: attributes(task.samples, indices) for name, task in plan.tasks.items()}
    conclusions = conclude(results, predictions, cards, known, config, plan.seen.get(config.tested(), []))
    conclusions.write(out)
    robust = robustness_lines(measure_robustness(config, plan, out))
    status = "done" if len(whole) == len(rows) else "partial"
    storage.write_json(storage.join(out, "study.json"), describe(config, plan, status))
    tracker.log(_tracked(table), step=0)
    log_groups(tracker, out, table, results, {(row.task, row.model, row.protocol) for row in todo})
    _report(
        config, out, results, table, [*conclusions.told(min(config.fractions), config.tested()), ("Robustness", robust)]
    )
    return failed, rows


def _kept(rows: list[Row], done: set[Row], todo: list[Row]) -> str:
    left = len(rows) - len(done) - len(todo)
    return f"; {len(todo)} failed before and are run again, {left} others are left" if left else ""


def _tell_failures(failed: dict[Row, str], rows: list[Row], whole: list[Row]) -> None:
    """Say what failed and what the tables therefore lack; RunError if nothing is whole."""
    if failed:
        heading("Failed")
    for line in failure_lines(failed):
        say(f"  {line}")
    if len(whole) < len(rows):
        say(f"  the tables hold {len(whole)} of {len(rows)} rows: groups of folds that are not whole are left out")
    if not whole:
        reason = next(iter(failed.values()), "no row was run")
        raise RunError(f"no group of folds is whole ({reason}). Finished rows are kept; give the same command again.")


def study_rows(config: StudyConfig, plan: Plan) -> list[Row]:
    """All rows of the study, task by task in the order of the plan, each with the digest of what it depends on."""
    rows: list[Row] = []
    gaps = {gap[:3] for gap in plan.gaps}
    ids = [str(dataset.manifest["dataset_id"]) for dataset in plan.datasets]
    for name, task in plan.tasks.items():
        data = samples_digest(task.samples)
        splits = {seed: digest(table.sort_values("sample_id").to_dict("list")) for seed, table in task.splits.items()}
        few = too_many(config, task)
        for model in config.all_models():
            spec = plan.specs[model.name]
            keys = [spec.key(dataset_id, config.features.modality) for dataset_id in ids]
            shared = [2, data, keys, config.aggregate, len(task.card.classes)]
            options = {
                **protocol_facts(config, task.samples, spec, ids),
                "ft": tuning_facts(config, task.card.kind),
            }
            protocols = [one for one in config.protocols if (name, model.name, one) not in gaps]
            rows += [
                Row(name, model.name, protocol, fraction, seed, fold, digest(shared, settings, splits[seed]))
                for protocol, fraction in rows_of(config, protocols, few)
                for settings in [options[shots_of(protocol)[0]]]
                for seed in config.seeds
                for fold in outer_folds(task.splits[seed])
            ]
    return rows


def _run(config: StudyConfig, plan: Plan, out: str, todo: list[Row], live: Live) -> dict[Row, str]:
    """Run rows, the cheap ones first; returns those that failed, with reasons."""
    from orthoray.cluster.session import connect

    connect()
    tuned = [row for row in todo if row.protocol == "ft"]
    probed = [row for row in todo if row.protocol != "ft"]
    folders = make_folders(config, plan, out, [pixel_spec(), *_probe_specs(plan, probed), *image_specs(plan, tuned)])
    check_leaks(plan, out, folders[pixel_spec()])
    failed = _probe(config, plan, out, probed, folders, live) if probed else {}
    return failed | (tune_rows(config, plan, out, tuned, folders, live.ended) if tuned else {})


def _probe_specs(plan: Plan, rows: list[Row]) -> list[EncoderSpec]:
    """Features that rows of frozen protocols read: of the last layer, and of several blocks for ``sgd``."""
    last = {row.model: plan.specs[row.model] for row in rows if row.protocol != "sgd"}
    return [*last.values(), *_blocks(plan, rows).values()]


def _blocks(plan: Plan, rows: list[Row]) -> dict[str, EncoderSpec]:
    """Model → its features of several blocks, for the models that rows of protocol ``sgd`` are about."""
    return {row.model: blocks_spec(plan.specs[row.model]) for row in rows if row.protocol == "sgd"}


def _probe(
    config: StudyConfig,
    plan: Plan,
    out: str,
    todo: list[Row],
    folders: Mapping[EncoderSpec, Folders],
    live: Live,
) -> dict[Row, str]:
    wanted = {row.model for row in todo}
    models = [model for model in config.all_models() if model.name in wanted]
    job = StudyJob(
        out=out,
        tasks={n: TaskJob(t.samples, len(t.card.classes), t.splits) for n, t in plan.tasks.items()},
        features={name: folders[spec] for name, spec in plan.specs.items() if spec in folders},
        components={m.name: config.probe.pixel_components if m.kind == "pixels" else None for m in models},
        aggregate=config.aggregate,
        probe=config.probe,
        knn=config.knn,
        mil=config.mil,
        transformer=config.transformer,
        sgd=config.sgd,
        blocks={name: folders[several] for name, several in _blocks(plan, todo).items()},
    )
    return run_rows(todo, job, None if config.trials == "auto" else config.trials, live.ended)


def _announce(config: StudyConfig, plan: Plan) -> None:
    say(f"  datasets: {', '.join(dataset.uri for dataset in plan.datasets)}")
    for name, task in plan.tasks.items():
        patients = len(set(task.samples.patient_id))
        known = f"{len(task.samples.label)} samples of {patients} patients"
        say(f"  task {name}: {known}, {task.card.headline}{_masked(task)}")
        for shots, why in too_many(config, task).items():
            say(f"  task {name} is not run with {shots} shots: {why}")
    for name, reason in plan.skipped.items():
        say(f"  task {name} is left out: {reason}")
    joints, candidate = {name: task.card.joint for name, task in plan.tasks.items()}, config.tested()
    told = [missing_line(plan.missing), unknown_line(joints, plan.seen.get(candidate, []), candidate)]
    for line in [*gap_lines(plan.gaps), *filter(None, told)]:
        say(f"  {line}")


def _masked(task: PlannedTask) -> str:
    told = f"; {task.masked} samples of its other parts have no label for it" if task.masked else ""
    unused = {seed: int((split["fold"] == UNUSED).sum()) for seed, split in task.splits.items()}
    few = f"; {max(unused.values())} samples unused: their patient would be on both sides, or nothing is known"
    return told + (few if any(unused.values()) else "")


def _tracked(table: pd.DataFrame) -> dict[str, float]:
    head = table[table["headline"] & (table["fraction"] == table["fraction"].max())]
    return {f"{r.task}/{r.model}/{r.metric}": float(str(r.mean)) for r in head.itertuples()}


def _report(
    config: StudyConfig, out: str, results: pd.DataFrame, table: pd.DataFrame, told: list[tuple[str, list[str]]]
) -> None:
    heading("Results: mean ± SD over folds")
    for line in summary_lines(table):
        say(f"  {line}")
    if set(STANDARD) <= set(results["model"]):
        for line in verdict_lines(verdict(results)):
            say(f"  {line}")
    for title, lines in told:
        if lines:
            heading(title)
        for line in lines:
            say(f"  {line}")
    outputs(
        {"results": storage.join(out, "results.parquet"), "predictions": storage.join(out, "predictions.parquet")},
        next_step=f"orthoray report {config.out}",
    )
