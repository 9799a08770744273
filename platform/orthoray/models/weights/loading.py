"""Fill a model from weights of any known layout, and account for every tensor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from orthoray.errors import InputError
from orthoray.models.audit import PERIODS, AuditRow, LoadAudit
from orthoray.models.features import Normalisation
from orthoray.models.folding import SourceNormalisation
from orthoray.models.rope import periods_of, rope_of
from orthoray.models.weights.adapting import (
    first_layer,
    fit_kernel,
    fit_positions,
    mask_biases,
    split_biases,
    take_periods,
)
from orthoray.models.weights.fitting import Piece, find_piece
from orthoray.models.weights.layouts import Network, excuse, find_network
from orthoray.models.weights.reading import Source, describe_config, read_source

if TYPE_CHECKING:
    import torch
    from torch import nn


def load_weights(
    model: nn.Module,
    weights: str,
    architecture: str,
    source_normalisation: SourceNormalisation | None = None,
    normalisation: Normalisation | None = None,
) -> LoadAudit:
    """Fill ``model`` in place.

    The layouts of timm, Meta (DINO, DINOv2, DINOv3, ConvNeXt), MAE, MoCo v3, transformers (ViT, DINOv2, DINOv3) and of
    training checkpoints that hold such a network are known by their tensors' names; any other goes through the model's
    own filter in timm.

    Args:
        model: a timm backbone without classifier.
        weights: see `read_source`.
        architecture: timm's name of the model.
        source_normalisation: fold this normalisation of the weights' source in with the channels (`fold_normalised`).
        normalisation: our own, for that.

    Returns:
        The audit, which has been checked.

    Raises:
        InputError: unreadable weights; less than 99 % of the model's tensors filled; tensors of the file's backbone
            left over; values that are not finite. The model must not be used then.
    """
    import torch

    source = read_source(weights, architecture)
    own = model.state_dict()
    try:
        network = find_network(source.tensors)
        given = _by_timm(source, model) if network is None else _by_layout(source, network)
        rows, filled = _fit(given, model, own, source_normalisation, normalisation or Normalisation())
    except InputError as error:
        raise InputError(f"{source.origin}: {error}") from None
    audit = LoadAudit(
        origin=source.origin,
        architecture=architecture,
        layout="timm's filter" if network is None else network.layout.name,
        prefix="" if network is None else network.prefix,
        rows=(*rows, *_unused(source, network, given, rows, model)),
        licence=_licence(source, network, given, architecture, first_layer(model)),
        named=describe_config(source.config),
    ).check()
    broken = [name for name, tensor in filled.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise InputError(
            f"{source.origin}: values that are not finite in {', '.join(broken[:4])}. The file is damaged."
        )
    with torch.no_grad():
        model.load_state_dict(filled, strict=False)
    return audit


def _by_layout(source: Source, network: Network) -> dict[str, Piece]:
    """The tensors of ``network`` under the common names."""
    given: dict[str, Piece] = {}
    for name, tensor in source.tensors.items():
        if name.startswith(network.prefix):
            given[network.layout.rename(name.removeprefix(network.prefix))] = Piece(tensor, (name,))
    return given


def _by_timm(source: Source, model: nn.Module) -> dict[str, Piece]:
    """The tensors as the model's own filter in timm names them; sources are told by their memory."""
    convert: Any = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return {name: Piece(tensor, (name,)) for name, tensor in source.tensors.items()}
    origins = {tensor.data_ptr(): name for name, tensor in source.tensors.items()}
    try:
        converted = convert(dict(source.tensors), model)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise InputError(f"timm cannot read these weights for {type(model).__name__}: {error}") from None
    return {name: Piece(value, (origins.get(value.data_ptr(), name),)) for name, value in converted.items()}


def _fit(
    given: dict[str, Piece],
    model: nn.Module,
    own: dict[str, torch.Tensor],
    source_normalisation: SourceNormalisation | None,
    normalisation: Normalisation,
) -> tuple[list[AuditRow], dict[str, torch.Tensor]]:
    """A row for each of the model's tensors, and the tensors that fill it."""
    mask_biases(given)
    split_biases(given, own)
    fit_positions(given, model, own)
    fit_kernel(given, model, own, source_normalisation, normalisation)
    rows: list[AuditRow] = []
    filled: dict[str, torch.Tensor] = {}
    for name, wanted in own.items():
        piece = find_piece(name, given)
        if piece is None:
            rows.append(AuditRow("", name, tuple(wanted.shape), "missing"))
            continue
        tensor = _shaped(piece.tensor, wanted)
        if tensor is None:
            note = f"{tuple(piece.tensor.shape)} ≠ {tuple(wanted.shape)}"
            rows.append(AuditRow(" + ".join(piece.sources), name, tuple(wanted.shape), "misfit", note))
            continue
        filled[name] = tensor
        rows.append(_row(piece, name, tuple(wanted.shape)))
    periods = take_periods(given, model)
    if periods is not None:
        rows.append(_row(periods, PERIODS, tuple(periods.tensor.shape)))
    return rows, filled


def _row(piece: Piece, name: str, shape: tuple[int, ...]) -> AuditRow:
    how = "renamed" if piece.how == "same" and piece.sources != (name,) else piece.how
    return AuditRow(" + ".join(piece.sources), name, shape, how, piece.note)


def _shaped(tensor: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor | None:
    """``tensor`` in the wanted shape if they differ in sides of 1 alone (a 1 × 1 convolution is a linear layer)."""
    if tensor.shape == wanted.shape:
        return tensor
    same = [side for side in tensor.shape if side != 1] == [side for side in wanted.shape if side != 1]
    return tensor.reshape(wanted.shape) if same and 1 in (*tensor.shape, *wanted.shape) else None


def _unused(
    source: Source, network: Network | None, given: dict[str, Piece], rows: list[AuditRow], model: nn.Module
) -> list[AuditRow]:
    """Rows of the file's tensors that went nowhere; a row without note has no excuse."""
    used = {name for row in rows for name in row.file.split(" + ")}
    common = {name: key for key, piece in given.items() for name in piece.sources}
    left = {name: tensor for name, tensor in source.tensors.items() if name not in used}
    left |= {name: given[key].tensor for name, key in common.items() if name not in source.tensors and name not in used}
    found = []
    for name, tensor in left.items():
        note = _excuse(name, common.get(name), tensor, network, model)
        found.append(AuditRow(name, "", tuple(tensor.shape), "unused", note))
    return found


def _excuse(name: str, common: str | None, tensor: torch.Tensor, network: Network | None, model: nn.Module) -> str:
    if common is None:
        return "timm's filter leaves it out" if network is None else "another part of the file"
    if common == PERIODS and periods_of(model) is None and rope_of(model) == "off":
        return "rope: off"
    reason = excuse(common or name)
    if reason is None and name.endswith("bias") and not tensor.any():
        return "zero, of no effect"
    if reason is None and (common or name).endswith(".gamma") and bool((tensor == 1).all()):
        return "one, of no effect"
    return reason or ""


def _licence(
    source: Source, network: Network | None, given: dict[str, Piece], architecture: str, layer: str
) -> str | None:
    """What the source says; else DINOv3's, if names or architecture tell that weights of three channels are Meta's."""
    if source.licence is not None:
        return source.licence
    kernel = given.get(f"{layer}.weight")
    colour = kernel is not None and source.tensors[kernel.sources[0]].shape[1:2] == (3,)
    named = PERIODS in given or (network is not None and "DINOv3" in network.layout.name)
    return "dinov3-license" if colour and (named or "dinov3" in architecture) else None
