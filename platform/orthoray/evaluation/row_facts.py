"""What the result of a row depends on beside its data: the settings of its protocol. See `rows.Row.digest`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.slices import RULES, TOP
from orthoray.features.blocks import blocks_spec
from orthoray.features.encoders import EncoderSpec


def protocol_facts(
    config: StudyConfig, samples: Samples, spec: EncoderSpec, dataset_ids: Sequence[str]
) -> dict[str, Any]:
    """JSON-able facts of each protocol for one task and model."""
    probe = config.probe.model_dump()
    blocks = [blocks_spec(spec).key(dataset_id, config.features.modality) for dataset_id in dataset_ids]
    places = [None if part is None else part.tolist() for part in (samples.plane, samples.position)]
    return {
        "lp": probe,
        "knn": config.knn.model_dump(),
        **{rule: [rule, TOP, probe] for rule in RULES},
        "mil": config.mil.model_dump(),
        "transformer": [config.transformer.model_dump(), *places],
        "sgd": [probe, config.sgd.model_dump(), blocks],
    }
