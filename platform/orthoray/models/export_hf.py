"""The layout of transformers: ViTModel, Dinov2Model, Dinov2WithRegistersModel, DINOv3ViTModel, DINOv3ConvNextModel."""

from __future__ import annotations

from importlib import import_module, util
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from orthoray import storage
from orthoray.errors import RunError
from orthoray.models.backbone import create_backbone
from orthoray.models.export_check import Proof, difference, reference, sample_images
from orthoray.models.export_hf_config import Copy, transformers_copy
from orthoray.models.features import forward_tokens, normalise
from orthoray.models.timm_import import import_timm

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from orthoray.models.checkpoint import CheckpointCard

TOLERANCE = 1e-4


def write_transformers(folder: Path, backbone: nn.Module, card: CheckpointCard) -> Proof:
    """Write the folder and read it back, with transformers if it is installed, else by this program's own reader.

    Raises:
        InputError: transformers has no model of this kind.
        RunError: features differ.
    """
    wanted, notes = reference(backbone, card)
    made = transformers_copy(backbone, card)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in made.tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    storage.write_json(folder / "config.json", made.config)
    images = normalise(sample_images(card), card)
    with torch.inference_mode():
        ours = forward_tokens(wanted, images)
        by, theirs = _read_back(folder, made, card, images)
    return Proof(by, difference(theirs, ours), TOLERANCE, notes).check()


def _read_back(
    folder: Path, made: Copy, card: CheckpointCard, images: torch.Tensor
) -> tuple[str, tuple[torch.Tensor, torch.Tensor]]:
    if util.find_spec("transformers") is None:
        architecture = card.architecture
        again = create_backbone(
            architecture.name, str(folder), architecture.in_chans, rope="on", **architecture.kwargs
        ).eval()
        return "OrthoRay's own reader, as transformers is not installed", forward_tokens(again, images)
    import_timm()  # before transformers, which imports torchvision as timm does
    transformers: Any = import_module("transformers")
    kind = getattr(transformers, made.config["architectures"][0], None)
    if kind is None:
        raise RunError(f"transformers {transformers.__version__} has no {made.config['architectures'][0]}; update it.")
    model, report = kind.from_pretrained(str(folder), output_loading_info=True, **made.options)
    wrong = [name for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report.get(key) or ()]
    if wrong:
        raise RunError(f"transformers does not know or misses tensors of the copy: {', '.join(map(str, wrong[:4]))}.")
    tokens = model.eval()(pixel_values=images).last_hidden_state
    return f"transformers {transformers.__version__}", (tokens[:, 0], tokens[:, made.prefix :])
