"""Fine-tuning as a protocol of a study: which rows, from which images, by which checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from orthoray import storage
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.feature_folders import Folders
from orthoray.evaluation.finetune.job import FineTuneJob, Tuned
from orthoray.evaluation.finetune.run import run_finetune
from orthoray.evaluation.finetune.task import Task
from orthoray.evaluation.preflight import Plan
from orthoray.evaluation.rows import Row
from orthoray.evaluation.tuning import OnEnd
from orthoray.features import Pooling
from orthoray.features.encoders import EncoderSpec, image_spec

RESOURCES = {"workers", "cpus", "gpus", "max_concurrent", "keep_models"}
"""Settings that change nothing in a row's result."""


def tuning_facts(config: StudyConfig, kind: str) -> list[Any]:
    """All settings that the result of a fine-tuned row of a task of ``kind`` depends on."""
    settings = config.finetune
    probe = config.probe.model_dump() if settings.start == "probe" else None
    return [2, settings.model_dump(exclude=RESOURCES), settings.head_for(kind), config.search.model_dump(), probe]


def image_specs(plan: Plan, rows: Sequence[Row]) -> list[EncoderSpec]:
    """The sizes of images that rows of protocol ``ft`` are fitted on."""
    return [image_spec(side) for side in sorted({plan.specs[row.model].resolution for row in rows})]


def tune_rows(
    config: StudyConfig,
    plan: Plan,
    out: str,
    rows: Sequence[Row],
    folders: Mapping[EncoderSpec, Folders],
    on_end: OnEnd,
) -> dict[Row, str]:
    """Fine-tune the rows of protocol ``ft``; returns those that failed, with reasons. ``on_end`` is told of others."""
    models = {
        model.name: Tuned(
            storage.absolute(str(model.checkpoint)), cast(Pooling, plan.specs[model.name].pooling), spec.resolution
        )
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
        images={spec.resolution: folders[spec] for spec in image_specs(plan, rows)},
        config=config.finetune,
        probe=config.probe,
    )
    return run_finetune(rows, job, config.search, on_end)
