"""What a report is made from: the facts and the two tables of a study, checked before anything is drawn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.errors import InputError
from orthoray.evaluation.results import KEY, POOLED
from orthoray.evaluation.summary import summarise

_AGAIN = "Run `orthoray study` again to finish it, then `orthoray report`."
_FACTS = ("name", "tasks", "models", "datasets", "headline", "protocol")


@dataclass(frozen=True)
class Study:
    """A finished study. ``table`` is `summarise` of ``results``; models and tasks keep the order of study.json."""

    uri: str
    facts: dict[str, Any]
    results: pd.DataFrame
    predictions: pd.DataFrame
    table: pd.DataFrame

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Task → its facts, for the tasks that have results."""
        there = set(self.results["task"])
        return {name: task for name, task in self.facts["tasks"].items() if name in there}

    @property
    def models(self) -> list[str]:
        """Names of the models that have results, in the order of tables."""
        there = set(self.results["model"])
        ordered = sorted(self.facts["models"], key=lambda model: int(model["order"]))
        return [str(model["name"]) for model in ordered if model["name"] in there]

    @property
    def candidate(self) -> str:
        """The model that the report is about: the study's, or ``pretrained``, or the last checkpoint or model."""
        if self.facts.get("candidate") in self.models:
            return str(self.facts["candidate"])
        if "pretrained" in self.models:
            return "pretrained"
        checkpoints = [name for name in self.models if self.model(name)["kind"] == "checkpoint"]
        return (checkpoints or self.models)[-1]

    @property
    def comparisons(self) -> list[str]:
        """All models but the candidate."""
        return [name for name in self.models if name != self.candidate]

    @property
    def ranked(self) -> list[str]:
        """The candidate first, then the comparisons: the order of every table and figure."""
        return [self.candidate, *self.comparisons]

    def ranked_on(self, task: str) -> list[str]:
        """`ranked`, without models to which the task's shown protocol (`first_protocol`) does not apply."""
        there = set(full_data(self.results, task)["model"])
        return [name for name in self.ranked if name in there]

    def model(self, name: str) -> dict[str, Any]:
        """The facts of one model."""
        return next(model for model in self.facts["models"] if model["name"] == name)

    def headline(self, task: str) -> str:
        """The metric that a task is judged by."""
        return str(self.facts["headline"][task])


def load_study(uri: str) -> Study:
    """Read a study folder.

    Raises:
        InputError: not a study, not finished, or files that are damaged or do not fit each other.
    """
    if not storage.exists(storage.join(uri, "study.json")):
        raise InputError(_not_a_study(uri))
    facts = storage.read_json(storage.join(uri, "study.json"))
    missing = [key for key in _FACTS if not isinstance(facts, dict) or key not in facts]
    if missing:
        raise InputError(f"{uri}/study.json: {', '.join(missing)} missing. {_AGAIN}")
    if facts.get("status", "done") != "done":
        raise InputError(f"{uri}: the study is not finished (status: {facts['status']}). {_AGAIN}")
    results = read_table(uri, "results.parquet", [*KEY, "metric", "value", "n_patients", "n_samples"])
    predictions = read_table(uri, "predictions.parquet", [*KEY, "sample_id", "patient_id", "label", "score_0"])
    _check(uri, facts, results, predictions)
    return Study(uri, facts, results, predictions, summarise(results, dict(facts["headline"])))


def _not_a_study(uri: str) -> str:
    if not storage.exists(uri):
        return f"{uri}: no such folder. Give the folder that `orthoray study` wrote."
    what = "a pretraining run" if storage.exists(storage.join(uri, "run.json")) else "a dataset"
    known = any(storage.exists(storage.join(uri, name)) for name in ("run.json", "manifest.json"))
    hint = f" This is {what}." if known else ""
    return f"{uri}: not a study folder (study.json is missing).{hint} Give the folder that `orthoray study` wrote."


def read_table(uri: str, name: str, columns: list[str]) -> pd.DataFrame:
    """One Parquet file of a study.

    Raises:
        InputError: it is missing, damaged, empty, or lacks one of ``columns``.
    """
    file = storage.join(uri, name)
    if not storage.exists(file):
        raise InputError(f"{uri}: the study has no {name} yet. {_AGAIN}")
    try:
        table = storage.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: damaged ({str(error).splitlines()[0]}). Remove it. {_AGAIN}") from None
    absent = [column for column in columns if column not in table.column_names]
    if absent or table.num_rows == 0:
        raise InputError(f"{file}: {'no column ' + ', '.join(absent) if absent else 'it is empty'}. {_AGAIN}")
    return pd.DataFrame(table.to_pandas())


def _check(uri: str, facts: dict[str, Any], results: pd.DataFrame, predictions: pd.DataFrame) -> None:
    models = {str(model["name"]) for model in facts["models"]}
    for name, frame in (("results.parquet", results), ("predictions.parquet", predictions)):
        for column, known in (("task", set(facts["tasks"])), ("model", models)):
            strange = sorted(set(frame[column]) - known)
            if strange:
                text = f"{column} '{strange[0]}' is not in study.json"
                raise InputError(f"{uri}/{name}: {text}; the files are of different studies. {_AGAIN}")
    there = set(results[["task", "model", "protocol"]].itertuples(index=False, name=None))
    lacking = [where for where in _wanted(facts, results) if where not in there]
    if lacking:
        told = "model '{1}' has no results on task '{0}' by {2}".format(*lacking[0])
        raise InputError(f"{uri}/results.parquet: {told}. {_AGAIN}")
    key = ["task", "model", "seed", "fraction"]
    found = set(predictions[key].itertuples(index=False, name=None))
    wanted = set(results[key].itertuples(index=False, name=None))
    if found != wanted or not (results["fold"] == POOLED).any():
        raise InputError(f"{uri}: results.parquet and predictions.parquet do not hold the same fits. {_AGAIN}")


def _wanted(facts: dict[str, Any], results: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Task, model and protocol of all results that a study has, without those that study.json calls not applicable."""
    gaps = {(gap["task"], gap["model"], gap["protocol"]) for gap in facts.get("not_applicable", [])}
    names = [str(model["name"]) for model in facts["models"]]
    every = product(dict.fromkeys(results["task"]), names, dict.fromkeys(results["protocol"]))
    return [where for where in every if where not in gaps]


def full_data(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows of one task under `first_protocol` at the largest share of training patients."""
    part = first_protocol(frame, task)
    return pd.DataFrame(part[part["fraction"] == part["fraction"].max()])


def first_protocol(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows of one task under the study's first protocol among those that apply to most models."""
    part = frame[frame["task"] == task]
    models = part.groupby("protocol", sort=False)["model"].nunique()
    return pd.DataFrame(part[part["protocol"] == models.idxmax()])


def file_digest(uri: str) -> str | None:
    """First 12 digits of a file's SHA-256 (as ``sha256sum`` prints it), or None if there is no such file."""
    return hashlib.sha256(storage.read_bytes(uri)).hexdigest()[:12] if storage.exists(uri) else None


def short(identifier: object, length: int = 12) -> str:
    """The beginning of a hashed identifier; enough to compare by eye."""
    text = str(identifier)
    return text if len(text) <= length else text[:length] + "…"


def last_part(uri: str) -> str:
    """Name of a folder without the way to it: pages are passed on, and paths name people and machines."""
    return uri.rstrip("/").rpartition("/")[2] or uri
