"""Studies as bags of slices: batches for networks that look at all slices of a study, and their training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from orthoray.errors import RunError
from orthoray.evaluation.frozen_settings import BagConfig
from orthoray.evaluation.protocol import PLANES, Indices, Samples

EVALUATED = 64
"""Studies at a time where nothing is learned."""


class Batch(NamedTuple):
    """B studies of up to L slices.

    Attributes:
        x: (B, L, D) float32 features.
        there: (B, L) bool, False where a study has no further slice.
        plane: (B, L) int64 number of the plane among `PLANES`.
        position: (B, L) float32, where in its series a slice lies, 0..1.
    """

    x: Tensor
    there: Tensor
    plane: Tensor
    position: Tensor


@dataclass(frozen=True)
class Bags:
    """The slices of a task, study by study. ``first`` and ``count`` (N,) say which rows of ``x`` are a study's."""

    x: Tensor
    plane: Tensor
    position: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, features: npt.NDArray[np.floating[Any]], samples: Samples) -> Bags:
        """Of (M, D) features of ``samples.image_id``.

        Without planes or positions in ``samples`` they are 0; a plane that is none of `PLANES` is taken for ``none``.
        """
        order = np.argsort(samples.owner, kind="stable")
        count = np.bincount(samples.owner, minlength=len(samples.label))
        zeros = np.zeros(len(order))
        number = {name: at for at, name in enumerate(PLANES)}
        other = number["none"]
        plane = zeros if samples.plane is None else np.array([number.get(str(name), other) for name in samples.plane])
        position = zeros if samples.position is None else samples.position
        return cls(
            torch.from_numpy(np.ascontiguousarray(features[order], dtype=np.float32)),
            torch.from_numpy(plane[order].astype(np.int64)),
            torch.from_numpy(position[order].astype(np.float32)),
            torch.from_numpy(np.cumsum(count) - count),
            torch.from_numpy(count),
        )

    def rows(self, studies: Tensor) -> Tensor:
        """Rows of all slices of some studies."""
        count = self.count[studies]
        start = torch.repeat_interleave(self.first[studies] - (count.cumsum(0) - count), count)
        return start + torch.arange(len(start))

    def batch(self, studies: Tensor) -> Batch:
        """Some studies."""
        count = self.count[studies]
        along = torch.arange(int(count.max()))
        there = along < count[:, None]
        rows = torch.where(there, self.first[studies][:, None] + along, 0)
        x = self.x[rows].masked_fill(~there[..., None], 0.0)
        return Batch(x, there, self.plane[rows], self.position[rows])

    def standardised(self, studies: Tensor) -> Bags:
        """With features of mean 0 and standard deviation 1 over the slices of some studies."""
        own = self.x[self.rows(studies)].double()
        mean, spread = own.mean(dim=0), own.std(dim=0, correction=0)
        spread = torch.where(spread > 1e-6 * mean.abs().clamp_min(1.0), spread, torch.ones_like(spread))
        return Bags((self.x - mean.float()) / spread.float(), self.plane, self.position, self.first, self.count)


class Trained(NamedTuple):
    """The network of the best epoch, the bags that it sees (standardised by its own training part), and facts."""

    network: nn.Module
    bags: Bags
    facts: dict[str, Any]

    def predict(self, studies: Indices) -> npt.NDArray[np.float64]:
        """(N, K) class probabilities of some studies."""
        parts = []
        with torch.inference_mode():
            for piece in torch.split(torch.from_numpy(studies), EVALUATED):
                parts.append(self.network(self.bags.batch(piece)).double().softmax(dim=1))
        return np.asarray(torch.cat(parts).numpy())


def train_bags(
    make: Callable[[], nn.Module],
    bags: Bags,
    labels: npt.NDArray[np.int64],
    fit: Indices,
    validate: Indices,
    n_classes: int,
    config: BagConfig,
    seed: int,
) -> Trained:
    """Train a network on the studies ``fit``; the epoch with the least loss on the studies ``validate`` is kept.

    Args:
        make: a new network, from a `Batch` to (B, K) logits.
        bags: of all studies; those outside ``fit`` have no influence on the standardisation.
        labels: (N,) integers in 0..n_classes-1.
        fit: rows of the studies that are learned from.
        validate: rows of the studies that decide when to stop.
        n_classes: K.
        config: of the training.
        seed: of starting values, order and dropout. Equal seeds give equal networks; the global state is left alone.

    Raises:
        RunError: no epoch had a finite loss.
    """
    own, y = bags.standardised(torch.from_numpy(fit)), torch.from_numpy(labels.copy())  # from Ray it is read-only
    weight = _class_weights(labels[fit], n_classes, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        best, best_epoch, state, epoch = float("inf"), 0, copy.deepcopy(network.state_dict()), 0
        for epoch in range(1, config.epochs + 1):
            _learn(network, optimiser, own, y, torch.from_numpy(fit), weight, config.batch_size)
            loss = _loss(network, own, y, torch.from_numpy(validate), weight)
            if loss < best:
                best, best_epoch, state = loss, epoch, copy.deepcopy(network.state_dict())
            if epoch - best_epoch >= config.patience:
                break
    if not best_epoch:
        raise RunError(f"the training diverged: no epoch of {epoch} had a finite loss. Lower lr (it is {config.lr:g}).")
    network.load_state_dict(state)
    return Trained(network.eval(), own, {"best_epoch": best_epoch, "epochs": epoch, "inner_log_loss": round(best, 6)})


def _learn(
    network: nn.Module, optimiser: torch.optim.Optimizer, bags: Bags, y: Tensor, fit: Tensor, weight: Tensor, size: int
) -> None:
    """One epoch."""
    network.train()
    for studies in torch.split(fit[torch.randperm(len(fit))], size):
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(bags.batch(studies)), y[studies], weight).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _loss(network: nn.Module, bags: Bags, y: Tensor, studies: Tensor, weight: Tensor) -> float:
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(bags.batch(piece)) for piece in torch.split(studies, EVALUATED)])
    return float(nn.functional.cross_entropy(logits, y[studies], weight))


def _class_weights(labels: npt.NDArray[np.int64], n_classes: int, config: BagConfig) -> Tensor:
    """1, or with balanced classes n / (classes · class size)."""
    counts = np.bincount(labels, minlength=n_classes)
    if config.class_weight == "none":
        return torch.ones(n_classes)
    return torch.from_numpy(len(labels) / ((counts > 0).sum() * np.maximum(counts, 1))).float()
