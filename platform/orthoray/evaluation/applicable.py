"""Which protocols say something about which model and task; what is left out is named with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orthoray.evaluation.config import ModelSpec, StudyConfig
from orthoray.evaluation.protocol import PLANES, Samples
from orthoray.evaluation.slices import RULES
from orthoray.evaluation.tasks import TaskCard
from orthoray.evaluation.times import not_applicable
from orthoray.features.blocks import LAST, count_blocks


class Gap(NamedTuple):
    """A protocol that does not apply to a task and model."""

    task: str
    model: str
    protocol: str
    reason: str


def find_gaps(config: StudyConfig, tasks: Mapping[str, tuple[TaskCard, Samples]]) -> list[Gap]:
    """All gaps of a study, in the order of its rows."""
    blocks = _blocks(config)
    found = []
    for task, (card, samples) in tasks.items():
        unfit = not_applicable(card, config)
        for model in config.all_models():
            for protocol in config.protocols:
                reason = unfit.get(protocol) or why_not(protocol, model, samples, blocks.get(model.name, 0))
                if reason is not None:
                    found.append(Gap(task, model.name, protocol, reason))
    return found


def why_not(protocol: str, model: ModelSpec, samples: Samples, blocks: int) -> str | None:
    """Why a protocol does not apply, if it does not. ``blocks``: transformer blocks of the model."""
    if protocol == "ft" and model.kind == "pixels":
        return "pixels have no weights to tune"
    if protocol == "sgd":
        return _why_no_blocks(model, blocks)
    if protocol in (*RULES, "mil", "transformer") and len(samples.image_id) == len(samples.label):
        equal = "it would equal lp" if protocol in RULES else "there are no slices to weigh"
        return f"every sample is one image: {equal}"
    return _why_no_places(samples) if protocol == "transformer" else None


def gap_lines(gaps: Sequence[Gap]) -> list[str]:
    """Plain text, a line per protocol and reason, with the tasks and models concerned."""
    groups: dict[tuple[str, str], list[Gap]] = {}
    for gap in gaps:
        groups.setdefault((gap.protocol, gap.reason), []).append(gap)
    return [
        f"{protocol} does not apply to {_names(gap.model for gap in part)} on {_names(gap.task for gap in part)}: "
        f"{reason}"
        for (protocol, reason), part in groups.items()
    ]


def _names(names: object) -> str:
    return ", ".join(dict.fromkeys(names))  # type: ignore[call-overload]


def _blocks(config: StudyConfig) -> dict[str, int]:
    if "sgd" not in config.protocols:
        return {}
    return {m.name: count_blocks(str(m.checkpoint)) for m in config.all_models() if m.kind == "checkpoint"}


def _why_no_blocks(model: ModelSpec, blocks: int) -> str | None:
    if model.kind == "pixels":
        return "pixels have no blocks"
    if blocks < LAST:
        return f"it looks at the last {LAST} transformer blocks, and the network has {blocks or 'none'}"
    return None


def _why_no_places(samples: Samples) -> str | None:
    """The transformer needs to know the plane and the place of every slice."""
    if samples.plane is None or samples.position is None:
        return "the dataset's index lacks plane, slice_index or slice_count"
    strange = sorted({str(name) for name in samples.plane} - set(PLANES))
    if strange:
        return f"the index has a plane '{strange[0]}'; known are {', '.join(PLANES)}"
    unknown = int(np.isnan(samples.position).sum())
    if unknown:
        return f"the index has no slice_index or slice_count for {unknown} of {len(samples.position)} images"
    return None
