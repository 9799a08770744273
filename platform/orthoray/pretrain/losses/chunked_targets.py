"""The teacher's distributions, chunk by chunk: never more scores at once than a chunk of rows has.

A row's target is softmax_k(y·v_k/τ + b_k) of its bottleneck y and the prototypes v, whichever the centring:
b = −c/τ with a centre c (arXiv:2104.14294, equation 4), b = the logarithm of the columns' scaling with Sinkhorn–Knopp
(`orthoray.pretrain.losses.sinkhorn`). So (K,) numbers stand for all targets, which are computed again where needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from orthoray.pretrain.losses.dino import Centre, by_view
from orthoray.pretrain.losses.floats import full, product, without_autocast
from orthoray.pretrain.losses.sinkhorn import ROUNDS, logsum_over_workers, rows_of_workers
from orthoray.pretrain.losses.workers import sum_over_workers
from orthoray.pretrain.settings.objective import Centring

CHUNK = 2**24
"""Scores (rows · prototypes) of a chunk: 64 MiB in float32, of which a loss needs about five at a time."""


@dataclass(frozen=True)
class ChunkedTargets:
    """Distributions softmax(y·vᵀ/τ + b) that have not been computed.

    Attributes:
        bottlenecks: (n_views · B, d) y of unit length, view after view, no gradient.
        prototypes: (K, d) v of unit length, no gradient.
        temperature: τ.
        bias: (n_views, K) b, float32.
        dtype: type that factors of scores are rounded to, see `product`.
    """

    bottlenecks: torch.Tensor
    prototypes: torch.Tensor
    temperature: float
    bias: torch.Tensor
    dtype: torch.dtype | None = None

    def of_part(self, part: slice) -> ChunkedTargets:
        """Those of some images of each view, when a batch goes through the student in parts."""
        rows = by_view(self.bottlenecks, len(self.bias))[:, part].flatten(0, 1)
        return replace(self, bottlenecks=rows)

    def logits(self, part: slice) -> torch.Tensor:
        """(n_views, b, K) logits (up to a constant per row) of images ``part`` of each view."""
        rows = by_view(self.bottlenecks, len(self.bias))[:, part]
        scores = product(rows.flatten(0, 1), self.prototypes.t(), self.dtype).div_(self.temperature)
        return scores.view(*rows.shape[:2], -1).add_(self.bias[:, None])


@dataclass(frozen=True)
class TargetMeasures:
    """How the teacher uses its prototypes.

    Attributes:
        entropy: mean entropy of the rows' targets, nats; ln K = uniform.
        share: (K,) mean target; 1/K each when all prototypes are used alike.
        favourite: (n,) the prototype that each row gives most to.
    """

    entropy: torch.Tensor
    share: torch.Tensor
    favourite: torch.Tensor


@torch.no_grad()
def chunked_targets(
    bottlenecks: torch.Tensor,
    prototypes: torch.Tensor,
    temperature: float,
    centring: Centring,
    centre: Centre,
    n_views: int,
    *,
    dtype: torch.dtype | None = None,
    chunk: int = CHUNK,
) -> ChunkedTargets:
    """What `orthoray.pretrain.losses.dino.teacher_targets` gives, uncomputed.

    Args:
        bottlenecks: (n_views · B, d) of unit length, view after view; of masked patches: one view of any length.
        prototypes: (K, d) of unit length.
        temperature: teacher temperature.
        centring: see `teacher_targets`. Sinkhorn–Knopp computes the scores once for each of its rounds.
        centre: running centre (read only).
        n_views: number of views, balanced one by one.
        dtype: type that factors of scores are rounded to, see `product`.
        chunk: scores at a time.
    """
    bottlenecks, prototypes = full(bottlenecks), prepared(prototypes, dtype)
    if centring == "centre":
        bias = (centre.value.to(bottlenecks.dtype) / -temperature).expand(n_views, -1)
    else:
        views = by_view(bottlenecks, n_views)
        bias = torch.stack([sinkhorn_bias(view, prototypes, temperature, dtype=dtype, chunk=chunk) for view in views])
    return ChunkedTargets(bottlenecks, prototypes, temperature, bias, dtype)


@torch.no_grad()
def sinkhorn_bias(
    bottlenecks: torch.Tensor,
    prototypes: torch.Tensor,
    temperature: float,
    rounds: int = ROUNDS,
    *,
    dtype: torch.dtype | None = None,
    chunk: int = CHUNK,
) -> torch.Tensor:
    """Logarithm of the columns' scaling after Sinkhorn–Knopp over the rows of all workers.

    With g the logarithm so far, the rows are softmax(S/τ + g). A round's division of column k by its sum c_k, so that
    it holds n/K, adds ln(n/K) − ln c_k to g_k. Rows' scaling is never kept. As in `sinkhorn_knopp` the first round
    takes logarithms, and in the others c_k is 1/K at least.

    Args:
        bottlenecks: (n, d) of unit length, n as it may be on each worker (0 too).
        prototypes: (K, d) of unit length.
        temperature: τ.
        rounds: at least 1.
        dtype: see `product`.
        chunk: scores at a time.

    Returns:
        (K,) g; `sinkhorn_knopp` of the scores is softmax(S/τ + g). Without rows on any worker it means nothing.
    """
    if rounds < 1:
        raise ValueError(f"Sinkhorn–Knopp needs at least one round, not {rounds}")
    bottlenecks, prototypes = full(bottlenecks), prepared(prototypes, dtype)
    with without_autocast(bottlenecks):
        share = (rows_of_workers(bottlenecks) / len(prototypes)).log()
        pieces = list(parts(len(bottlenecks), chunk // len(prototypes)))

        def scaled(part: slice) -> torch.Tensor:
            return product(bottlenecks[part], prototypes.t(), dtype).div_(temperature)

        sums = bottlenecks.new_full((len(prototypes),), -torch.inf)
        for part in pieces:
            sums = torch.logaddexp(sums, torch.logsumexp(scaled(part), dim=0))
        bias = share - logsum_over_workers(sums)
        for _ in range(rounds - 1):
            sums = torch.zeros_like(bias)
            for part in pieces:
                sums += torch.softmax(scaled(part).add_(bias), dim=1).sum(dim=0)
            bias += share - sum_over_workers(sums).log_()
    return bias


@torch.no_grad()
def update_centre(centre: Centre, bottlenecks: torch.Tensor, prototypes: torch.Tensor) -> None:
    """`Centre.update` without scores: their sum over the rows is the score of the sum of the rows (n, d)."""
    with without_autocast(bottlenecks):
        centre.take_in(full(prototypes) @ full(bottlenecks).sum(dim=0), len(bottlenecks))


@torch.no_grad()
def target_measures(targets: ChunkedTargets, chunk: int = CHUNK) -> TargetMeasures:
    """Measures of all rows (n = n_views · B) of this worker; computes the scores once more."""
    views, prototypes = len(targets.bias), len(targets.prototypes)
    images = len(targets.bottlenecks) // views
    entropy = targets.bottlenecks.new_zeros(())
    share = targets.bottlenecks.new_zeros(prototypes)
    favourite = []
    with without_autocast(targets.bottlenecks):
        for part in parts(images, chunk // (views * prototypes)):
            logs = torch.log_softmax(targets.logits(part), dim=-1)
            favourite.append(logs.argmax(dim=-1))
            found = logs.exp()
            share += found.sum(dim=(0, 1))
            entropy -= logs.mul_(found).sum()
    rows = max(1, len(targets.bottlenecks))
    empty = share.new_zeros(views, 0, dtype=torch.int64)
    return TargetMeasures(entropy / rows, share / rows, torch.cat([empty, *favourite], dim=1).flatten())


def prepared(prototypes: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """Prototypes without gradient, in the type that products need, so that it is not made chunk by chunk."""
    return full(prototypes.detach()) if dtype is None else prototypes.detach().to(dtype)


def parts(rows: int, at_once: int) -> Iterator[slice]:
    """Slices that cover ``rows`` rows in order, ``at_once`` (at least 1) at a time."""
    step = max(1, at_once)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
