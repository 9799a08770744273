"""What of a batch one worker of Ray Train takes, and how workers agree."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Share(NamedTuple):
    """Worker ``rank`` of ``world``; one of one unless told otherwise."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> Tensor:
        """Positions that are this worker's."""
        return torch.arange(self.rank, count, self.world)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are the mean over the workers."""
        if self.world == 1:
            return network
        return nn.parallel.DistributedDataParallel(network)

    def mean(self, value: float) -> float:
        """Mean over the workers."""
        if self.world == 1:
            return value
        return float(sum(self._all(value))) / self.world

    def gathered(self, mine: Tensor | None, count: int) -> Tensor:
        """(count, K) rows from those of each worker, see `of`."""
        if self.world == 1:
            assert mine is not None
            return mine
        found = [None if part is None else torch.as_tensor(part) for part in self._all(mine)]
        width = next(part.shape[1] for part in found if part is not None)
        whole = torch.zeros(count, width, dtype=torch.float64)
        for rank, part in enumerate(found):
            if part is not None:
                whole[torch.arange(rank, count, self.world)] = part
        return whole

    def _all(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, value)
        return found
