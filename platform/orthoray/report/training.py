"""Curves of the pretraining run, from its ``history.jsonl``."""

from __future__ import annotations

import json
import math
from typing import Any

from orthoray import storage
from orthoray.errors import InputError
from orthoray.report.load import Study
from orthoray.report.svg import Chart, padded

PANELS = (
    ("loss", "Loss", "How far the student's answers are from the teacher's; should fall."),
    ("teacher_entropy", "Teacher entropy", "How undecided the teacher is; falls slowly, neither 0 nor constant."),
    ("feature_std", "Feature spread", "Standard deviation of the features over images; near 0 means collapse."),
    ("lr", "Learning rate", "The planned schedule: warm-up, then decay."),
    ("images_per_second", "Images per second", "Speed of training."),
)
MOST_POINTS = 300


def training(study: Study) -> dict[str, Any]:
    """Panels and facts of the candidate's pretraining run, or a note why there are none."""
    run = study.model(study.candidate).get("pretrain_run")
    if not run:
        return {"panels": [], "note": f"The model “{study.candidate}” names no pretraining run."}
    uri = storage.join(str(run), "history.jsonl")
    try:
        steps = read_history(uri)
    except (InputError, OSError):
        return {"panels": [], "note": "The pretraining run is no longer where the study read it."}
    if len(steps) < 2:
        return {"panels": [], "note": "The pretraining run recorded fewer than two log entries."}
    panels = [_panel(steps, *panel) for panel in PANELS]
    binned = math.ceil(len(steps) / MOST_POINTS)
    return {
        "panels": [panel for panel in panels if panel],
        "note": "",
        "entries": len(steps),
        "binned": binned if binned > 1 else 0,
        "last": steps[-1],
    }


def read_history(uri: str) -> list[dict[str, Any]]:
    """Log entries with a step, in the order of steps; for a step logged twice (after a resume) the later entry.

    Lines that are no JSON (the last one of a run that was killed) are left out.
    """
    entries: dict[int, dict[str, Any]] = {}
    for line in storage.read_bytes(uri).decode("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries[entry["step"]] = entry
    return [entries[step] for step in sorted(entries)]


def _panel(steps: list[dict[str, Any]], key: str, title: str, text: str) -> dict[str, Any] | None:
    points = [(float(entry["step"]), float(entry[key])) for entry in steps if _finite(entry.get(key))]
    if len(points) < 2:
        return None
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    xs = [sum(x for x, _ in group) / len(group) for group in groups]
    ys = [sum(y for _, y in group) / len(group) for group in groups]
    low, high = padded(ys)
    chart = Chart.over((points[0][0], points[-1][0]), (min(low, 0.0) if min(ys) >= 0 else low, high), height=200)
    chart.axes("step")
    chart.curve(xs, ys, "curve m0")
    first, last = ys[0], ys[-1]
    label = f"{title} over training steps, from {first:.4g} at the start to {last:.4g} at the end."
    return {"title": title, "text": text, "svg": chart.render(label), "first": first, "last": last}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
