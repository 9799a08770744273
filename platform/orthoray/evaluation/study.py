"""`orthoray study`: a downstream study from configuration to result tables."""

from __future__ import annotations

from itertools import product

import pandas as pd

from orthoray import storage
from orthoray.config import to_yaml
from orthoray.evaluation.conclusions import Conclusions, conclude
from orthoray.evaluation.config import ModelSpec, StudyConfig
from orthoray.evaluation.describe import describe
from orthoray.evaluation.finetune.study import tune_rows, tuning_facts
from orthoray.evaluation.preflight import Plan, plan_study
from orthoray.evaluation.results import collect
from orthoray.evaluation.rows import Row, digest, finished, samples_digest
from orthoray.evaluation.splitfiles import check_existing_splits, write_study_splits
from orthoray.evaluation.summary import summarise, summary_lines, verdict, verdict_lines
from orthoray.evaluation.trials import StudyJob, TaskJob, run_rows
from orthoray.features.store import extract_all
from orthoray.progress import heading, outputs, say
from orthoray.tracking import Tracker

STANDARD = ("pixels", "untrained", "pretrained")


def run_study(config: StudyConfig) -> str:
    """Run a downstream study and return the URI of its folder.

    The folder gets ``config.yaml``, ``study.json``, ``splits/``, ``features/`` (unless ``features.store`` says
    otherwise), ``parts/`` (one file per finished row), ``results.parquet`` and ``predictions.parquet``, and what is
    computed from these two: ``intervals.parquet``, ``comparisons.parquet`` and, with several fractions,
    ``efficiency.parquet``. A row that has its
    part file is not run again, so an interrupted study goes on where it stopped.

    Raises:
        InputError: anything wrong with the configuration or the data; found before anything is written.
        RunError: a fit or an extraction failed; finished rows keep their results.
    """
    out = storage.absolute(config.out)
    plan = plan_study(config)
    check_existing_splits(out, plan)
    _announce(config, plan)
    storage.makedirs(out)
    storage.write_bytes(storage.join(out, "config.yaml"), to_yaml(config).encode())
    write_study_splits(out, plan)
    storage.write_json(storage.join(out, "study.json"), describe(config, plan, "running"))
    with Tracker(out, "study", config.model_dump(mode="json")) as tracker:
        rows = study_rows(config, plan)
        todo = [row for row in rows if row not in finished(rows, out)]
        say(f"  {len(rows)} fits, {len(rows) - len(todo)} of them done before")
        if todo:
            _run(config, plan, out, todo)
        cards = {name: task.card for name, task in plan.tasks.items()}
        results, predictions = collect(config.name, out, rows, cards, tracker.run_id)
        table = summarise(results, {name: card.headline for name, card in cards.items()})
        tracker.log(_tracked(table), step=0)
    conclusions = conclude(results, predictions, cards, config.tested(), config.resamples)
    conclusions.write(out)
    storage.write_json(storage.join(out, "study.json"), describe(config, plan, "done"))
    _report(config, out, results, table, conclusions)
    return out


def study_rows(config: StudyConfig, plan: Plan) -> list[Row]:
    """All rows of the study, task by task in the order of the plan, each with the digest of what it depends on."""
    rows: list[Row] = []
    ids = [str(dataset.manifest["dataset_id"]) for dataset in plan.datasets]
    for name, task in plan.tasks.items():
        data = samples_digest(task.samples)
        splits = {seed: digest(table.sort_values("sample_id").to_dict("list")) for seed, table in task.splits.items()}
        for model in config.all_models():
            spec = plan.specs[model.name]
            keys = [spec.key(dataset_id, config.features.modality) for dataset_id in ids]
            shared = [2, data, keys, config.aggregate, len(task.card.classes)]
            options = {
                "lp": config.probe.model_dump(),
                "knn": config.knn.model_dump(),
                "ft": tuning_facts(config, task.card.kind),
            }
            rows += [
                Row(name, model.name, protocol, fraction, seed, fold, digest(shared, options[protocol], splits[seed]))
                for protocol in config.protocols
                if why_not(protocol, model) is None
                for fraction in config.fractions
                for seed in config.seeds
                for fold in range(config.folds)
            ]
    return rows


def why_not(protocol: str, model: ModelSpec) -> str | None:
    """Why a protocol does not apply to a model, if it does not."""
    return "pixels have no weights to tune" if protocol == "ft" and model.kind == "pixels" else None


def _run(config: StudyConfig, plan: Plan, out: str, todo: list[Row]) -> None:
    from orthoray.cluster.session import connect

    connect()
    tuned = [row for row in todo if row.protocol == "ft"]
    probed = [row for row in todo if row.protocol != "ft"]
    if probed:
        _probe(config, plan, out, probed)
    if tuned:
        tune_rows(config, plan, out, tuned)


def _probe(config: StudyConfig, plan: Plan, out: str, todo: list[Row]) -> None:
    wanted = {row.model for row in todo}
    models = [model for model in config.all_models() if model.name in wanted]
    store = storage.join(out, "features") if config.features.store == "auto" else config.features.store
    features: dict[str, list[str | None]] = {model.name: [] for model in models}
    needed = {int(d) for task in plan.tasks.values() for d in task.samples.image_dataset}
    for position, dataset in enumerate(plan.datasets):
        folders: list[str] = []
        if position in needed:
            specs = [plan.specs[model.name] for model in models]
            folders = extract_all(specs, dataset.uri, store, config.features.modality, config.features.batch_size)
        for place, model in enumerate(models):
            features[model.name].append(folders[place] if folders else None)
    job = StudyJob(
        out=out,
        tasks={n: TaskJob(t.samples, len(t.card.classes), t.splits) for n, t in plan.tasks.items()},
        features=features,
        components={m.name: config.probe.pixel_components if m.kind == "pixels" else None for m in models},
        aggregate=config.aggregate,
        probe=config.probe,
        knn=config.knn,
    )
    run_rows(todo, job, None if config.trials == "auto" else config.trials)


def _announce(config: StudyConfig, plan: Plan) -> None:
    say(f"  datasets: {', '.join(dataset.uri for dataset in plan.datasets)}")
    for name, task in plan.tasks.items():
        patients = len(set(task.samples.patient_id))
        say(f"  task {name}: {len(task.samples.label)} samples of {patients} patients, {task.card.headline}")
    for model, protocol in product(config.all_models(), config.protocols):
        if (reason := why_not(protocol, model)) is not None:
            say(f"  {model.name} is not judged by {protocol}: {reason}")
    for name, reason in plan.skipped.items():
        say(f"  task {name} is left out: {reason}")


def _tracked(table: pd.DataFrame) -> dict[str, float]:
    head = table[table["headline"] & (table["fraction"] == table["fraction"].max())]
    return {f"{r.task}/{r.model}/{r.metric}": float(str(r.mean)) for r in head.itertuples()}


def _report(
    config: StudyConfig, out: str, results: pd.DataFrame, table: pd.DataFrame, conclusions: Conclusions
) -> None:
    heading("Results: mean ± SD over folds")
    for line in summary_lines(table):
        say(f"  {line}")
    if set(STANDARD) <= {model.name for model in config.all_models()}:
        for line in verdict_lines(verdict(results)):
            say(f"  {line}")
    for title, lines in conclusions.told(min(config.fractions)):
        heading(title)
        for line in lines:
            say(f"  {line}")
    outputs(
        {"results": storage.join(out, "results.parquet"), "predictions": storage.join(out, "predictions.parquet")},
        next_step=f"orthoray report {config.out}",
    )
