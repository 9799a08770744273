"""Augmentation on one core: grey multi-crop and batched photometrics against the classic three-channel PIL pipeline.

Both decode the same 512 px PNG films and end with normalised float tensors of 2 × 224 + 8 × 96 pixels.
"""

from __future__ import annotations

import io
import math
import random
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

import common
from orthoray.data.codec import decode, encode
from orthoray.models.features import Normalisation
from orthoray.pretrain.config import PhotometricConfig
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig
from orthoray.pretrain.photometric import Photometric

ROUNDS, BATCH = 5, 16
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def ours(pngs: Sequence[bytes]) -> list[torch.Tensor]:
    """Batches of BATCH films: crops as uint8 one by one, photometrics and normalisation together."""
    cut = MultiCrop(MultiCropConfig(global_size=224, local_size=96, n_local=8))
    photometric = Photometric(PhotometricConfig(), Normalisation())
    generator = torch.Generator().manual_seed(0)
    made = []
    for start in range(0, len(pngs), BATCH):
        pairs = [cut(decode(png), np.random.default_rng(start)) for png in pngs[start : start + BATCH]]
        for crops in zip(*pairs, strict=True):
            made.append(photometric(torch.from_numpy(np.concatenate(crops)), generator))
    return made


def classic(pngs: Sequence[bytes]) -> list[torch.Tensor]:
    """The pipeline of DINO's first release, film by film (arXiv:2104.14294, appendix)."""
    made = []
    for png in pngs:
        film = Image.open(io.BytesIO(png)).convert("RGB")
        made.append(_view(film, 224, (0.4, 1.0), blur=1.0, solarise=0.0))
        made.append(_view(film, 224, (0.4, 1.0), blur=0.1, solarise=0.2))
        made += [_view(film, 96, (0.05, 0.4), blur=0.5, solarise=0.0) for _ in range(8)]
    return made


def _view(film: Image.Image, side: int, scale: tuple[float, float], blur: float, solarise: float) -> torch.Tensor:
    width, height = film.size
    area = random.uniform(*scale) * width * height
    ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = min(width, round(math.sqrt(area * ratio))), min(height, round(math.sqrt(area / ratio)))
    left, top = random.randint(0, width - w), random.randint(0, height - h)
    view = film.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + w, top + h))
    if random.random() < 0.5:
        view = ImageOps.mirror(view)
    if random.random() < 0.8:
        view = _jitter(view)
    if random.random() < 0.2:
        view = ImageOps.grayscale(view).convert("RGB")
    if random.random() < blur:
        view = view.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    if random.random() < solarise:
        view = ImageOps.solarize(view)
    tensor = torch.from_numpy(np.array(view)).permute(2, 0, 1).contiguous().float() / 255.0
    return (tensor - MEAN) / STD


def _jitter(view: Image.Image) -> Image.Image:
    """Brightness, contrast, saturation and hue, in random order."""
    steps: list[Callable[[Image.Image], Image.Image]] = [
        lambda image: ImageEnhance.Brightness(image).enhance(random.uniform(0.6, 1.4)),
        lambda image: ImageEnhance.Contrast(image).enhance(random.uniform(0.6, 1.4)),
        lambda image: ImageEnhance.Color(image).enhance(random.uniform(0.8, 1.2)),
        _hue,
    ]
    random.shuffle(steps)
    for step in steps:
        view = step(view)
    return view


def _hue(image: Image.Image) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(random.randint(0, 50) - 25 & 255)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def rate(pipeline: Callable[[Sequence[bytes]], list[torch.Tensor]], pngs: Sequence[bytes]) -> float:
    """Films per second."""
    begin = time.perf_counter()
    made = pipeline(pngs)
    assert sum(tensor.shape[0] if tensor.shape[1] == 1 else 1 for tensor in made) == 10 * len(pngs)
    return len(pngs) / (time.perf_counter() - begin)


def main() -> None:
    """Alternate the two pipelines on one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pngs = [encode(film) for film in common.films(3 * BATCH)]
    figures: dict[str, list[float]] = {"ours": [], "classic": []}
    for number in range(ROUNDS + 1):  # the first round warms up
        mine, other = rate(ours, pngs), rate(classic, pngs)
        if number:
            figures["ours"].append(mine)
            figures["classic"].append(other)
    common.conclude("augmentation per core", figures["ours"], figures["classic"], least=5.0)


if __name__ == "__main__":
    main()
