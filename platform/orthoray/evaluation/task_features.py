"""The frozen features of a task's images, and what is made of them, each read or computed when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orthoray.errors import RunError
from orthoray.evaluation.probe import require_finite
from orthoray.evaluation.protocol import Indices, Samples
from orthoray.features.aggregate import Aggregation, aggregate

Features = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TaskFeatures:
    """Features of one task by one model.

    Attributes:
        samples: of the task.
        how: pooling of the images of a sample.
        read: returns (M, D) features of ``samples.image_id``, in its order.
        read_blocks: the same of several blocks, see `orthoray.features.blocks`; None where there are none.
    """

    samples: Samples
    how: Aggregation
    read: Callable[[], Features]
    read_blocks: Callable[[], Features] | None = None

    @cached_property
    def images(self) -> Features:
        """(M, D) of images, finite.

        Raises:
            RunError: a feature is not finite, or there is no feature folder.
        """
        return _finite(self.read())

    @cached_property
    def pooled(self) -> npt.NDArray[np.float64]:
        """(N, D) of samples, their images pooled."""
        return aggregate(self.images, self.samples.owner, len(self.samples.label), self.how)

    @cached_property
    def blocks(self) -> npt.NDArray[np.float64]:
        """(N, 5 D) of samples, their images pooled: class tokens of the last four blocks and the mean patch token."""
        if self.read_blocks is None:
            raise RunError("no features of several blocks were made; the protocol sgd needs them.")
        return aggregate(_finite(self.read_blocks()), self.samples.owner, len(self.samples.label), self.how)

    def rows_of(self, samples: Indices) -> Indices:
        """Rows of the images that belong to some samples, ascending."""
        wanted = np.zeros(len(self.samples.label), dtype=bool)
        wanted[samples] = True
        return np.flatnonzero(wanted[self.samples.owner])


def _finite(features: Features) -> Features:
    require_finite(features)
    return features
