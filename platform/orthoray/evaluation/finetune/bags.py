"""Images of samples: a film is one image, a study many slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.errors import RunError
from orthoray.evaluation.feature_folders import Folders, image_rows
from orthoray.evaluation.protocol import Indices, Samples
from orthoray.features.images import read_images


class Chosen(NamedTuple):
    """Images of some samples: (B,) positions in `Bags.images`, and (B,) the sample of each, 0, 1, … as asked for."""

    image: Indices
    owner: Indices


@dataclass(frozen=True)
class Bags:
    """All images of a task's samples.

    Attributes:
        images: (M, side, side) uint8, those of a sample side by side.
        start: (N + 1,) sample n has the images ``start[n]`` to ``start[n + 1] - 1``, at least one.
    """

    images: npt.NDArray[np.uint8]
    start: Indices

    def all_of(self, samples: Indices) -> Chosen:
        """Every image of the samples, in order."""
        return _joined([np.arange(self.start[n], self.start[n + 1]) for n in samples])

    def some_of(self, samples: Indices, most: int, rng: np.random.Generator) -> Chosen:
        """At most ``most`` images of each sample, drawn without return."""
        picked = []
        for n in samples:
            own = np.arange(self.start[n], self.start[n + 1])
            picked.append(own if len(own) <= most else np.sort(rng.choice(own, most, replace=False)))
        return _joined(picked)


def _joined(parts: Sequence[Indices]) -> Chosen:
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Chosen(np.concatenate(parts), owner)


def read_bags(samples: Samples, folders: Folders) -> Bags:
    """Read a task's images from the image folders of its datasets (`features.encoders.image_spec`), one per dataset.

    Raises:
        RunError: a folder or an image is missing, or a sample has no image.
    """
    order = np.argsort(samples.owner, kind="stable")
    counts = np.bincount(samples.owner, minlength=len(samples.label))
    if (counts == 0).any():
        raise RunError(f"{int((counts == 0).sum())} of {len(counts)} samples have no image.")
    images = image_rows(samples, folders, read_images)
    if (np.diff(order) != 1).any():
        images = images[order]
    return Bags(images, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
