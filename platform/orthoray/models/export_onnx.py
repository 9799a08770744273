"""An ONNX graph: grey levels in, class and patch tokens out; any batch, one size."""

from __future__ import annotations

import logging
import warnings
from importlib import import_module, util
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orthoray.errors import InputError
from orthoray.models.backbone import create_backbone
from orthoray.models.export_check import Proof, difference, sample_images
from orthoray.models.features import forward_tokens, normalise
from orthoray.models.timm_import import import_timm

if TYPE_CHECKING:
    from pathlib import Path

    from orthoray.models.checkpoint import CheckpointCard

TOLERANCE = 1e-3

NEEDS = ("onnx", "onnxscript", "onnxruntime")

ONE_FILE = 1_500_000_000
"""Bytes of weights up to which they fit into ``model.onnx``; larger ones go to ``model.onnx.data`` beside it."""


def write_onnx(folder: Path, backbone: nn.Module, card: CheckpointCard, size: int | None = None) -> Proof:
    """Write ``model.onnx`` and compare it in onnxruntime with the checkpoint, for batches of one and of three.

    Input ``image`` (batch, C, size, size) float32 in 0..1: normalisation is part of the graph. Outputs ``class_token``
    (batch, D) and ``patch_tokens`` (batch, N, D).

    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed, or a size that is no multiple of the patch size.
        RunError: features differ by more than 1e-3.
    """
    runtime = _runtime()
    side = size or card.img_size
    if card.patch_size and side % card.patch_size:
        raise InputError(f"--size {side}: not a multiple of the patch size {card.patch_size}.")
    file = folder / "model.onnx"
    _trace(_Graph(_of_one_size(backbone, card, side), card), sample_images(card, side), file)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = max(_compare(session, backbone, card, sample_images(card, side, batch)) for batch in (1, 3))
    return Proof(
        f"onnxruntime {runtime.__version__}", found, TOLERANCE, (f"The graph takes {side} × {side} px.",)
    ).check()


def _runtime() -> Any:
    absent = [name for name in NEEDS if util.find_spec(name) is None]
    if absent:
        raise InputError(f"--format onnx needs {', '.join(absent)}: pip install 'orthoray[export]'.")
    return import_module("onnxruntime")


def _of_one_size(backbone: nn.Module, card: CheckpointCard, side: int) -> nn.Module:
    """The network for images of one size, with its positions resampled once as timm does at each step."""
    made = card.architecture
    options: dict[str, Any] = dict(made.kwargs)
    if hasattr(backbone, "blocks"):
        options |= {"img_size": side, "dynamic_img_size": False}
    fixed = create_backbone(made.name, in_chans=made.in_chans, rope=made.rope, **options)
    state = backbone.state_dict()
    own = fixed.state_dict()
    if "pos_embed" in own and own["pos_embed"].shape != state["pos_embed"].shape:
        grid: Any = fixed.patch_embed.grid_size  # type: ignore[union-attr]
        before = own["pos_embed"].shape[1] - grid[0] * grid[1]
        resample = import_timm().layers.resample_abs_pos_embed
        old: Any = backbone.patch_embed.grid_size  # type: ignore[union-attr]
        state["pos_embed"] = resample(state["pos_embed"], list(grid), list(old), num_prefix_tokens=before)
    fixed.load_state_dict(state)
    return fixed.eval()


class _Graph(nn.Module):
    """Grey levels → class token and patch tokens."""

    def __init__(self, backbone: nn.Module, card: CheckpointCard) -> None:
        super().__init__()
        self.backbone, self.rule = backbone, card.normalisation

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, side, side) in 0..1 → (B, D) and (B, N, D)."""
        return forward_tokens(self.backbone, normalise(image, self.rule))


def _trace(graph: nn.Module, images: torch.Tensor, file: Path) -> None:
    large = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict().values()) > ONE_FILE
    quiet = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in quiet]
    try:
        for logger in quiet:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                (images,),
                file,
                input_names=["image"],
                output_names=["class_token", "patch_tokens"],
                dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=65536)}},
                dynamo=True,
                external_data=large,
                verbose=False,
            )
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)


def _compare(session: Any, backbone: nn.Module, card: CheckpointCard, images: torch.Tensor) -> float:
    token, patches = (torch.from_numpy(part) for part in session.run(None, {"image": images.numpy()}))
    with torch.inference_mode():
        return difference((token, patches), forward_tokens(backbone, normalise(images, card)))
