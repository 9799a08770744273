"""``study.json``: what a study compared, on what, and how; everything that a reader of the tables must know."""

from __future__ import annotations

from typing import Any

import numpy as np

from orthoray.evaluation.config import ProbeConfig, StudyConfig
from orthoray.evaluation.preflight import Plan, PlannedTask
from orthoray.evaluation.schemes import scheme_text
from orthoray.evaluation.slices import TOP

_SLICES = "the linear probe on slices with the label of their study, C chosen by the loss of slices; the study gets"

OTHERS = {
    "slices_mean": f"{_SLICES} the mean of their probabilities",
    "slices_max": f"{_SLICES} the largest of their probabilities",
    "slices_topk": f"{_SLICES} the mean of the {TOP} largest of their probabilities",
    "slices_noisy_or": f"{_SLICES} 1 - Π(1 - p) over their probabilities p",
    "mil": "gated attention over slices (Ilse et al. 2018), the mean of networks with other patients held out",
    "transformer": "a transformer over slices, their planes and positions, the mean of several networks as for mil",
    "sgd": "DINOv2's 52 linear heads by SGD, the best chosen on inner validation and fitted again",
}
"""Protocols beside lp, knn and ft, in words."""


def describe(config: StudyConfig, plan: Plan, status: str) -> dict[str, Any]:
    """The content of ``study.json``; ``status`` is ``running`` or ``done``."""
    return {
        "name": config.name,
        "status": status,
        "datasets": [{"uri": d.uri, "dataset_id": d.manifest["dataset_id"]} for d in plan.datasets],
        "tasks": {name: _task(task) for name, task in plan.tasks.items()},
        "skipped": plan.skipped,
        "not_applicable": [gap._asdict() for gap in plan.gaps],
        "models": _models(config, plan),
        "missing_models": plan.missing,
        "candidate": config.tested(),
        "headline": {name: task.card.headline for name, task in plan.tasks.items()},
        "protocol": _protocol(config),
        "overlap": _overlap(plan),
    }


def _task(task: PlannedTask) -> dict[str, Any]:
    card, labels = task.card, task.samples.label
    return {
        "title": card.title,
        "kind": card.kind,
        "classes": card.classes,
        "metric": card.headline,
        "metrics": card.metrics,
        "unit": card.unit,
        "modality": card.modality,
        "joint": card.joint,
        "n_samples": len(labels),
        "n_masked": task.masked,
        "n_patients": len(set(task.samples.patient_id)),
        "n_images": len(task.samples.image_id),
        "class_counts": np.bincount(labels, minlength=len(card.classes)).tolist(),
    }


def _models(config: StudyConfig, plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": model.name,
            "kind": model.kind,
            "checkpoint": model.checkpoint,
            "pretrain_run": model.pretrain_run,
            "order": order,
            "content": plan.specs[model.name].content or None,
            "resolution": plan.specs[model.name].resolution,
            "pooling": plan.specs[model.name].pooling,
            "pretrained_on_evaluated": plan.overlap.get(model.name, []),
            "pretrained_body_parts": plan.seen.get(model.name, []),
        }
        for order, model in enumerate(config.all_models())
    ]


def _protocol(config: StudyConfig) -> dict[str, Any]:
    grid = config.probe.grid()
    return {
        "protocols": config.protocols,
        "folds": config.folds,
        "split": config.split.model_dump(mode="json"),
        "test_data": scheme_text(config),
        "seeds": config.seeds,
        "fractions": config.fractions,
        "grouping": "patient",
        "stratified_by": "label",
        "aggregate": config.aggregate,
        "probe": "logistic regression with an L2 penalty on features standardised on the training part; of times to an "
        "event, Cox regression with an L2 penalty (ties by Breslow)",
        "neighbours": f"the {config.knn.k} nearest training samples by cosine, weighed exp(cosine / "
        f"{config.knn.temperature:g})",
        "c_grid": grid,
        "others": {name: text for name, text in OTHERS.items() if name in config.protocols},
        **{
            name: getattr(config, name).model_dump(mode="json")
            for name in ("mil", "transformer", "sgd")
            if name in config.protocols
        },
        "finetune": config.finetune.model_dump(mode="json") if "ft" in config.protocols else None,
        "search": config.search.model_dump(mode="json") if "ft" in config.protocols else None,
        "inner": _inner(config.probe),
        "inner_metric": config.probe.inner_metric,
        "class_weight": config.probe.class_weight,
        "pixels": f"24 x 24 grey values, {config.probe.pixel_components} principal components of the training part",
        "sd": "sample standard deviation over folds (and seeds)",
        "pooled": "fold -1 is the metric over the out-of-fold predictions of all folds of a seed",
    }


def _inner(config: ProbeConfig) -> str:
    folds = f"patient-grouped {config.inner_folds}-fold inside the training part"
    holdout = f"patient-grouped hold-out of {config.holdout:.0%} of the training patients"
    if config.inner == "auto":
        return f"{folds} below {config.cv_below} training samples, {holdout} from there on"
    return folds if config.inner == "cv" else holdout


def _overlap(plan: Plan) -> dict[str, Any]:
    """Did pretraining see the images that the folds test on? (without their labels)"""
    seen = {name: ids for name, ids in plan.overlap.items() if ids}
    if seen:
        text = (
            f"Transductive: {', '.join(seen)} saw the evaluated images, test folds included, in self-supervised "
            "pretraining, without any label. The values say how well the representation serves these patients; "
            "for new patients they may be optimistic."
        )
    else:
        text = "Inductive as far as recorded: no model names an evaluated dataset among those it was pretrained on."
    return {"transductive": bool(seen), "models": seen, "text": text}
