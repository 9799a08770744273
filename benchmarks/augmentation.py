"""Augmentation on one core: the feed's work and batched photometrics against the classic three-channel PIL pipeline.

All start from the same 512 px PNG films and make 2 × 224 + 8 × 96 pixels of each. The data plane is what processors do
for every image of a run: read Parquet, decode, cut, pack as uint8. Photometrics and normalisation run on the training
device and are told apart; with them both pipelines end with normalised float tensors.
"""

from __future__ import annotations

import importlib
import io
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pyarrow as pa
import torch
from PIL import Image, ImageFilter, ImageOps

import common
from orthoray import storage
from orthoray.data.codec import encode
from orthoray.data.schema import IMAGES
from orthoray.data.shards import open_shard
from orthoray.models.features import Normalisation
from orthoray.models.timm_import import import_timm
from orthoray.pretrain.config import DataConfig, DataSource, PhotometricConfig
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.cutter import WindowCutter
from orthoray.pretrain.photometric import Photometric
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.share import Share

ROUNDS, BATCH, FILMS = 5, 16, 64
LEAST_RATIO, LEAST_RATE, LEAST_WHOLE = 10.0, 500.0, 7.0
import_timm()  # makes torchvision importable beside any build of torch
transforms = importlib.import_module("torchvision.transforms")

Blocks = list[dict[str, np.ndarray]]


def dataset(folder: str, pngs: Sequence[bytes]) -> str:
    """A dataset of one shard, as ingest writes it."""
    rows = [{"image_id": f"i{at}", "modality": "XR", "codec": "png", "pixels": png} for at, png in enumerate(pngs)]
    storage.makedirs(f"{folder}/images")
    with open_shard(f"{folder}/images/shard-00000.parquet") as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=IMAGES))
    storage.write_json(f"{folder}/manifest.json", {"dataset_id": "ds-bench"})
    return folder


class Feed:
    """The work of a run's data plane without Ray: the cutter that its tasks call."""

    def __init__(self, folder: str) -> None:
        crops = MultiCropConfig(global_size=224, local_size=96, n_local=8)
        mixture = Mixture(DataConfig(datasets=[DataSource(uri=folder)]), seed=0)
        self.windows = mixture.schedule(mixture.images)
        self.cutter = WindowCutter(self.windows, crops, Share(0, 1, BATCH))

    def __call__(self) -> Blocks:
        """Cut all films."""
        return [block for number in range(len(self.windows)) for block in self.cutter({"id": [number]})]


def coloured(blocks: Blocks) -> list[torch.Tensor]:
    """Photometrics and normalisation of blocks in batches of BATCH films."""
    photometric, generator = Photometric(PhotometricConfig(), Normalisation()), torch.Generator().manual_seed(0)
    made = []
    for name in ("views", "details"):
        crops = torch.from_numpy(np.concatenate([block[name] for block in blocks]))
        made += [photometric(part.flatten(0, 1), generator) for part in crops.split(BATCH)]
    return made


def classic(pngs: Sequence[bytes]) -> list[torch.Tensor]:
    """The pipeline of DINO's first release (arXiv:2104.14294), film by film, from torchvision's transforms."""
    views = classic_views()
    made = []
    for png in pngs:
        film = Image.open(io.BytesIO(png)).convert("RGB")
        made += [view(film) for view in views]
    return made


def classic_views() -> list[Callable[[Image.Image], torch.Tensor]]:
    """Two global and eight local views of a film in colour."""
    first, second = _view(224, (0.4, 1.0), 1.0, 0.0), _view(224, (0.4, 1.0), 0.1, 0.2)
    return [first, second, *[_view(96, (0.05, 0.4), 0.5, 0.0)] * 8]


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


def measure(feed: Feed, pngs: Sequence[bytes]) -> dict[str, float]:
    """Films per second of one processor, each pipeline after the other; what else the machine does hardly counts."""
    clock = [time.process_time()]
    blocks = feed()
    clock.append(time.process_time())
    tensors = coloured(blocks)
    clock.append(time.process_time())
    others = classic(pngs)
    clock.append(time.process_time())
    assert sum(len(block["row"]) for block in blocks) == len(pngs)
    assert sum(len(tensor) for tensor in tensors) == len(others) == 10 * len(pngs)
    cut, light, other = (end - begin for begin, end in pairwise(clock))
    return {name: len(pngs) / took for name, took in (("cut", cut), ("whole", cut + light), ("classic", other))}


def main() -> None:
    """Alternate the pipelines on one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pngs = [encode(film) for film in common.films(FILMS)]
    with common.scratch() as folder:
        feed = Feed(dataset(folder, pngs))
        rounds = [measure(feed, pngs) for _ in range(ROUNDS + 1)][1:]  # the first one warms up
    found = {name: [each[name] for each in rounds] for name in rounds[0]}
    met = [
        common.ratio("data plane per core", found["cut"], found["classic"], LEAST_RATIO, "img/s"),
        common.ratio("with photometrics per core", found["whole"], found["classic"], LEAST_WHOLE, "img/s"),
    ]
    rate = statistics.median(found["cut"])
    print(f"crops cut and packed: {rate:.0f} img/s per core, wanted at least {LEAST_RATE:.0f}")
    sys.exit(not all(met) or rate < LEAST_RATE)


if __name__ == "__main__":
    main()
