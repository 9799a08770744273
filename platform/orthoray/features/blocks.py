"""Features of several blocks of a backbone: the class tokens of the last four and the mean patch token of the last."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from orthoray import storage
from orthoray.features.encoders import EncoderSpec

LAST = 4
"""Blocks whose class tokens are kept."""

LAYERS = f"last{LAST}"
"""Value of `EncoderSpec.layers` for such features: (LAST + 1) · D values, the earliest block first."""


def blocks_spec(spec: EncoderSpec) -> EncoderSpec:
    """The same checkpoint, seen through its last blocks."""
    return replace(spec, layers=LAYERS, pooling="cls+mean")


def count_blocks(checkpoint_uri: str) -> int:
    """Transformer blocks of a checkpoint folder, by the names in its weights; 0 for a network of another kind."""
    with storage.open_file(storage.join(checkpoint_uri, "model.safetensors")) as handle:
        size = int.from_bytes(handle.read(8), "little")
        names = json.loads(handle.read(size))
    found = {int(match.group(1)) for name in names if (match := re.match(r"blocks\.(\d+)\.", name))}
    return len(found)
