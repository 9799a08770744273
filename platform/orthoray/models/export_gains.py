"""What adapting gained on labelled tasks, from the files of a downstream study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orthoray import storage
from orthoray.errors import InputError

POOLED = -1
"""The fold number of values over all folds together."""


@dataclass(frozen=True)
class Gain:
    """One task: headline metric of the frozen start and of the adapted backbone, and the gain fold by fold.

    Means and sample SDs over the folds of all seeds; the SD of the gain is that of the differences within a fold.
    """

    task: str
    protocol: str
    metric: str
    n_patients: int
    n_folds: int
    start: float
    start_sd: float
    adapted: float
    adapted_sd: float
    gain: float
    gain_sd: float


@dataclass(frozen=True)
class Gains:
    """The table of a study: ``study`` is its name, ``overlap`` says if pretraining saw the images evaluated on."""

    study: str
    start: str
    adapted: str
    rows: tuple[Gain, ...]
    overlap: bool


def read_gains(study: str, content: str) -> Gains:
    """Compare a checkpoint with the start of its own run in a study.

    Args:
        study: folder of `orthoray study`.
        content: hash of the checkpoint's content, as in ``study.json``.

    Returns:
        One row for each task and protocol at the largest fraction of labels; all from ``results.parquet``.

    Raises:
        InputError: no finished study, or one without this checkpoint or without the run's start.
    """
    for name in ("study.json", "results.parquet"):
        if not storage.exists(storage.join(study, name)):
            raise InputError(f"{study}: no finished study ({name} is missing). Give the folder of `orthoray study`.")
    facts = storage.read_json(storage.join(study, "study.json"))
    adapted = next((model for model in facts["models"] if content and model.get("content") == content), None)
    if adapted is None:
        raise InputError(f"{study}: evaluates other checkpoints than this one. Run `orthoray study` with it first.")
    start = next((model for model in facts["models"] if _starts(model, adapted)), None)
    if start is None:
        raise InputError(
            f"{study}: the start of the run (its folder `initial`) is not among the models, so no gain can be told."
        )
    table = storage.read_table(storage.join(study, "results.parquet")).to_pandas()
    rows = [
        _gain(part, str(start["name"]), str(adapted["name"]))
        for (task, _), part in table.groupby(["task", "protocol"], sort=False)
        for part in [part[part["metric"] == facts["headline"][task]]]
        if len(part)
    ]
    overlap = bool(adapted.get("pretrained_on_evaluated"))
    return Gains(str(facts["name"]), str(start["name"]), str(adapted["name"]), tuple(rows), overlap)


def _starts(model: dict[str, Any], adapted: dict[str, Any]) -> bool:
    folder = str(model.get("checkpoint") or "").rstrip("/")
    run = adapted.get("pretrain_run")
    return run is not None and model.get("pretrain_run") == run and folder.endswith("/initial")


def _gain(table: Any, start: str, adapted: str) -> Gain:
    whole = table[(table["fraction"] == table["fraction"].max()) & table["model"].isin([start, adapted])]
    folds = whole[whole["fold"] != POOLED]
    values = folds.pivot(index=["seed", "fold"], columns="model", values="value")[[start, adapted]]
    first = whole.iloc[0]
    if values.isna().any(axis=None):
        raise InputError(f"results.parquet: folds of {first['task']} are missing. Let the study finish first.")
    moved = values[adapted] - values[start]
    return Gain(
        task=str(first["task"]),
        protocol=str(first["protocol"]),
        metric=str(first["metric"]),
        n_patients=int(whole[whole["fold"] == POOLED]["n_patients"].max()),
        n_folds=len(values),
        start=float(values[start].mean()),
        start_sd=float(values[start].std()),
        adapted=float(values[adapted].mean()),
        adapted_sd=float(values[adapted].std()),
        gain=float(moved.mean()),
        gain_sd=float(moved.std()),
    )
