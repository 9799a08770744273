"""Augmentation on one core: grey multi-crop and batched photometrics against the classic three-channel PIL pipeline.

Both decode the same 512 px PNG films and end with normalised float tensors of 2 × 224 + 8 × 96 pixels.
"""

from __future__ import annotations

import importlib
import io
import random
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

import common
from orthoray.data.codec import decode, encode
from orthoray.models.features import Normalisation
from orthoray.models.timm_import import import_timm
from orthoray.pretrain.config import PhotometricConfig
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig
from orthoray.pretrain.photometric import Photometric

ROUNDS, BATCH = 5, 16
import_timm()  # makes torchvision importable beside any build of torch
transforms = importlib.import_module("torchvision.transforms")


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
    """The pipeline of DINO's first release (arXiv:2104.14294), film by film, from torchvision's transforms."""
    views = [
        _view(224, (0.4, 1.0), 1.0, 0.0),
        _view(224, (0.4, 1.0), 0.1, 0.2),
        *[_view(96, (0.05, 0.4), 0.5, 0.0)] * 8,
    ]
    made = []
    for png in pngs:
        film = Image.open(io.BytesIO(png)).convert("RGB")
        made += [view(film) for view in views]
    return made


def _view(side: int, scale: tuple[float, float], blur: float, solarise: float) -> Callable[[Image.Image], torch.Tensor]:
    """Crop, flip, colour jitter, grey, blur, solarise, normalise."""
    steps = [
        transforms.RandomResizedCrop(side, scale=scale, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.RandomApply([transforms.Lambda(_blurred)], p=blur),
        transforms.RandomApply([transforms.Lambda(ImageOps.solarize)], p=solarise),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    view: Callable[[Image.Image], torch.Tensor] = transforms.Compose(steps)
    return view


def _blurred(film: Image.Image) -> Image.Image:
    return film.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


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
