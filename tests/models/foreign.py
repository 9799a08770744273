"""Small networks in the layouts of other projects: weights by formula, features that their own code computed.

``golden/foreign.json`` was made once with Meta's code (dinov2 b8931f7, dinov3 6876159) and transformers 5.24: names and
shapes of the state dict, values that are no weights (RoPE's periods, bias masks), the names in files that
transformers writes, and the features of `image`.
"""

import json
import math
from pathlib import Path

import torch

GOLDEN = json.loads((Path(__file__).parent / "golden" / "foreign.json").read_text(encoding="utf-8"))


def image(side, channels=3):
    """(2, channels, side, side): a sine over all values."""
    wave = torch.sin(torch.arange(2 * channels * side * side, dtype=torch.float64) * 0.37)
    return wave.reshape(2, channels, side, side).float()


def value(index, name, shape):
    """Values of the tensor that is number ``index`` by name: a sine of its own; scales around 1."""
    wave = 0.3 * torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.7 * (1 + 0.01 * index) + index)
    return (wave + (len(shape) == 1 and not name.endswith("bias"))).reshape(shape).float()


def state_of(case):
    """The state dict of a golden network under its names."""
    found = GOLDEN[case]
    made = {name: value(index, name, shape) for index, (name, shape) in enumerate(sorted(found["shapes"].items()))}
    made |= {name: made[name.replace("norms.3", "norm")] for name in made if name.startswith("norms.3.")}  # one norm
    return made | {name: torch.tensor(values) for name, values in found["fixed"].items()}


def saved_by_transformers(case):
    """The same under the names that transformers gives it in a file."""
    state = state_of(case)
    return {
        name: state[origin] if isinstance(origin, str) else torch.cat([state[part] for part in origin])
        for name, origin in GOLDEN[case]["saved"].items()
    }


def features_of(case):
    """Class token (2, D), mean of the patch tokens (2, D), last patch token (2, D)."""
    return [torch.tensor(GOLDEN[case][part]) for part in ("class_token", "patches", "last_patch")]
