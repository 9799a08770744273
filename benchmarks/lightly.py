"""DINO pretraining against lightly-train's ``method="dino"``: same model, images, crops, head and batch, alternating.

lightly-train is installed into an environment of its own (first argument, default ``.venv-lightly``), never beside
OrthoRay. It runs at its default precision and at bf16-mixed, with its own augmentation and loader.

    python benchmarks/lightly.py [ENVIRONMENT] [BACKBONE …]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import common
from training import make_dataset, ray_rate

ROUNDS, STEPS, SKIP = 3, 14, 4
VERSION = "lightly-train[timm]==0.18.0"
WANTED = {"32-true": 1.5, "bf16-mixed": 1.1}
FILMS = Path(__file__).parents[2] / "shared" / "data" / "knee-xray-kl" / "train"

PRELUDE = """
import sys, time
try:
    import torchvision
except RuntimeError:  # built for another torch; only its declarations are needed
    from torch import library
    for name in ("nms", "qnms"):
        library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float limit) -> Tensor")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
import lightly_train
from pytorch_lightning import Callback, Trainer

def with_callback(callback):
    made = Trainer.__init__
    def changed(self, *rest, callbacks=None, **options):
        made(self, *rest, callbacks=[*(callbacks or []), callback], **options)
    Trainer.__init__ = changed
"""
"""Imports in the other environment, and a way to look on: lightly-train takes no callbacks of one's own."""

THEIRS = (
    PRELUDE
    + """
data, out, model, precision, steps, skip, batch = sys.argv[1:4] + [sys.argv[4]] + [int(n) for n in sys.argv[5:8]]

class Clock(Callback):
    def on_train_batch_end(self, trainer, module, *rest):
        step = trainer.global_step
        if step == skip:
            self.begin = time.perf_counter()
        if step == steps:
            print("rate", (steps - skip) * batch / (time.perf_counter() - self.begin))
            trainer.should_stop = True

with_callback(Clock())
lightly_train.pretrain(
    out=out, data=data, model=model, method="dino", epochs=1000, batch_size=batch, precision=precision,
    accelerator="cpu", devices=1, num_workers=int(sys.argv[8]), overwrite=True, loggers={"tensorboard": None},
    method_args={"output_dim": 4096},
    transform_args={"image_size": (224, 224), "local_view": {"num_views": 8, "view_size": (96, 96)}},
    trainer_args={"max_steps": steps, "max_epochs": -1},
)
"""
)
"""Run in the other environment: prints images per second between two steps."""

LOADERS = (0, 1)
"""Numbers of loader processes that are tried on two processors; the faster one counts."""


def main() -> None:
    """Alternate both for every backbone and precision."""
    environment = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv-lightly")
    python = prepared(environment)
    met = True
    for backbone in sys.argv[2:] or ["vit_tiny_patch16_224", "vit_small_patch16_224"]:
        with common.scratch() as folder:
            make_dataset(folder, films())
            ours: list[float] = []
            theirs: dict[str, list[float]] = {name: [] for name in WANTED}
            for number in range(ROUNDS):
                ours.append(ray_rate(folder, number, backbone))
                for precision, rates in theirs.items():
                    rates.append(max(their_rate(python, folder, backbone, precision, n) for n in LOADERS))
                last = ", ".join(f"{name} {rates[-1]:.2f}" for name, rates in theirs.items())
                print(f"  {backbone} round {number + 1}: ours {ours[-1]:.2f}, lightly-train {last} img/s", flush=True)
            for precision, least in WANTED.items():
                met &= common.ratio(f"{backbone} over {precision}", ours, theirs[precision], least, "img/s")
    sys.exit(not met)


def films() -> list[npt.NDArray[np.uint8]]:
    """Real knee films where they are at hand, else synthetic ones."""
    real = sorted(FILMS.rglob("*.png"))[:96] if FILMS.is_dir() else []
    return [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in real] or common.films(96)


def prepared(environment: Path) -> Path:
    """The interpreter of the environment, made where it is missing."""
    python = environment / "bin" / "python"
    if not python.exists():
        print(f"making {environment} with {VERSION} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        constraints = Path(__file__).parents[1] / "constraints.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", constraints, VERSION], check=True)
    return python


def their_rate(python: Path, folder: str, backbone: str, precision: str, loaders: int) -> float:
    """Images per second of lightly-train after warming up."""
    numbers = map(str, (STEPS, SKIP, common.BATCH, loaders))
    with tempfile.TemporaryDirectory() as out:
        command = [python, "-c", THEIRS, f"{folder}/films", out, f"timm/{backbone}", precision, *numbers]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    rate = re.search(r"rate ([0-9.]+)", done.stdout)
    if rate is None:
        sys.exit(f"lightly-train failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return float(rate[1])


if __name__ == "__main__":
    main()
