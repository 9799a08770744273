"""General backbones beside the study's own models: in the table where their weights are given, named where not."""

from __future__ import annotations

from collections.abc import Mapping

from orthoray import storage
from orthoray.errors import InputError, nearest
from orthoray.evaluation.config import BaselineConfig, ModelSpec, StudyConfig
from orthoray.features.candidate_settings import Candidate, listed
from orthoray.features.candidates import missing_weights, prepare

FOLDER = "baselines"
"""Folder of a study that holds their checkpoints."""


def with_baselines(config: StudyConfig, folder: str) -> tuple[StudyConfig, dict[str, str]]:
    """The configuration with the baselines that there are weights for among its models, before those listed.

    Args:
        config: of the study.
        folder: where checkpoint folders are written, unless they are there.

    Returns:
        The configuration, and of every baseline without weights where they are published.

    Raises:
        InputError: weights that are named and are not there, or are of another architecture; a name in ``weights``
            that is no baseline, or a baseline named as one of the models.
    """
    known = candidates_of(config.baselines)
    names = {model.name for model in config.all_models()}
    clash = next((one.name for one in known if one.name in names), None)
    if clash:
        raise InputError(f"baselines: '{clash}' is also the name of a model; give one of them another name.")
    given = [one for one in known if one.weights or one.checkpoint]
    lacking = missing_weights(given)
    if lacking:
        told = "; ".join(f"{name}: {why.partition('; set ')[0]}" for name, why in lacking.items())
        raise InputError(f"baselines.weights: {told}. Correct the place, or leave it out: the study then names them.")
    specs = []
    for one in given:
        ready = prepare(one, storage.join(folder, one.name), random=False)
        specs.append(ModelSpec(name=one.name, kind="checkpoint", checkpoint=ready.checkpoint))
    missing = {one.name: one.published for one in known if one not in given}
    return config.model_copy(update={"models": [*specs, *config.models]}), missing


def candidates_of(config: BaselineConfig) -> list[Candidate]:
    """The baselines, each with the weights that the configuration gives it.

    Raises:
        InputError: ``weights`` has a name that is no baseline.
    """
    known = listed(config.candidates) if config.candidates else []
    names = [one.name for one in known]
    for name in config.weights:
        if name not in names:
            raise InputError(f"baselines.weights: no baseline '{name}'.{nearest(name, names)} There are: {names}.")
    return [one.model_copy(update={"weights": config.weights.get(one.name, one.weights)}) for one in known]


def missing_line(missing: Mapping[str, str]) -> str:
    """One line of plain text; empty if nothing is missing."""
    if not missing:
        return ""
    name = next(iter(missing))
    return (
        f"not in the table, as no weights are given: {', '.join(missing)}. Set baselines.weights.{name}=FILE; "
        "jobs/configs/candidates/baselines.yaml says where they are published."
    )
