"""Backbones by timm name: creation, starting values, and weights that must really match."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from orthoray.errors import InputError, nearest
from orthoray.models.features import Normalisation
from orthoray.models.folding import SourceNormalisation
from orthoray.models.rope import Rope, rope_options, set_rope
from orthoray.models.timm_import import import_timm

if TYPE_CHECKING:
    from torch import nn

    from orthoray.models.audit import LoadAudit

Start = Literal["timm", "sincos"]
"""How a backbone without weights starts: as timm does, or so with sine-cosine positions."""


TOKENS = ("vit_", "deit", "eva")
"""How timm's names of networks begin that cut the image into patches and are made for one number of them."""


def size_options(name: str, img_size: int) -> dict[str, Any]:
    """Options of timm for images of ``img_size`` × ``img_size``; none for a convolutional network, which takes any."""
    return {"img_size": img_size} if name.startswith(TOKENS) else {}


def create_backbone(
    name: str,
    weights: str | None = None,
    in_chans: int = 1,
    start: Start = "timm",
    rope: Rope = "on",
    source_normalisation: SourceNormalisation | None = None,
    normalisation: Normalisation | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Create a timm backbone without classifier.

    Args:
        name: timm model name, for example ``vit_tiny_patch16_224``.
        weights: file, folder or URL on any filesystem, or ``timm:TAG``, in any layout that
            `orthoray.models.weights.loading.load_weights` knows; None = starting values.
        in_chans: channels of the input; weights of three channels are folded into one by their sum, which is exact
            for a grey image repeated three times.
        start: starting values where there are no weights, see `start_positions`.
        rope: rotary positions of a DINOv3 network, see `Rope`.
        source_normalisation: mean and SD per channel that the weights were trained with, to fold in as well, so that
            features are exactly those of the source for the same grey levels.
        normalisation: our own, which ``source_normalisation`` is folded against (default: `Normalisation()`).
        **kwargs: passed to timm (``img_size``, ``patch_size``, ``depth``, ``embed_dim``, ``num_heads`` …).

    Returns:
        The module; its input is (B, in_chans, H, W) float, H and W multiples of the patch size.

    Raises:
        InputError: unknown name, impossible options, or weights of another architecture.
    """
    return create_audited(name, weights, in_chans, start, rope, source_normalisation, normalisation, **kwargs)[0]


def create_audited(
    name: str,
    weights: str | None = None,
    in_chans: int = 1,
    start: Start = "timm",
    rope: Rope = "on",
    source_normalisation: SourceNormalisation | None = None,
    normalisation: Normalisation | None = None,
    **kwargs: Any,
) -> tuple[nn.Module, LoadAudit | None]:
    """As `create_backbone`, with the audit of the weights that were loaded (None if there were none)."""
    timm = import_timm()
    if not timm.is_model(name):
        raise InputError(f"model.backbone: timm knows no '{name}'.{nearest(name, timm.list_models())}")
    if name.startswith(TOKENS):
        kwargs.setdefault("dynamic_img_size", True)
    made = {**kwargs, **rope_options(rope)}
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_chans, **made)
    except (TypeError, AssertionError, ValueError) as error:
        raise InputError(f"model: '{name}' cannot be made with {made}: {error}") from None
    set_rope(model, rope)
    if weights is None:
        if source_normalisation is not None:
            raise InputError("the normalisation of the weights' source needs weights; leave it out.")
        if start == "sincos":
            start_positions(model)
        return model, None
    return model, _load(model, weights, name, source_normalisation, normalisation)


def _load(model: nn.Module, *arguments: Any) -> LoadAudit:
    from orthoray.models.weights.loading import load_weights

    return load_weights(model, *arguments)


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
