"""PED's generic images: the same for every backbone, and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orthoray.data.dataset import Dataset
from orthoray.errors import InputError
from orthoray.transferability.config import RankConfig
from orthoray.transferability.targets import Labelled

MOST_GENERIC = 2000
"""Images of PED's generic corpus; of a larger one so many, spread evenly over its ids in order."""


@dataclass(frozen=True)
class Generic:
    """PED's generic images, the same for every backbone: (dataset, its id, image ids), and where they come from."""

    parts: list[tuple[str, str, list[str]]]
    origin: str

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(len(ids) for _, _, ids in self.parts)


def generic_images(config: RankConfig, targets: Sequence[Labelled]) -> Generic:
    """Choose them; InputError if the dataset named holds none."""
    wanted = [target.dataset for target in targets] if config.generic == "auto" else [config.generic]
    datasets = {uri: Dataset(uri) for uri in dict.fromkeys(wanted)}
    ids = [(uri, image) for uri, found in datasets.items() for image in sorted(found.index()["image_id"].astype(str))]
    if not ids:
        raise InputError(f"generic={config.generic}: no image in it.")
    chosen = [
        ids[at] for at in np.unique(np.linspace(0, len(ids) - 1, min(MOST_GENERIC, len(ids))).round().astype(int))
    ]
    parts = []
    for uri, dataset in datasets.items():
        mine = [image for where, image in chosen if where == uri]
        parts.append((uri, str(dataset.manifest["dataset_id"]), mine))
    return Generic(parts, "images of all targets" if config.generic == "auto" else config.generic)
