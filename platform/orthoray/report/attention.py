"""Where the candidate's class token looks: attention of the last block laid over a few images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from orthoray import storage
from orthoray.errors import OrthoRayError
from orthoray.features.encoders import content_hash
from orthoray.features.pixels import resize
from orthoray.report.cohort import Cohort, choose_images
from orthoray.report.images import SIDE, data_uri, describe, fit, read_rows
from orthoray.report.load import Study

LEAST_SPAN = 0.5
"""Span of the colour scale at least, in multiples of the mean attention: an even map must not look like a finding."""

LEVELS = 48
"""Steps of the colour scale; coarse steps keep the page equal where the last digits of a float differ."""


def attention(study: Study, cohorts: list[Cohort], per_modality: int = 2) -> dict[str, Any]:
    """Pairs of pictures (image, overlay), or a note why there are none."""
    facts = study.model(study.candidate)
    if facts["kind"] != "checkpoint" or not facts.get("checkpoint"):
        return {"pairs": [], "note": "The model has no network, hence no attention."}
    rows = [item for cohort in cohorts for item in _rows(cohort, per_modality)][: 4 * per_modality]
    if not rows:
        return {"pairs": [], "note": "No images can be shown, because no dataset of this study could be read."}
    uri = str(facts["checkpoint"])
    try:
        recorded = facts.get("content")
        if not storage.exists(storage.join(uri, "card.json")):
            return {"pairs": [], "note": "The checkpoint is no longer where the study read it."}
        if recorded and content_hash(uri) != recorded:
            return {"pairs": [], "note": "The checkpoint has been overwritten since the study, so nothing is shown."}
        maps = attention_of(uri, [image for _, image in rows], int(facts["resolution"]))
    except (OrthoRayError, OSError, RuntimeError) as error:
        return {"pairs": [], "note": f"The checkpoint could not be read ({type(error).__name__})."}
    if maps is None:
        return {"pairs": [], "note": "This architecture has no class-token attention that could be shown."}
    pairs = [_pair(row, image, heat) for (row, image), heat in zip(rows, maps, strict=True)]
    return {"pairs": pairs, "note": ""}


def _rows(cohort: Cohort, per_modality: int) -> list[tuple[Any, npt.NDArray[np.uint8]]]:
    if not len(cohort.index):
        return []
    chosen = choose_images(cohort.index, per_modality, 2 * per_modality)
    return read_rows(cohort, chosen)


def attention_of(uri: str, images: list[npt.NDArray[np.uint8]], side: int) -> list[npt.NDArray[np.float32]] | None:
    """Attention of the class token in the last block, averaged over heads.

    Args:
        uri: checkpoint folder.
        images: (H, W) uint8 each; squeezed to ``side`` × ``side`` as for the study's features.
        side: resolution in pixels, a multiple of the patch size.

    Returns:
        One (side / patch, side / patch) map per image, in multiples of its mean over the patches; None for a
        backbone without such attention.
    """
    import torch

    from orthoray.models import attention_map, load_checkpoint, normalise

    backbone, card = load_checkpoint(uri)
    blocks = getattr(backbone, "blocks", None)
    if blocks is None or not hasattr(blocks[-1], "attn") or not getattr(backbone, "num_prefix_tokens", 0):
        return None
    batch = torch.from_numpy(np.stack([resize(image, side) for image in images]))[:, None]
    x = normalise(batch, card).repeat(1, card.architecture.in_chans, 1, 1)
    weights = attention_map(backbone, x).mean(dim=1).numpy()
    return [np.asarray(heat / max(float(heat.mean()), 1e-12), np.float32) for heat in weights]


def _pair(row: Any, image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> dict[str, Any]:
    plain = fit(image, row, SIDE)
    height, width = plain.shape
    low, high = float(heat.min()), float(heat.max())
    scaled = (heat - low) / max(high - low, LEAST_SPAN)
    grown = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    levels = np.round(np.clip(grown, 0.0, 1.0) * LEVELS) / LEVELS
    colours = cv2.applyColorMap((levels * 255).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    weight = (0.15 + 0.55 * levels)[..., None]
    mixed = plain[..., None].astype(np.float32) * (1.0 - weight) + colours * weight
    return {
        "plain": data_uri(plain),
        "overlay": data_uri(np.clip(mixed, 0, 255).astype(np.uint8)),
        "width": width,
        "height": height,
        "caption": describe(row),
        "grid": f"{heat.shape[0]} × {heat.shape[1]}",
        "peak": f"{high:.2f}",
        "low": f"{low:.2f}",
        "even": high - low < LEAST_SPAN,
    }
