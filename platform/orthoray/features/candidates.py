"""Candidates become checkpoint folders: weights found, fitted and audited, or random ones and marked as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orthoray import storage
from orthoray.errors import InputError
from orthoray.features.candidate_settings import Candidate
from orthoray.features.encoders import CONTENT_FILES
from orthoray.models.backbone import create_audited, size_options
from orthoray.models.checkpoint import Architecture, Provenance, card_for, load_checkpoint, save_checkpoint
from orthoray.models.features import Normalisation
from orthoray.models.flops import VitShape
from orthoray.models.folding import SourceNormalisation

RANDOM = "random weights"

MADE_FROM = "candidate.json"
"""File of a checkpoint folder: what it was made from."""


@dataclass(frozen=True)
class Ready:
    """A candidate at hand.

    ``random``: its weights are starting values. ``gflops``: of a forward pass at its image size, None where no formula
    is known. ``licence``: short name, where the weights bring one.
    """

    candidate: Candidate
    checkpoint: str
    random: bool
    parameters: int
    gflops: float | None
    licence: str | None = None

    @property
    def label(self) -> str:
        """The name as every output shows it."""
        return f"{self.candidate.name} ({RANDOM})" if self.random else self.candidate.name


def missing_weights(candidates: Sequence[Candidate]) -> dict[str, str]:
    """By name of each candidate without weights at hand: what is missing, where it is published, what to set."""
    lines = {}
    for place, candidate in enumerate(candidates):
        if candidate.checkpoint:
            lacking = [n for n in CONTENT_FILES if not storage.exists(storage.join(candidate.checkpoint, n))]
            if lacking:
                lines[candidate.name] = f"no checkpoint at {candidate.checkpoint} ({', '.join(lacking)} missing)"
        elif (reason := _reason(candidate)) is not None:
            where = f"; published: {candidate.published}" if candidate.published else ""
            lines[candidate.name] = f"{reason}{where}; set candidates[{place}].weights to your copy of the file"
    return lines


def _reason(candidate: Candidate) -> str | None:
    """Why the weights of an architecture cannot be had; None if they can."""
    weights = candidate.weights
    if weights is None:
        return f"no weights named for {candidate.backbone}"
    if weights.startswith("timm:"):
        from orthoray.models.weights.hub import find_tag

        try:
            find_tag(candidate.backbone, weights.removeprefix("timm:"))
        except InputError:
            return f"{weights} of {candidate.backbone} is neither in the cache here nor can be fetched"
        return None
    if "://" in weights and not weights.startswith("file://"):
        return None  # fetching it tells
    return None if storage.exists(weights) or storage.is_folder(weights) else f"no file {weights}"


def prepare(candidate: Candidate, folder: str, random: bool) -> Ready:
    """Write the checkpoint folder of a candidate, unless it is there already and was made from the same.

    Of weights in a file on this machine, the same is: the same place, size and time of change. From the same weights
    the same bytes are made, so that a folder that is made again without need changes nothing.

    Args:
        candidate: with weights that can be read, unless ``random``.
        folder: where to write it; a candidate that is a checkpoint already stays where it is.
        random: start it from values that depend on its name alone.

    Raises:
        InputError: unknown architecture, or weights of another one.
    """
    folder = candidate.checkpoint or folder
    if not candidate.checkpoint and not _is_made(candidate, folder, random):
        _write(candidate, folder, random)
    backbone, card = load_checkpoint(folder)
    parameters, flops = size_of(backbone, card.img_size)
    gflops = None if flops is None else flops / 1e9
    return Ready(candidate, folder, random, parameters, gflops, card.provenance.initial_licence)


def architecture_of(candidate: Candidate) -> Architecture:
    """The network of a candidate that is no checkpoint."""
    kwargs = {**size_options(candidate.backbone, candidate.img_size), **candidate.kwargs}
    return Architecture(name=candidate.backbone, kwargs=kwargs)


def size_of(backbone: Any, side: int) -> tuple[int, float | None]:
    """Parameters, and FLOPs of a forward pass of a ``side`` × ``side`` image (None where no formula is known)."""
    shape = VitShape.of(backbone)
    flops = None if shape is None or not shape.patch else shape.forward_flops(side)
    return sum(parameter.numel() for parameter in backbone.parameters()), flops


def _is_made(candidate: Candidate, folder: str, random: bool) -> bool:
    """Does the folder hold the checkpoint, whole, of this candidate?"""
    whole = all(storage.exists(storage.join(folder, name)) for name in (*CONTENT_FILES, MADE_FROM))
    return whole and storage.read_json(storage.join(folder, MADE_FROM)) == _made_from(candidate, random)


def _made_from(candidate: Candidate, random: bool) -> dict[str, Any]:
    """What decides the bytes of a checkpoint; values as JSON has them."""
    facts = candidate.model_dump(
        mode="json", include={"name", "backbone", "kwargs", "weights", "img_size", "mean", "std"}
    )
    file = None if random or candidate.weights is None else storage.local_path(candidate.weights)
    if file is not None and file.is_file():
        facts["file"] = [file.stat().st_size, file.stat().st_mtime_ns]
    return {**facts, "random": random}


def _write(candidate: Candidate, folder: str, random: bool) -> None:
    import hashlib

    import torch

    made_from = _made_from(candidate, random)
    torch.manual_seed(int.from_bytes(hashlib.sha256(candidate.name.encode()).digest()[:4], "big"))
    made = architecture_of(candidate)
    ours, source = Normalisation(), None
    if candidate.mean is not None and candidate.std is not None and not random:
        source = SourceNormalisation(mean=candidate.mean, std=candidate.std)
    weights = None if random else candidate.weights
    backbone, audit = create_audited(made.name, weights, 1, source_normalisation=source, **made.kwargs)
    licence = None if audit is None else audit.licence
    provenance = Provenance(initial_weights=weights or RANDOM, initial_licence=licence)
    card = card_for(backbone, made, candidate.img_size, ours, provenance)
    save_checkpoint(folder, backbone, card)
    if audit is not None:
        storage.write_bytes(storage.join(folder, "weights.csv"), audit.csv().encode())
    storage.write_json(storage.join(folder, MADE_FROM), made_from)
