"""`orthoray export`: a checkpoint as a folder that timm, transformers or an ONNX runtime loads, proven equal."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from orthoray import storage
from orthoray.errors import InputError, OrthoRayError, RunError
from orthoray.models.checkpoint import CheckpointCard, load_checkpoint
from orthoray.models.export_card import model_card
from orthoray.models.export_check import Proof

if TYPE_CHECKING:
    from torch import nn

    from orthoray.models.export_gains import Gains

Format = Literal["timm", "hf", "onnx"]
Writer = Callable[["Path", "nn.Module", CheckpointCard], Proof]


def export_checkpoint(
    checkpoint: str, kind: str, out: str, size: int | None = None, gains: Gains | None = None, overwrite: bool = False
) -> Proof:
    """Write a checkpoint in the layout of another library, read it back with that library, and compare features.

    Args:
        checkpoint: checkpoint folder.
        kind: ``timm`` (``timm.create_model('local-dir:OUT', pretrained=True)``), ``hf`` (``AutoModel`` of transformers)
            or ``onnx`` (``model.onnx``: grey levels in, tokens out, any batch, one size).
        out: folder to write, on any filesystem; it appears only when it is complete and proven.
        size: side in pixels of the images of an ONNX graph; None = the checkpoint's.
        gains: results for the model card.
        overwrite: replace what is at ``out``.

    Returns:
        How the copy was compared and how much it differs.

    Raises:
        InputError: no checkpoint, an unknown format, one that cannot hold this network, or ``out`` exists.
        RunError: the copy does not compute the same; nothing is left behind.
    """
    writer = _writer(kind, size)
    if storage.exists(out) and not overwrite:
        raise InputError(f"{out} exists already. Give another --out, or --overwrite to replace it.")
    backbone, card = load_checkpoint(checkpoint)
    with _staged(out) as folder:
        try:
            proof = writer(folder, backbone, card)
        except OrthoRayError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{kind} cannot hold this network: {type(error).__name__}: {error}") from error
        storage.write_json(folder / "card.json", card.model_dump(mode="json"))
        text = model_card(kind, card, proof, gains)
        storage.write_bytes(folder / "README.md", text.encode())
    return proof


def _writer(kind: str, size: int | None) -> Writer:
    if kind not in get_args(Format):
        raise InputError(f"--format {kind}: unknown. Formats: {', '.join(get_args(Format))}.")
    if size is not None and kind != "onnx":
        raise InputError(f"--size is for --format onnx; a {kind} model takes images of any size.")
    if kind == "timm":
        from orthoray.models.export_timm import write_timm

        return write_timm
    if kind == "hf":
        from orthoray.models.export_hf import write_transformers

        return write_transformers
    from orthoray.models.export_onnx import write_onnx

    return lambda folder, backbone, card: write_onnx(folder, backbone, card, size)


@contextmanager
def _staged(out: str) -> Iterator[Path]:
    """A local folder that takes the place of ``out`` when all went well, and is removed when it did not."""
    local = storage.local_path(out)
    if local is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
            _upload(temporary, out)
        return
    local = local.resolve()
    fresh = [parent for parent in local.parents if not parent.exists()]
    folder = local.parent / f".{local.name}.{uuid.uuid4().hex[:8]}.tmp"
    folder.mkdir(parents=True)
    try:
        yield folder
        storage.remove_tree(local)
        os.replace(folder, local)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in fresh:
            parent.rmdir()
        raise


def _upload(folder: str, out: str) -> None:
    filesystem, path = storage.filesystem(out)
    staging = f"{path.rstrip('/')}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        filesystem.put(f"{folder}/", f"{staging}/", recursive=True)
        storage.remove_tree(out)
        filesystem.mv(staging, path, recursive=True)
    except BaseException:
        if filesystem.exists(staging):
            filesystem.rm(staging, recursive=True)
        raise
