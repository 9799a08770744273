"""What one GPU trains: images per second, MFU and memory of the whole DINOv2 objective on ViT-L, B and S.

Needs torch, timm and pydantic, no Ray, no data and no weights. Batches grow until memory is full; the best one is then
compiled. Before that a step is compared with the same one on the processor. Figures are written as they come, so that
what is there when time is up counts.

    python benchmarks/first_call.py [--out FOLDER] [--seconds 540] [--device cuda] [--batches 64 128 …] [BACKBONE …]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from orthoray.models.backbone import create_backbone
from orthoray.models.peaks import peak_flops
from orthoray.models.precision import PrecisionName, resolve_precision
from orthoray.pretrain.config import DataConfig, DataSource, HeadConfig, ModelConfig, PretrainConfig
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.learner import Learner, step_values
from orthoray.pretrain.masks import block_masks
from orthoray.pretrain.photometric import Photometric
from orthoray.pretrain.settings.objective import IbotConfig, LossesConfig, TeacherConfig
from orthoray.pretrain.settings.parallel import ParallelConfig
from orthoray.pretrain.step_shape import backbone_of, step_shape

WANTED = {"vit_large_patch16_224": 257.0, "vit_base_patch16_224": 750.0, "vit_small_patch16_224": 2000.0}
"""Images per second on an H200; 257 of ViT-L are 40 % nominal MFU."""

WARM_UP, STEPS = 3, 8


@dataclass(frozen=True)
class Figure:
    """One measurement. ``peak_gib``: memory that torch has taken at most; ``steps``: timed."""

    backbone: str
    device: str
    batch: int
    compiled: bool
    images_per_second: float
    mfu: float
    mfu_executed: float
    peak_gib: float
    first_step_s: float
    steps: int


def configuration(backbone: str, batch: int, compiled: bool = False) -> PretrainConfig:
    """2 × 224 + 8 × 96 pixels, DINO + iBOT + KoLeo by Sinkhorn-Knopp, 65,536 prototypes."""
    return PretrainConfig(
        out="unused",
        data=DataConfig(datasets=[DataSource(uri="unused")]),
        model=ModelConfig(backbone=backbone),
        head=HeadConfig(prototypes=65536),
        losses=LossesConfig(koleo=0.1, ibot=IbotConfig(weight=1.0, head="shared")),
        teacher=TeacherConfig(centring="sinkhorn_knopp"),
        crops=MultiCropConfig(global_size=224, local_size=96, n_local=8),
        parallel=ParallelConfig(compile=compiled),
        batch_size=batch,
        steps=1000,
    )


class Steps:
    """Steps on noise that lies on the device as uint8."""

    def __init__(self, config: PretrainConfig, device: torch.device, precision: PrecisionName = "auto") -> None:
        torch.manual_seed(0)
        self.config, self.device, self.done = config, device, 0
        backbone = create_backbone(config.model.backbone, in_chans=1, img_size=config.model.img_size)
        self.learner = Learner(config, backbone.train(), device, resolve_precision(precision, device.type))
        self.photometric = Photometric(config.photometric, config.model.normalisation)
        crops, draw = config.crops, torch.Generator().manual_seed(0)
        sizes = ((crops.n_global, crops.global_size), (crops.n_local, crops.local_size))
        self.crops = [
            torch.randint(0, 256, (number * config.batch_size, 1, side, side), generator=draw, dtype=torch.uint8)
            .flatten(0, 1)
            .to(device)
            for number, side in sizes
        ]

    def step(self) -> torch.Tensor:
        """Photometrics, masks and one step; its measures."""
        config, side = self.config, self.config.crops.global_size // 16
        generator = torch.Generator(self.device).manual_seed(self.done)
        views, details = (self.photometric(part, generator) for part in self.crops)
        ibot, random = config.losses.ibot, np.random.default_rng((0, self.done))
        masks = block_masks(2 * config.batch_size, (side, side), ibot.probability, ibot.ratios, random)
        self.done += 1
        return self.learner.step(views, details, step_values(config, 1e-4, 500, 1000), masks)


def measure(config: PretrainConfig, device: torch.device) -> Figure:
    """Time `STEPS` steps after `WARM_UP`."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run = Steps(config, device)
    begin = time.perf_counter()
    _done(run.step())
    first = time.perf_counter() - begin
    for _ in range(WARM_UP - 1):
        _done(run.step())
    begin = time.perf_counter()
    for _ in range(STEPS):
        last = run.step()
    _done(last)
    rate = STEPS * config.batch_size / (time.perf_counter() - begin)
    flops = step_shape(config, backbone_of(config))[0].flops()
    peak = peak_flops(device, run.learner.precision.dtype)
    used = rate / peak if peak else 0.0
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    shares = used * flops.nominal, used * flops.executed
    compiled = run.learner.plan.compiled
    return Figure(config.model.backbone, name, config.batch_size, compiled, rate, *shares, memory, first, STEPS)


