"""What the benchmarks share: the measured configuration, synthetic films, and how a ratio is told."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from orthoray.pretrain.config import (
    CheckpointConfig,
    DataConfig,
    DataSource,
    HeadConfig,
    ModelConfig,
    PretrainConfig,
)
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.monitor import read_history

BATCH = 16
HEAD = HeadConfig(prototypes=4096)


def configuration(
    folder: str, steps: int, out: str = "", backbone: str = "vit_tiny_patch16_224", head: HeadConfig = HEAD
) -> PretrainConfig:
    """ViT-Ti/16, 2 × 224 + 8 × 96 pixels, batch 16: the configuration that the figures are about."""
    return PretrainConfig(
        out=out or f"{folder}/run",
        data=DataConfig(datasets=[DataSource(uri=f"{folder}/dataset")]),
        model=ModelConfig(backbone=backbone),
        head=head,
        crops=MultiCropConfig(global_size=224, local_size=96, n_local=8),
        batch_size=BATCH,
        steps=steps,
        log_every_seconds=1.0,
        checkpoint=CheckpointConfig(every_steps=100_000, every_seconds=1e6),
    )


def films(count: int, side: int = 512, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Smooth synthetic films with grain, (side, side) uint8; about as compressible as radiographs."""
    import cv2

    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = cv2.resize(rng.random((9, 9), dtype=np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        fine = cv2.GaussianBlur(rng.standard_normal((side, side), dtype=np.float32), (0, 0), 1.2)
        made.append(np.clip(200 * coarse + 12 * fine + 20, 0, 255).astype(np.uint8))
    return made


@contextmanager
def scratch() -> Iterator[str]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="orthoray-bench-") as folder:
        yield folder


def history_from(run: str, step: int) -> list[dict[str, Any]]:
    """The rows of a run's history from a step on."""
    return [row for row in read_history(run) if row["step"] >= step]


def rate_of(rows: Sequence[dict[str, Any]]) -> float:
    """Images per second between the first and the last row of a history."""
    return float((rows[-1]["images_seen"] - rows[0]["images_seen"]) / (rows[-1]["seconds"] - rows[0]["seconds"]))


def own_kernels() -> None:
    """Start this program again if the environment forces a kernel on OpenBLAS: it then runs at a part of its speed."""
    forced = {name for name in os.environ if name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    if forced:
        print(f"  without {', '.join(sorted(forced))}", flush=True)
        kept = {name: value for name, value in os.environ.items() if name not in forced}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept)


def conclude(what: str, ours: Sequence[float], theirs: Sequence[float], least: float, unit: str = "img/s") -> None:
    """`ratio`; exit with 1 if it is below ``least``."""
    sys.exit(not ratio(what, ours, theirs, least, unit))


def ratio(what: str, ours: Sequence[float], theirs: Sequence[float], least: float, unit: str) -> bool:
    """Print both medians with their ranges and the ratio; is it at least ``least``?"""
    for name, values in (("ours", ours), ("theirs", theirs)):
        spread = f"{min(values):.3g} … {max(values):.3g}"
        print(f"  {name:<7} {statistics.median(values):8.3g} {unit}   ({spread}, {len(values)} rounds)")
    found = statistics.median(ours) / statistics.median(theirs)
    print(f"{what}: ratio {found:.2f}, wanted at least {least:g}: {'met' if found >= least else 'NOT met'}", flush=True)
    return found >= least
