"""Backbones by timm name: creation, starting values, and weights that must really match."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from orthoray import storage
from orthoray.errors import InputError, nearest
from orthoray.models.timm_import import import_timm

if TYPE_CHECKING:
    import torch
    from torch import nn

Start = Literal["timm", "sincos"]
"""How a backbone without weights starts: as timm does, or so with sine-cosine positions."""

MATCH_REQUIRED = 0.99
"""Share of the model's tensors that a weights file must fill; below it, loading is refused."""


def create_backbone(
    name: str,
    weights: str | None = None,
    in_chans: int = 1,
    start: Start = "timm",
    **kwargs: Any,
) -> nn.Module:
    """Create a timm backbone without classifier.

    Args:
        name: timm model name, for example ``vit_tiny_patch16_224``.
        weights: file (safetensors, or torch with ``weights_only``) on any filesystem; None = starting values.
        in_chans: channels of the input; weights of three channels are folded into one by their sum, which is exact
            for a grey image repeated three times.
        start: starting values where there are no weights, see `start_positions`.
        **kwargs: passed to timm (``img_size``, ``patch_size``, ``depth``, ``embed_dim``, ``num_heads`` …).

    Returns:
        The module; its input is (B, in_chans, H, W) float, H and W multiples of the patch size.

    Raises:
        InputError: unknown name, impossible options, or weights of another architecture.
    """
    timm = import_timm()
    if not timm.is_model(name):
        raise InputError(f"model.backbone: timm knows no '{name}'.{nearest(name, timm.list_models())}")
    if name.startswith(("vit_", "deit", "eva")):
        kwargs.setdefault("dynamic_img_size", True)
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_chans, **kwargs)
    except (TypeError, AssertionError, ValueError) as error:
        raise InputError(f"model: '{name}' cannot be made with {kwargs}: {error}") from None
    if weights is not None:
        load_weights(model, weights)
    elif start == "sincos":
        start_positions(model)
    return model


def start_positions(model: nn.Module, amplitude: float = 0.7, wavelength: float = 100.0) -> None:
    """Start the learned position embedding as a two-dimensional sine-cosine code, so that tokens differ by place.

    The code is the one that MAE and MoCo v3 keep fixed (arXiv:2111.06377, arXiv:2104.02057); here it stays learnable.
    timm starts positions at a standard deviation of 0.02, which a run of minutes hardly outgrows.

    Raises:
        InputError: the model has no learned position embedding over a square grid.
    """
    import torch
    from torch import nn

    position = getattr(model, "pos_embed", None)
    if not isinstance(position, nn.Parameter):
        raise InputError("model.start=sincos needs a ViT with a learned position embedding; use model.start=timm.")
    prefix = int(getattr(model, "num_prefix_tokens", 1)) if not getattr(model, "no_embed_class", False) else 0
    side = math.isqrt(position.shape[1] - prefix)
    quarter = position.shape[2] // 4
    frequency = 1.0 / wavelength ** (torch.arange(quarter) / quarter)
    rows, columns = torch.meshgrid(torch.arange(side) * 1.0, torch.arange(side) * 1.0, indexing="ij")
    waves = [wave(axis.reshape(-1, 1) * frequency) for axis in (columns, rows) for wave in (torch.sin, torch.cos)]
    with torch.no_grad():
        position.zero_()
        position[0, prefix:, : 4 * quarter] = torch.cat(waves, dim=1) * amplitude


def load_weights(model: nn.Module, uri: str) -> None:
    """Fill ``model`` from a weights file; InputError unless at least 99 % of its tensors match in name and shape."""
    given = fold_channels(read_weights(uri), model)
    own = model.state_dict()
    matched = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    share = len(matched) / max(1, len(own))
    if share < MATCH_REQUIRED:
        missing = [key for key in own if key not in given]
        shapes = [
            f"{key} {tuple(value.shape)} ≠ {tuple(own[key].shape)}"
            for key, value in given.items()
            if key in own and own[key].shape != value.shape
        ]
        raise InputError(
            f"{uri}: only {len(matched)} of {len(own)} tensors fit this architecture (99 % are required). "
            f"Missing: {_some(missing)}. Other shape: {_some(shapes)}. Not known to the model: "
            f"{_some([key for key in given if key not in own])}. Check backbone, patch_size, depth and img_size."
        )
    model.load_state_dict(matched, strict=False)


def read_weights(uri: str) -> dict[str, torch.Tensor]:
    """Read a state dict: safetensors, or a torch file of plain tensors (never executes code from the file)."""
    import io

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not storage.exists(uri):
        raise InputError(f"{uri}: no such weights file.")
    content = storage.read_bytes(uri)
    try:
        if uri.endswith(".safetensors"):
            return load(content)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{uri}: damaged or not a weights file: {error}") from None
    except Exception as error:  # pickle errors of a refused file have no common base
        raise InputError(f"{uri}: refused, it holds more than tensors ({type(error).__name__}).") from None
    for key in ("state_dict", "model", "teacher"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    return {str(key): value for key, value in loaded.items() if isinstance(value, torch.Tensor)}


def fold_channels(weights: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Sum a three-channel patch embedding into one channel where the model takes grey input."""
    own = model.state_dict()
    folded = dict(weights)
    for key, value in weights.items():
        if key in own and value.ndim == 4 and own[key].ndim == 4 and value.shape[1] == 3 and own[key].shape[1] == 1:
            folded[key] = value.sum(dim=1, keepdim=True)
    return folded


def _some(names: list[str], most: int = 4) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
