"""What a plan knows, or assumes, of a run's data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from orthoray import storage
from orthoray.errors import InputError
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.plan import Mixture

IMAGES = 1_000_000
"""Images that are assumed where neither the datasets nor their number is at hand."""

SIDE = 512
"""Short side of a stored image, which ingest limits to this."""

BYTES_PER_PIXEL = 0.5
"""Stored size of a radiograph, losslessly packed, for one byte of grey values."""


@dataclass(frozen=True)
class DataFacts:
    """The images of a run.

    Attributes:
        images: in all sources.
        per_epoch: that one epoch shows, with weights.
        bytes_per_image: stored size.
        height: median, in pixels.
        width: median, in pixels.
        at_hand: the datasets were read.
        assumed: what was not known, and what was taken for it.
    """

    images: int
    per_epoch: int
    bytes_per_image: float
    height: int
    width: int
    at_hand: bool
    assumed: list[str] = field(default_factory=list)


def data_facts(config: PretrainConfig, images: int | None, image_kb: float | None) -> DataFacts:
    """Read the datasets of a run as far as they are at hand, or assume.

    Args:
        config: of the run.
        images: number of images to assume if the datasets are not at hand.
        image_kb: stored size of an image in kB, likewise.

    Raises:
        InputError: datasets that are at hand, but damaged or without images that are wanted.
    """
    missing = [source.uri for source in config.data.datasets if not _at_hand(source.uri)]
    if missing:
        return _assumption(config, missing, images, image_kb)
    mixture = Mixture(config.data, config.seed)
    uris = list(dict.fromkeys(source.uri for source in config.data.datasets))
    height, width, known = _median_size(uris)
    assumed = [] if known else [f"images of {SIDE} × {SIDE} px: the index does not tell their sizes"]
    return DataFacts(mixture.images, mixture.images_per_epoch(), _stored_bytes(uris), height, width, True, assumed)


def _assumption(config: PretrainConfig, missing: list[str], images: int | None, image_kb: float | None) -> DataFacts:
    count = images or IMAGES
    size = image_kb * 1e3 if image_kb else SIDE * SIDE * BYTES_PER_PIXEL
    what = [f"{'the dataset is' if len(missing) == 1 else 'datasets are'} not at hand: {', '.join(missing)}"]
    if images is None:
        what.append(f"{count:,} images (--images)")
    if image_kb is None:
        what.append(f"{size / 1e3:.0f} kB per image of {SIDE} × {SIDE} px (--image-kb)")
    return DataFacts(count, count, size, SIDE, SIDE, False, what)


def _at_hand(uri: str) -> bool:
    try:
        return storage.exists(storage.join(uri, "manifest.json"))
    except (OSError, InputError):
        return False


def _median_size(uris: list[str]) -> tuple[int, int, bool]:
    sizes = []
    for uri in uris:
        table = storage.read_table(storage.join(uri, "index.parquet"), columns=["height", "width"])
        sizes.append(table.to_pandas().dropna())
    heights, widths = (np.concatenate([frame[name].to_numpy() for frame in sizes]) for name in ("height", "width"))
    if not len(heights):
        return SIDE, SIDE, False
    return int(np.median(heights)), int(np.median(widths)), True


def _stored_bytes(uris: list[str]) -> float:
    """Mean size of an image in the shards, all columns included."""
    total = images = 0
    for uri in uris:
        for file in storage.list_files(storage.join(uri, "images"), ".parquet"):
            filesystem, path = storage.filesystem(file)
            total += int(filesystem.size(path))
        images += int(storage.read_json(storage.join(uri, "manifest.json"))["n_images"])
    return total / max(1, images)
