"""Read the tensors of a weights file, a folder, or one of timm's tags, from any filesystem."""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orthoray import storage
from orthoray.errors import InputError

if TYPE_CHECKING:
    import torch

FILES = ("model.safetensors", "pytorch_model.bin", "model.pth", "model.pt")
"""Names of the weights in a folder, in the order of preference."""

INDEX = "model.safetensors.index.json"
"""Which file holds which tensor, where a folder has several (transformers' layout)."""


@dataclass(frozen=True)
class Source:
    """What was read: tensors by their name in the file, and what lies beside them.

    ``origin`` names the place in messages; ``config`` is the folder's ``config.json``, ``licence`` what the folder or
    the tag says of the weights' licence.
    """

    tensors: dict[str, torch.Tensor]
    origin: str
    config: dict[str, Any] = field(default_factory=dict)
    licence: str | None = None


def read_source(weights: str, architecture: str) -> Source:
    """Read weights.

    Args:
        weights: a file or URL (safetensors; else a torch file, of which nothing is executed), a folder with
            ``model.safetensors`` (timm's and transformers' layout, also in several files; a checkpoint of this
            program), or ``timm:TAG`` for one of timm's pretrained tags of this architecture.
        architecture: timm's name of the model to fill.

    Raises:
        InputError: nothing there, damaged, more than tensors in it, or no network for a tag.
    """
    if weights.startswith("timm:"):
        from orthoray.models.weights.hub import read_tag

        return read_tag(architecture, weights.removeprefix("timm:"))
    if storage.is_folder(weights):
        return _read_folder(weights)
    if not storage.exists(weights):
        raise InputError(f"{weights}: no such weights file.")
    return Source(read_weights(weights), weights)


def read_weights(uri: str) -> dict[str, torch.Tensor]:
    """The tensors of one file by name; names of nested dictionaries are joined by dots (``teacher.backbone.…``)."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    local = storage.local_path(uri)
    try:
        if uri.endswith(".safetensors"):
            return load(storage.read_bytes(uri)) if local is None else load_file(local)
        content = io.BytesIO(storage.read_bytes(uri)) if local is None else local
        with torch.serialization.safe_globals([argparse.Namespace]):  # MAE and DINO keep their arguments in the file
            loaded = torch.load(content, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        said = next(iter(str(error).splitlines()), "it ends too early")
        raise InputError(f"{uri}: damaged or not a weights file: {said}") from None
    except OSError as error:
        raise InputError(f"{uri}: cannot be read: {error}") from None
    except Exception as error:  # pickle errors of a refused file have no common base
        raise InputError(
            f"{uri}: refused, it holds more than tensors ({_first_global(error)}). "
            "Save its state dict alone, best as safetensors."
        ) from None
    found = dict(_tensors(loaded)) if isinstance(loaded, dict) else {}
    if not found:
        raise InputError(f"{uri}: holds no tensors by name ({type(loaded).__name__}). Give a state dict.")
    return found


def _read_folder(uri: str) -> Source:
    config = storage.read_json(storage.join(uri, "config.json")) if _has(uri, "config.json") else {}
    tensors: dict[str, torch.Tensor] = {}
    if _has(uri, INDEX):
        parts = sorted(set(storage.read_json(storage.join(uri, INDEX)).get("weight_map", {}).values()))
        absent = [name for name in parts if not _has(uri, name)]
        if absent or not parts:
            raise InputError(f"{uri}: {INDEX} names files that are missing: {', '.join(absent) or 'none named'}.")
        for name in parts:
            tensors |= read_weights(storage.join(uri, name))
    else:
        named = next((name for name in FILES if _has(uri, name)), None)
        if named is None:
            hint = " Give its folder `checkpoint`." if _has(uri, "checkpoint/card.json") else ""
            raise InputError(f"{uri}: a folder without weights (one of {', '.join(FILES)}, {INDEX}).{hint}")
        tensors = read_weights(storage.join(uri, named))
    return Source(tensors, uri, config, _licence_of(uri, config))


def _has(folder: str, name: str) -> bool:
    return storage.exists(storage.join(folder, name))


def _tensors(tree: dict[Any, Any], prefix: str = "") -> list[tuple[str, torch.Tensor]]:
    """Tensors below text keys; the state of an optimiser has numbers for keys and stays out."""
    import torch

    found: list[tuple[str, torch.Tensor]] = []
    for key, value in tree.items():
        if isinstance(key, str) and isinstance(value, torch.Tensor):
            found.append((prefix + key, value))
        elif isinstance(key, str) and isinstance(value, dict):
            found += _tensors(value, f"{prefix}{key}.")
    return found


def _first_global(error: Exception) -> str:
    """What torch refused to make, from its long message."""
    text = str(error)
    _, found, rest = text.partition("GLOBAL ")
    return rest.split()[0] if found and rest.split() else type(error).__name__


def _licence_of(uri: str, config: dict[str, Any]) -> str | None:
    """Licence by the configuration, by a checkpoint's card, or by the head of the folder's README."""
    said = (config.get("pretrained_cfg") or {}).get("license") or config.get("license")
    if said is None and _has(uri, "card.json"):
        said = (storage.read_json(storage.join(uri, "card.json")).get("provenance") or {}).get("initial_licence")
    if said is None and _has(uri, "README.md"):
        lines = storage.read_bytes(storage.join(uri, "README.md")).decode("utf-8", "replace").splitlines()
        head = dict(line.split(":", 1) for line in lines[1:40] if lines[0].strip() == "---" and ":" in line)
        said = (head.get("license_name") or head.get("license") or "").strip() or None
    return None if said is None else str(said)


def describe_config(config: dict[str, Any]) -> str | None:
    """The architecture that a folder's ``config.json`` names."""
    named = config.get("architecture") or next(iter(config.get("architectures") or []), None)
    return None if named is None else str(named)
