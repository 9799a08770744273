"""Rotary positions (RoPE) of DINOv3 networks: on, as Meta's files round them, or off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from orthoray.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

Rope = Literal["on", "bf16", "off"]
"""``on``: timm's float32 periods. ``bf16``: the periods rounded to bfloat16, as they stand in Meta's DINOv3 files.
``off``: query and key are not turned by position, which is how the released code of OrthoFoundation forwards its DINOv3
network (its blocks are called without RoPE); such a network does not know where a patch lies."""

_MARK = "orthoray_rope"


def rope_of(model: nn.Module) -> Rope:
    """Which `Rope` a backbone was made with; ``on`` also for one that has none by its architecture."""
    found: Rope = getattr(model, _MARK, "on")
    return found


def rope_options(rope: Rope) -> dict[str, Any]:
    """The options that make timm build a network so."""
    return {"use_rot_pos_emb": False} if rope == "off" else {}


def set_rope(model: nn.Module, rope: Rope) -> None:
    """Mark ``model``, which was made with `rope_options`, and round its periods for ``bf16``, in place.

    Raises:
        InputError: ``bf16`` for a network without DINOv3's periods.
    """
    if rope == "bf16":
        periods = periods_of(model)
        if periods is None:
            raise InputError("model.rope=bf16 needs a DINOv3 backbone (vit_…_dinov3); use model.rope=on.")
        _set_periods(model, periods.bfloat16().float())
    setattr(model, _MARK, rope)


def periods_of(model: nn.Module) -> torch.Tensor | None:
    """(head width / 4,) float32 periods of DINOv3's RoPE, in image halves; None for another network."""
    found: torch.Tensor | None = getattr(getattr(model, "rope", None), "periods", None)
    return found


def adopt_periods(model: nn.Module, given: torch.Tensor) -> str:
    """Take over the periods of a weights file and say how they compare with timm's.

    timm and transformers compute the periods in float32; Meta's files hold them rounded to bfloat16, and Meta's code
    uses what the file holds. That turns a patch by up to 0.01 rad.

    Raises:
        InputError: periods that are neither timm's nor their rounding (another base or head width).
    """
    import torch

    rope: Any = model.rope
    own, given = rope._compute_periods(), given.float()
    if own.shape == given.shape and torch.allclose(own, given, rtol=1e-6, atol=0.0):
        return "equal to timm's" if rope_of(model) == "on" else "float32 in the file, rounded as asked for"
    if own.shape == given.shape and torch.equal(own.bfloat16().float(), given):
        set_rope(model, "bf16")
        return "rounded to bfloat16, as in the file"
    raise InputError(
        f"the file's RoPE has periods {_range(given)}, the model's are {_range(own)}: another base or head width. "
        "Choose the backbone that the file belongs to, or give rope_temperature among the model's kwargs."
    )


def _range(periods: torch.Tensor) -> str:
    return f"{float(periods.min()):.4g} to {float(periods.max()):.4g} ({len(periods)})"


def _set_periods(model: nn.Module, periods: torch.Tensor) -> None:
    import torch

    rope: Any = model.rope
    with torch.no_grad():
        rope.periods.copy_(periods)
        if rope.pos_embed_cached is not None:
            rope.pos_embed_cached.copy_(rope._create_embed(rope.feat_shape, no_aug=True))


def exact_periods(model: nn.Module) -> nn.Module:
    """Give a network made with ``bf16`` the float32 periods, in place."""
    rope: Any = model.rope
    _set_periods(model, rope._compute_periods())
    setattr(model, _MARK, "on")
    return model
