"""Fine-tuning as a protocol of a study: which rows, from which images, by which checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from orthoray import storage
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.finetune.job import FineTuneJob, Tuned
from orthoray.evaluation.finetune.run import OnEnd, run_finetune
from orthoray.evaluation.finetune.task import Task
from orthoray.evaluation.preflight import Plan
from orthoray.evaluation.rows import Row
from orthoray.features import Pooling
from orthoray.features.encoders import image_spec
from orthoray.features.store import extract_all

RESOURCES = {"workers", "cpus", "gpus", "max_concurrent", "keep_models"}
"""Settings that change nothing in a row's result."""


def tuning_facts(config: StudyConfig, kind: str) -> list[Any]:
    """All settings that the result of a fine-tuned row of a task of ``kind`` depends on."""
    settings = config.finetune
    probe = config.probe.model_dump() if settings.start == "probe" else None
    return [2, settings.model_dump(exclude=RESOURCES), settings.head_for(kind), config.search.model_dump(), probe]


def tune_rows(config: StudyConfig, plan: Plan, out: str, rows: Sequence[Row], on_end: OnEnd) -> dict[Row, str]:
    """Fine-tune the rows of protocol ``ft``; returns those that failed, with reasons. ``on_end`` is told of others."""
    models = {
        model.name: Tuned(str(model.checkpoint), cast(Pooling, plan.specs[model.name].pooling), spec.resolution)
        for model in config.all_models()
        if (spec := plan.specs[model.name]).kind == "checkpoint"
    }
    job = FineTuneJob(
        out=out,
        tasks={
            name: Task(task.samples, task.card.kind, len(task.card.classes), task.card.headline)
            for name, task in plan.tasks.items()
        },
        splits={name: task.splits for name, task in plan.tasks.items()},
        models=models,
        images=_images(config, plan, out, sorted({models[row.model].side for row in rows})),
        config=config.finetune,
        probe=config.probe,
    )
    return run_finetune(rows, job, config.search, on_end)


def _images(config: StudyConfig, plan: Plan, out: str, sides: Sequence[int]) -> dict[int, list[str | None]]:
    """Image folders by side, one per dataset that holds an image of any task."""
    store = storage.join(out, "features") if config.features.store == "auto" else config.features.store
    needed = {int(d) for task in plan.tasks.values() for d in task.samples.image_dataset}
    found: dict[int, list[str | None]] = {side: [] for side in sides}
    for position, dataset in enumerate(plan.datasets):
        folders: list[str | None] = [None] * len(sides)
        if position in needed:
            specs = [image_spec(side) for side in sides]
            folders = list(extract_all(specs, dataset.uri, store, config.features.modality, config.features.batch_size))
        for side, folder in zip(sides, folders, strict=True):
            found[side].append(folder)
    return found
