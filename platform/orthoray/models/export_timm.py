"""The layout of timm's models on the Hugging Face Hub: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from orthoray import storage
from orthoray.models.backbone import TOKENS
from orthoray.models.export_check import Proof, difference, reference, sample_images
from orthoray.models.features import forward_tokens, normalise
from orthoray.models.rope import rope_options
from orthoray.models.timm_import import import_timm

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from orthoray.models.checkpoint import CheckpointCard

TOLERANCE = 1e-4


def write_timm(folder: Path, backbone: nn.Module, card: CheckpointCard) -> Proof:
    """Write the folder and read it back with ``timm.create_model('local-dir:…')``; RunError if features differ."""
    wanted, notes = reference(backbone, card)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    storage.write_json(folder / "config.json", timm_config(backbone, card))
    timm = import_timm()
    copy = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = normalise(sample_images(card), card)
    with torch.inference_mode():
        found = difference(forward_tokens(copy, images), forward_tokens(wanted, images))
    return Proof(f"timm {timm.__version__}", found, TOLERANCE, notes).check()


def timm_config(backbone: nn.Module, card: CheckpointCard) -> dict[str, Any]:
    """``config.json``: what timm needs to make the network again and to prepare its images.

    Grey levels that are normalised image by image cannot be described there; mean 0 and SD 1 leave them as they are.
    """
    made, chans = card.architecture, card.architecture.in_chans
    fixed = card.normalisation.kind == "fixed"
    arguments: dict[str, Any] = {"dynamic_img_size": True} if made.name.startswith(TOKENS) else {}
    arguments |= {**made.kwargs, **rope_options(made.rope), "in_chans": chans}
    known: dict[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    pool = "token" if getattr(backbone, "cls_token", None) is not None else None
    if pool is not None:
        arguments.setdefault("global_pool", pool)
    return {
        "architecture": made.name,
        "num_classes": 0,
        "num_features": card.feature_dim,
        **({"global_pool": arguments["global_pool"]} if "global_pool" in arguments else {}),
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "orthoray",
            "custom_load": False,
            "input_size": [chans, card.img_size, card.img_size],
            "fixed_input_size": "img_size" in made.kwargs,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": [card.normalisation.mean if fixed else 0.0] * chans,
            "std": [card.normalisation.std if fixed else 1.0] * chans,
            "num_classes": 0,
            "pool_size": None,
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
            "license": card.provenance.initial_licence or "unknown",
        },
    }
