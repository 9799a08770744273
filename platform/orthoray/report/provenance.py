"""Where the numbers come from: datasets, configurations, weights, code; enough to make them again."""

from __future__ import annotations

from typing import Any

from orthoray import __version__, storage
from orthoray.errors import OrthoRayError
from orthoray.report.cohort import Cohort
from orthoray.report.load import Study, file_digest, last_part, short
from orthoray.report.naming import count, model_name


def provenance(study: Study, cohorts: list[Cohort]) -> list[tuple[str, str]]:
    """Pairs of (what, value)."""
    rows = [("Study", f"{study.facts['name']}, config.yaml SHA-256 {_digest(study.uri, 'config.yaml')}")]
    for name in ("results.parquet", "predictions.parquet"):
        rows.append((name, f"SHA-256 {_digest(study.uri, name)}"))
    for cohort in cohorts:
        made = f", made by OrthoRay {cohort.code_version}" if cohort.code_version else ""
        rows.append((f"Dataset “{cohort.name}”", f"id {short(cohort.dataset_id)}{made}"))
    for name in study.models:
        if study.model(name)["kind"] == "checkpoint":
            rows.append((f"Weights “{model_name(name)}”", _weights(study.model(name))))
    for run in dict.fromkeys(str(m["pretrain_run"]) for m in study.facts["models"] if m.get("pretrain_run")):
        rows.append((f"Pretraining run “{last_part(run)}”", f"config.yaml SHA-256 {_digest(run, 'config.yaml')}"))
    return [*rows, ("Page made by", f"OrthoRay {__version__}")]


def _digest(uri: str, name: str) -> str:
    try:
        return file_digest(storage.join(uri, name)) or "not found"
    except OSError:
        return "not readable"


def _weights(facts: dict[str, Any]) -> str:
    content = f"content {short(facts['content'])}, " if facts.get("content") else ""
    reading = f"{content}read at {facts['resolution']} pixels, pooling {facts['pooling']}"
    try:
        card = storage.read_json(storage.join(str(facts["checkpoint"]), "card.json"))
        made, origin = card["architecture"], card["provenance"]
        sizes = ", ".join(f"{key} {value}" for key, value in sorted(made.get("kwargs", {}).items()))
        seen = count(int(origin["images_seen"]), "image")
        steps = f"{count(int(origin['steps']), 'step')}, {seen} seen, seed {origin['seed']}"
        ids = ", ".join(short(value) for value in origin["dataset_ids"]) or "none"
        text = f"{made['name']}{f' ({sizes})' if sizes else ''}; {steps}; pretrained on datasets: {ids}; "
        return f"{text}OrthoRay {origin['code_version']}; {reading}"
    except (OrthoRayError, OSError, KeyError, TypeError):
        return f"card not found any more; {reading}"
