"""What has to be done to some tensors before they fit: positions, patch kernels, channels, biases, RoPE's periods."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orthoray.errors import InputError
from orthoray.models.folding import SourceNormalisation, fold_kernel, fold_normalised
from orthoray.models.rope import adopt_periods, periods_of
from orthoray.models.timm_import import import_timm
from orthoray.models.weights.fitting import Piece

if TYPE_CHECKING:
    import torch
    from torch import nn

    from orthoray.models.features import Normalisation


def mask_biases(given: dict[str, Piece]) -> None:
    """Apply DINOv3's ``bias_mask`` (1 for query and value, 0 for key; not a number where it was never set)."""
    import torch

    for name in [name for name in given if name.endswith(".bias_mask")]:
        piece, mask = given[name.removesuffix("_mask")], given[name].tensor
        usual = torch.ones_like(mask)
        usual.view(3, -1)[1] = 0
        masked = piece.tensor * torch.where(mask.isnan(), usual, mask).to(piece.tensor.dtype)
        given[name.removesuffix("_mask")] = piece.become(masked, piece.how, "the key's bias is masked")


def split_biases(given: dict[str, Piece], own: dict[str, torch.Tensor]) -> None:
    """Cut fused biases in three for a model whose key has none; a key's bias that is not zero is then left over."""
    if not any(name.endswith(".attn.q_bias") for name in own):
        return
    for name in [name for name in given if name.endswith(".attn.qkv.bias")]:
        piece = given.pop(name)
        query, key, value = piece.tensor.chunk(3)
        given[name.replace("qkv", "q")] = piece.become(query, "split", "part 1 of 3")
        given[name.replace("qkv", "v")] = piece.become(value, "split", "part 3 of 3")
        if key.any():
            given[name.replace("qkv", "k")] = Piece(key, tuple(f"{source}[key]" for source in piece.sources))


def take_periods(given: dict[str, Piece], model: nn.Module) -> Piece | None:
    """Let the model's RoPE turn as the file says; the piece that was used, None if there was none for it."""
    if "rope.periods" not in given or periods_of(model) is None:
        return None
    piece = given["rope.periods"]
    return piece.become(piece.tensor, "same", adopt_periods(model, piece.tensor))


def fit_positions(given: dict[str, Piece], model: Any, own: dict[str, torch.Tensor]) -> None:
    """Bring the learned positions to the model's grid, and the class token's position to where the model has it.

    A model whose positions are the patches' alone (DINOv2 with registers in timm) gets the class token's position added
    to that token, which is what the sum of both was. Grids are resampled as timm does, bicubic and antialiased.
    """
    if "pos_embed" not in given or "pos_embed" not in own or given["pos_embed"].tensor.ndim != 3:
        return
    piece, wanted = given["pos_embed"], own["pos_embed"]
    grid = tuple(int(side) for side in model.patch_embed.grid_size)
    before = wanted.shape[1] - grid[0] * grid[1]
    if piece.tensor.shape[1] == wanted.shape[1]:
        return
    side = math.isqrt(piece.tensor.shape[1])
    extra = piece.tensor.shape[1] - side * side
    if extra == 1 and before == 0 and "cls_token" in given:
        first, rest = piece.tensor[:, :1], piece.tensor[:, 1:]
        token = given["cls_token"]
        given["cls_token"] = token.become(token.tensor + first, "joined", "with its position", piece)
        piece = piece.become(rest, "split", "without the class token's position")
        extra = 0
    if extra == before and (side, side) != grid:
        resampled = import_timm().layers.resample_abs_pos_embed(
            piece.tensor, new_size=grid, old_size=(side, side), num_prefix_tokens=before
        )
        piece = piece.become(resampled, "interpolated", f"{side} × {side} to {grid[0]} × {grid[1]} patches")
    given["pos_embed"] = piece


def first_layer(model: Any) -> str:
    """Name of the layer that sees the image (``patch_embed.proj`` of a ViT); empty if timm does not say."""
    said = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv") or ""
    return str(said if isinstance(said, str) else said[0])


def fit_kernel(
    given: dict[str, Piece],
    model: nn.Module,
    own: dict[str, torch.Tensor],
    source: SourceNormalisation | None,
    ours: Normalisation,
) -> None:
    """Bring the layer that sees the image to the model's patch size and number of channels.

    Raises:
        InputError: the source's normalisation is to be folded in, but there are not three channels to fold into one.
    """
    layer = first_layer(model)
    name = f"{layer}.weight"
    if name not in own or name not in given:
        return
    wanted, piece = own[name], given[name]
    if (
        _cuts_patches(model.get_submodule(layer))
        and piece.tensor.ndim == 4
        and piece.tensor.shape[2:] != wanted.shape[2:]
    ):
        old, new = (" × ".join(str(side) for side in shape) for shape in (piece.tensor.shape[2:], wanted.shape[2:]))
        resampled = import_timm().layers.resample_patch_embed(piece.tensor, list(wanted.shape[2:]))
        piece = piece.become(resampled, "interpolated", f"kernel {old} to {new}")
    folds = piece.tensor.ndim == 4 and (piece.tensor.shape[1], wanted.shape[1]) == (3, 1)
    if source is not None and not folds:
        raise InputError(
            "the normalisation of the weights' source is for folding three channels into one; leave it out."
        )
    if folds and source is None:
        piece = piece.become(fold_kernel(piece.tensor), "folded", "3 channels to 1, by their sum")
    elif folds and source is not None:
        if not _cuts_patches(model.get_submodule(layer)):
            raise InputError(
                "the first convolution overlaps or pads, so the source's normalisation cannot be folded into it."
            )
        bias = given.get(f"{layer}.bias")
        kernel, shifted = fold_normalised(piece.tensor, None if bias is None else bias.tensor, source, ours)
        piece = piece.become(kernel, "folded", "3 channels to 1, with the source's normalisation")
        assert bias is not None
        given[f"{layer}.bias"] = bias.become(shifted, "folded", "with the source's normalisation", piece)
    given[name] = piece


def _cuts_patches(layer: Any) -> bool:
    """True for a convolution that cuts the image into patches: its stride is its size, and nothing is padded."""
    return tuple(layer.kernel_size) == tuple(layer.stride) and not any(layer.padding)
