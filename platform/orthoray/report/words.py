"""The result in plain sentences, as sure and as unsure as the numbers are."""

from __future__ import annotations

from typing import Any

from orthoray.evaluation.summary import verdict
from orthoray.report.load import Study, full_data
from orthoray.report.naming import count, joined, metric_name, model_name
from orthoray.report.tables import plus_minus

BETTER, AHEAD, NOT_BETTER = "clearly better", "ahead, within the spread", "not better"

MOST_LISTED = 4


def verdicts(study: Study) -> list[dict[str, Any]]:
    """Per task: the headline metric of every model, and what it says about the candidate.

    No judgement where the candidate is alone, or the protocol that is shown does not apply to it.
    """
    judged = None
    if study.comparisons:
        judged = verdict(study.results, study.candidate, study.comparisons, dict(study.facts["headline"]))
    rows = []
    for name, task in study.tasks.items():
        part = full_data(study.table, name)
        part = part[part["headline"]].set_index("model")
        mean, sd = part["mean"].astype(float), part["sd"].astype(float)
        row: dict[str, Any] = {
            "title": task["title"],
            "metric": metric_name(study.headline(name)),
            "cells": {model: plus_minus(mean[model], sd[model]) for model in study.models if model in mean},
            "call": "",
        }
        others = [model for model in study.comparisons if model in mean]
        if judged is not None and others and study.candidate in mean:
            facts = judged[(judged["task"] == name) & (judged["protocol"] == part["protocol"].iloc[0])].iloc[0]
            rival = str(mean[others].idxmax())
            margin = float(mean[study.candidate] - mean[rival])
            row["call"] = BETTER if bool(facts["beats"]) else AHEAD if margin > 0 else NOT_BETTER
            row |= {"rival": model_name(rival), "rival_cell": plus_minus(mean[rival], sd[rival]), "margin": margin}
            row["signed"] = f"{margin:+.3f}".replace("-", "−")
        rows.append(row)
    return rows


def question(study: Study) -> str:
    """What the study asks; says more where the three standard models are compared."""
    if not {"pretrained", "untrained", "pixels"} <= set(study.models):
        return "How well do these descriptions of orthopaedic images serve to predict what is in them?"
    return (
        "Does a network that learned from unlabelled orthopaedic images describe them better than the same network "
        "before learning, and better than the plain grey values?"
    )


def scope(study: Study) -> str:
    """How much was measured, as the end of a sentence."""
    people = int(study.predictions["patient_id"].nunique())
    folds = int(study.predictions["fold"].nunique())
    seeds = int(study.predictions["seed"].nunique())
    repeats = f", repeated with {count(seeds, 'seed')}" if seeds > 1 else ""
    return f"{count(len(study.tasks), 'task')}, {count(people, 'patient')}, {count(folds, 'test fold')}{repeats}"


def summary(study: Study, rows: list[dict[str, Any]]) -> list[str]:
    """The summary paragraph, sentence by sentence."""
    name = model_name(study.candidate).lower()
    if not study.comparisons:
        return [f"The study holds a single model, {name}, so there is nothing to compare it with; see the tables."]
    others = joined([f"“{model_name(model)}”" for model in study.comparisons])
    rows = [row for row in rows if row["call"]]
    if not rows:
        return [f"No task compares {name} with another model under one protocol; see the tables."]
    groups = {call: [row for row in rows if row["call"] == call] for call in (BETTER, AHEAD, NOT_BETTER)}
    won = len(groups[BETTER])
    opening = f"On {won} of {count(len(rows), 'task')}" if won else f"On none of {count(len(rows), 'task')}"
    sentences = [
        f"{opening}, the {name} network gave better predictions than every comparison ({others}) "
        "by more than the spread between test folds."
    ]
    if won:
        top = max(groups[BETTER], key=lambda row: float(row["margin"]))
        sentences.append(
            f"The largest gain is on {_lower(top['title'])}: {top['metric']} {top['cells'][study.candidate]}, "
            f"against {top['rival_cell']} for the best comparison ({top['rival']})."
        )
    if groups[AHEAD]:
        listed = _listed(groups[AHEAD], "{signed}")
        sentences.append(f"It was ahead, but by no more than that spread, on {listed}: no clear difference.")
    if groups[NOT_BETTER]:
        listed = _listed(groups[NOT_BETTER], "{signed} to {rival}")
        sentences.append(f"It was not better than the best comparison on {listed}.")
    return sentences


def _listed(rows: list[dict[str, Any]], margin: str) -> str:
    """Tasks with their margins; only their number where they are too many for a sentence."""
    if len(rows) > MOST_LISTED:
        return f"{len(rows)} tasks (see the table)"
    return joined([f"{_lower(row['title'])} ({margin.format(**row)})" for row in rows])


def _lower(title: str) -> str:
    """A title inside a sentence; names and abbreviations keep their capitals."""
    first = title.split(" ")[0].split("-")[0]
    names = first.isupper() or first in ("Kellgren", "Outerbridge", "Pfirrmann")
    return title if names else title[:1].lower() + title[1:]
