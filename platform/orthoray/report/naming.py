"""Names and plain explanations of metrics and models, as readers of the page see them."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from orthoray.evaluation.shots import shots_of

METRICS = {
    "auroc": "AUROC",
    "c_index": "C-index",
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "qwk": "Weighted kappa",
    "sens_at_spec90": "Sensitivity at 90 % specificity",
    "spec_at_sens90": "Specificity at 90 % sensitivity",
    "brier": "Brier score",
    "auroc_ovr": "AUROC, one against the rest",
    "mae": "Mean error in grades",
    "within_one": "Within one grade",
}

EXPLAINED = {
    "c_index": "of pairs of which it is known who had the event first, the share ranked so; 0.5 is guessing.",
    "auroc": "chance that a randomly drawn positive case gets a higher score than a negative one; 0.5 is guessing.",
    "auprc": "average precision over all recall levels; guessing gives the share of positive cases.",
    "accuracy": "share of cases whose class is named correctly; it flatters a model when one class is common.",
    "balanced_accuracy": "accuracy averaged over the classes, each counting the same.",
    "macro_f1": "harmonic mean of precision and recall, averaged over the classes, each counting the same.",
    "weighted_f1": "the same average, each class counting by its number of cases.",
    "qwk": "Cohen's kappa with quadratic weights: agreement on an ordered grade beyond chance; 1 is perfect, 0 chance.",
    "sens_at_spec90": "share of positive cases found by a threshold that is wrong on at most a tenth of the others.",
    "spec_at_sens90": "share of negative cases left alone by a threshold that finds nine tenths of the positive ones.",
    "brier": "mean squared difference between probability and truth; lower is better.",
    "auroc_ovr": "AUROC of each class against all others, each class counting the same.",
    "mae": "mean distance between true and predicted grade; lower is better.",
    "within_one": "share of cases whose predicted grade is at most one away.",
}

MODELS = {"pretrained": "Pretrained", "untrained": "Untrained", "pixels": "Raw pixels"}

PROTOCOLS = {"lp": "linear probe", "knn": "nearest neighbours", "ft": "fine-tuning"}

MARKS = ("circle", "square", "triangle", "diamond", "cross", "plus")
"""Shape of each model's mark; with the colour and the line's dashes a third, colour-free way to tell them apart."""


def metric_name(metric: str) -> str:
    """A metric's name in words."""
    years = re.fullmatch(r"auroc_at_(\d+)y", metric)
    return f"AUROC at {years.group(1)} years" if years else METRICS.get(metric, metric)


def model_name(model: str) -> str:
    """A model's name in words."""
    return MODELS.get(model, model)


def protocol_name(protocol: str) -> str:
    """A protocol's name in words: ``linear probe, 4 patients of each class`` for ``lp-4shot``."""
    base, shots = shots_of(protocol)
    few = "" if shots is None else f", {count(shots, 'patient')} of each class"
    return f"{PROTOCOLS.get(base, base)}{few}"


def model_text(model: dict[str, Any]) -> str:
    """One sentence on what a model of study.json is."""
    if model["kind"] == "pixels":
        return "No network: the grey values of the image, shrunk to a small square and compressed."
    if model["name"] == "untrained":
        return "The same network with its starting values, before it saw any image: what the architecture gives alone."
    if model["name"] == "pretrained":
        return "The network after learning from unlabelled images (self-supervised pretraining)."
    return "A network read from a checkpoint folder."


def chance_level(metric: str, class_counts: list[int]) -> float | None:
    """What a model without any information reaches: AUROC 0.5, the commonest class, 1/K …; None if undefined."""
    total = sum(class_counts)
    occurring = sum(count > 0 for count in class_counts)
    if not total:
        return None
    levels: dict[str, float] = {
        "auroc": 0.5,
        "c_index": 0.5,
        "auprc": class_counts[-1] / total,
        "accuracy": max(class_counts) / total,
        "balanced_accuracy": 1.0 / occurring,
        "qwk": 0.0,
    }
    return levels.get(metric)


CHANCE_TEXT = {
    "auroc": "guessing",
    "c_index": "guessing",
    "auprc": "share of positives",
    "accuracy": "always the commonest class",
    "balanced_accuracy": "guessing",
    "qwk": "chance",
}


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores, dots and hyphens where a column is narrow; escaped."""
    return Markup("<wbr>").join(re.findall(r"[^_.-]*[_.-]|[^_.-]+", name))


def joined(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 task``, ``1,204 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