def _done(measures: torch.Tensor) -> None:
    """Wait for the device; what it computed must be finite."""
    if not all(map(math.isfinite, measures.tolist())):
        sys.exit(f"a step gave {measures.tolist()}")


def compare(device: torch.device) -> float:
    """Largest relative difference of a step's measures between the device and the processor, both in float32."""
    config = configuration("vit_tiny_patch16_224", 4)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found = []
    for place in (torch.device("cpu"), device):
        run = Steps(config, place, "fp32")
        run.photometric = lambda part, _: part.unsqueeze(1).float() / 127.5 - 1.0  # type: ignore[assignment]
        found.append(run.step().cpu())
    return float(((found[0] - found[1]).abs() / found[0].abs().clamp_min(1e-3)).max())


def main() -> None:
    """Every backbone: growing batches, then the best one compiled."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("backbones", nargs="*", default=list(WANTED))
    told.add_argument("--out", type=Path, default=Path("."))
    told.add_argument("--seconds", type=float, default=540.0)
    told.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    told.add_argument("--batches", type=int, nargs="+", default=[64, 128, 192, 256, 384, 512])
    asked = told.parse_args()
    stop, device = time.monotonic() + asked.seconds, torch.device(asked.device)
    print(f"a step on {device} differs from the processor's by {compare(device):.1e}", flush=True)
    torch.set_float32_matmul_precision("high")
    file = asked.out / "figures.jsonl"
    for backbone in asked.backbones:
        best: Figure | None = None
        for batch in asked.batches:
            found = _tried(configuration(backbone, batch), device, file, stop)
            if found is None:
                break
            best = found if best is None or found.images_per_second > best.images_per_second else best
        if best is not None:
            faster = _tried(configuration(backbone, best.batch, compiled=True), device, file, stop)
            best = max(best, faster or best, key=lambda figure: figure.images_per_second)
            wanted = WANTED.get(backbone, 0.0)
            print(f"{backbone}: {best.images_per_second:.0f} img/s, wanted on an H200 {wanted:.0f}", flush=True)


def _tried(config: PretrainConfig, device: torch.device, file: Path, stop: float) -> Figure | None:
    """A measurement, printed and kept; None if time is up or memory does not suffice."""
    if time.monotonic() > stop:
        print("time is up", flush=True)
        return None
    try:
        found = measure(config, device)
    except torch.OutOfMemoryError:
        print(f"  {config.model.backbone}, batch {config.batch_size}: out of memory", flush=True)
        return None
    with file.open("a") as handle:
        handle.write(json.dumps(asdict(found)) + "\n")
    print(
        f"  {found.backbone}, batch {found.batch}{', compiled' if found.compiled else ''}: "
        f"{found.images_per_second:.1f} img/s, MFU {found.mfu:.1%} nominal, {found.mfu_executed:.1%} executed, "
        f"{found.peak_gib:.1f} GiB, first step {found.first_step_s:.0f} s",
        flush=True,
    )
    return found


if __name__ == "__main__":
    main()
