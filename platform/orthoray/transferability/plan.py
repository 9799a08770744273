"""What a ranking would cost, before it costs it: parameters, arithmetic, GPU-hours and what weights take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from orthoray import storage
from orthoray.data.dataset import Dataset
from orthoray.features.candidate_settings import Candidate
from orthoray.features.candidates import architecture_of, size_of
from orthoray.models.backbone import create_backbone
from orthoray.models.checkpoint import load_checkpoint
from orthoray.models.peaks import GPU_PEAKS, known_gpu
from orthoray.progress import heading, say
from orthoray.transferability.config import RankConfig, candidates_of

ASSUMED_IMAGES = 100_000
DEFAULT_GPU = "H100"


@dataclass(frozen=True)
class Need:
    """What one candidate takes; hours and cost are of one GPU of the plan."""

    name: str
    parameters: int
    weights_gb: float
    gflops: float | None
    images: int
    gpu_hours: float | None
    cost: float | None


def plan_ranking(
    config: RankConfig,
    gpu: str | None = None,
    gpus: int = 1,
    mfu: float = 0.4,
    price: float | None = None,
    images: int | None = None,
    as_json: bool = False,
) -> list[Need]:
    """Print a plan: features of every image by every candidate. Needs no weights, no GPU and no Ray.

    Args:
        config: of `orthoray rank`.
        gpu: kind of GPU; None = `DEFAULT_GPU`.
        gpus: that share the work.
        mfu: share of the peak that is assumed to be reached, 0..1.
        price: of a GPU-hour, None = not told.
        images: of all datasets; None = counted, or `ASSUMED_IMAGES` where they are not at hand.
        as_json: print one JSON object.

    Raises:
        InputError: an unknown GPU, or an architecture that cannot be made.
    """
    gpu = known_gpu(gpu or DEFAULT_GPU)
    peaks = GPU_PEAKS[gpu]
    speed = (peaks.bf16 if config.features.precision == "bf16" and peaks.bf16 else peaks.fp32) * mfu
    count, assumed = _images(config, images)
    needs = [_need(candidate, config, count, speed, price) for candidate in candidates_of(config)]
    if as_json:
        say(json.dumps({"gpu": gpu, "mfu": mfu, "images": count, "candidates": [asdict(need) for need in needs]}))
    else:
        _show(needs, f"{gpus} × {gpu}, {config.features.precision}, {mfu:.0%} of the peak", gpus, assumed)
    return needs


def _images(config: RankConfig, given: int | None) -> tuple[int, list[str]]:
    """All images of all datasets, once; what had to be assumed for it."""
    if given:
        return given, []
    uris = dict.fromkeys(target.dataset for target in config.targets)
    if config.generic != "auto":
        uris[config.generic] = None
    there = [uri for uri in uris if storage.exists(storage.join(uri, "manifest.json"))]
    if len(there) < len(uris):
        lacking = f"{len(uris) - len(there)} of {len(uris)} datasets are not at hand"
        return ASSUMED_IMAGES, [f"{ASSUMED_IMAGES:,} images, as {lacking} (--images)"]
    return sum(len(Dataset(uri).index()) for uri in uris), []


def _need(candidate: Candidate, config: RankConfig, images: int, speed: float, price: float | None) -> Need:
    import torch

    if candidate.checkpoint:
        backbone, card = load_checkpoint(candidate.checkpoint)
        side = card.img_size
    else:
        made, side = architecture_of(candidate), candidate.img_size
        with torch.device("meta"):
            backbone = create_backbone(made.name, **made.kwargs)
    side = side if config.features.resolution == "auto" else config.features.resolution
    parameters, flops = size_of(backbone, side)
    hours = None if flops is None else images * flops / speed / 3600
    cost = None if hours is None or price is None else hours * price
    gflops = None if flops is None else flops / 1e9
    return Need(candidate.name, parameters, 4 * parameters / 1e9, gflops, images, hours, cost)


def _show(needs: Sequence[Need], where: str, gpus: int, assumed: Sequence[str]) -> None:
    heading(f"Features of {needs[0].images:,} images by {len(needs)} backbones: {where}")
    priced = any(need.cost is not None for need in needs)
    titles = f"{'backbone':<20} {'parameters':>12} {'weights':>9} {'GFLOP/image':>12} {'GPU-hours':>10}"
    say(f"  {titles}{'      cost' * priced}")
    for need in needs:
        flops = "–" if need.gflops is None else f"{need.gflops:,.1f}"
        hours = "–" if need.gpu_hours is None else f"{need.gpu_hours:,.3f}"
        money = "" if not priced else f"{need.cost or 0:>10,.2f}"
        size = f"{need.parameters / 1e6:>10,.1f} M {need.weights_gb:>6.2f} GB"
        say(f"  {need.name:<20} {size} {flops:>12} {hours:>10}{money}")
    total = sum(need.gpu_hours or 0.0 for need in needs)
    cost = f", {sum(need.cost or 0.0 for need in needs):,.2f}" if priced else ""
    say(f"  in all {total:,.2f} GPU-hours{cost}, {total / gpus:,.2f} hours on {gpus} GPU(s); scores beside it")
    for line in assumed:
        say(f"  assumed: {line}")
