"""The teacher's backbone as a checkpoint folder: light ones for probes, and the one that a run ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from orthoray import storage
from orthoray.models.adapter_settings import AdapterConfig
from orthoray.models.adapters import apply_adapter, merge_adapter
from orthoray.models.checkpoint import load_checkpoint, save_checkpoint

FOLDER = "probes"
"""Where backbones wait to be probed, in a run's folder."""

PREFIX = "backbone."
"""Of the backbone's tensors in the state of a network."""


def save_teacher(
    uri: str,
    teacher: Mapping[str, torch.Tensor],
    initial: str,
    adapter: AdapterConfig,
    steps: int,
    images_seen: int,
    config_yaml: str = "",
    trainer_state: dict[str, Any] | None = None,
    body_parts: Sequence[str] = (),
) -> None:
    """Write a checkpoint folder; it appears at ``uri`` only when it is complete.

    Args:
        uri: folder on any filesystem; replaced if it exists.
        teacher: whole state of the teacher's network, on any device (`full_state`, on rank 0).
        initial: checkpoint folder of the backbone before step 0, whose card is taken over.
        adapter: of the run; what was learnt is merged into the plain architecture.
        steps: done so far, for the card.
        images_seen: so far, for the card.
        config_yaml: the run's configuration.
        trainer_state: see `orthoray.models.checkpoint.save_checkpoint`.
        body_parts: that the run's images show (`Mixture.body_parts`), added to what the weights saw before it.
    """
    backbone, card = load_checkpoint(initial)
    weights = {key.removeprefix(PREFIX): value for key, value in teacher.items() if key.startswith(PREFIX)}
    apply_adapter(backbone, adapter).load_state_dict(weights)
    merge_adapter(backbone)
    shown = sorted({*card.provenance.body_parts, *body_parts}) if steps else card.provenance.body_parts
    seen = {"steps": steps, "images_seen": images_seen, "body_parts": shown}
    card = card.model_copy(update={"provenance": card.provenance.model_copy(update=seen)})
    save_checkpoint(uri, backbone, card, config_yaml, trainer_state)


def light_checkpoint(run: str, step: int) -> str:
    """Where in a run's folder the backbone for the probe after ``step`` steps is written."""
    return storage.join(run, FOLDER, f"step-{step:08d}")
