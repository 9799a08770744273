"""Training through Ray Data and Ray Train against a plain PyTorch loop over batches in memory, alternating.

Same model, same photometrics, same precision, same processors. The plain loop is spared reading, decoding and
cropping; Ray does these beside the training.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import common
from orthoray.config import to_yaml
from orthoray.pretrain.config import HeadConfig
from plain import one_process, plain_rate

ROUNDS, STEPS, SKIP = 5, 14, 3


def main() -> None:
    """Alternate rounds of both, each in a process of its own."""
    if len(sys.argv) == 3 and sys.argv[1] == "plain":
        with one_process(sys.argv[2]):
            print(plain_rate(common.configuration(sys.argv[2], STEPS), STEPS, SKIP))
        return
    figures: dict[str, list[float]] = {"ray": [], "plain": []}
    with common.scratch() as folder:
        make_dataset(folder, common.films(96))
        for number in range(ROUNDS):
            figures["plain"].append(float(run(__file__, "plain", str(Path(folder, str(number)))).split()[-1]))
            figures["ray"].append(ray_rate(folder, number))
            print(f"  round {number + 1}: Ray {figures['ray'][-1]:.2f}, plain {figures['plain'][-1]:.2f} img/s")
    common.conclude("training through Ray", figures["ray"], figures["plain"], least=0.95)


def make_dataset(folder: str, images: list[npt.NDArray[np.uint8]]) -> None:
    """Images as PNG through ingest."""
    films = Path(folder, "films")
    films.mkdir()
    for number, film in enumerate(images):
        cv2.imwrite(str(films / f"{number:03d}.png"), film)
    rows = [f"{number:03d}.png,P{number:03d}" for number in range(len(images))]
    (films / "patients.csv").write_text("\n".join(["file,patient", *rows]))
    Path(folder, "card.yaml").write_text(CARD)
    run("-m", "orthoray.cli", "ingest", f"{folder}/card.yaml", "--source", str(films), "--out", f"{folder}/dataset")


CARD = """
name: bench
title: Synthetic films
phi_source: false
reader: images
screened: review
defaults: {modality: XR, body_part: knee}
facts:
  - {table: patients.csv, key: {file: file}, columns: {patient: patient}}
"""


def ray_rate(folder: str, number: int, backbone: str = "vit_tiny_patch16_224", head: HeadConfig = common.HEAD) -> float:
    """Images per second of `orthoray pretrain` after warming up, from its history."""
    config = common.configuration(folder, STEPS, out=f"{folder}/run{number}", backbone=backbone, head=head)
    file = Path(folder, "pretrain.yaml")
    file.write_text(to_yaml(config))
    run("-m", "orthoray.cli", "pretrain", str(file))
    return common.rate_of(common.history_from(config.out, SKIP))


def run(*arguments: str) -> str:
    """Run Python; its output, or the end of the benchmark with it."""
    if arguments[1:2] == ("plain",):
        Path(arguments[2]).mkdir()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[:3])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
