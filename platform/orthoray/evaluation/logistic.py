"""Many logistic regressions on the same features, solved together by L-BFGS on a processor or a GPU.

Strengths of regularisation, folds, fractions and seeds of one (model, task) differ only in C and in which rows they are
fitted on. All of them share every pass over the features: one product for the logits and one for the gradients. A
problem that has converged leaves the batch. Each problem standardises the features by its own rows, as a scikit-learn
pipeline of ``StandardScaler`` and ``LogisticRegression`` does, without a copy of them.

L-BFGS: Nocedal and Wright, Numerical Optimization, algorithm 7.4, with a backtracking line search (Armijo).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

MEMORY, ARMIJO, HALVINGS = 10, 1e-4, 30
GAP = 5e-5
"""Largest distance to the optimum of `Solution.objective` at which a problem may have converged."""

CHUNK = 1 << 24
"""Logits that are held at a time."""


class Solution(NamedTuple):
    """P fitted problems of D features and K classes; M = 1 column for two classes, else K.

    Attributes:
        weights: (P, M, D) of standardised features.
        intercept: (P, M); -inf for a class that a problem's rows do not have.
        mean: (P, D) of a problem's rows.
        scale: (P, D) their population standard deviation, 1 where it is 0.
        objective: (P,) weighted mean loss + ‖weights‖² / (2 C Σ w), whose minimum is scikit-learn's.
        iterations: (P,).
        converged: (P,) bool; True also where rounding leaves no step that descends.
    """

    weights: Tensor
    intercept: Tensor
    mean: Tensor
    scale: Tensor
    objective: Tensor
    iterations: Tensor
    converged: Tensor

    def only(self, chosen: list[int]) -> Solution:
        """Some of the problems."""
        return Solution(*(part[chosen] for part in self))

    def logits(self, x: Tensor) -> Tensor:
        """(N, D) features → (P, N, M)."""
        folded, shift = _folded(self.weights, self.intercept, self.mean, self.scale)
        return (x @ folded.flatten(0, 1).t()).view(len(x), *shift.shape).transpose(0, 1) + shift[:, None]

    def probabilities(self, x: Tensor) -> Tensor:
        """(N, D) features → (P, N, K), rows that sum to 1."""
        found = self.logits(x)
        if found.shape[-1] > 1:
            return found.softmax(dim=-1)
        positive = found.sigmoid()
        return torch.cat([1.0 - positive, positive], dim=-1)


def solve(
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    c: Tensor,
    classes: int,
    *,
    start: Solution | None = None,
    max_iter: int = 500,
    tol: float = 1e-5,
) -> Solution:
    """Fit P problems.

    Args:
        x: (N, D) features, float64 (or float32 for speed on a GPU); one device for all tensors.
        y: (N,) int64 labels 0..K-1.
        weights: (P, N) of the rows in each problem, 0 = not one of its rows. Standardisation counts each row once.
        c: (P,) inverse strength of regularisation, as scikit-learn's ``C``.
        classes: K.
        start: solution of the same problems for another C, from which to go on; None = all weights 0.
        max_iter: iterations at most.
        tol: largest component of the gradient of `Solution.objective` at which a problem may have converged. Its
            distance to the optimum is `GAP` at most, too: the objective is nowhere below 0, and its curvature nowhere
            below 1 / (C Σ w), so that distance is less than the objective, and than ‖gradient‖² C Σ w / 2.

    Raises:
        ValueError: a problem whose rows have fewer than two classes.
    """
    standard = _standardisation(x, weights > 0) if start is None else (start.mean, start.scale)
    batch = _Batch.of(x, y, weights, c, classes, standard)
    if start is None:
        point = x.new_zeros(len(c), (x.shape[1] + 1) * batch.columns)
    else:
        point = torch.cat([start.weights, start.intercept.nan_to_num(neginf=0.0)[..., None]], dim=2).flatten(1)
    found = _minimise(batch, point, max_iter, tol)
    parts = found.point.view(len(c), batch.columns, -1)
    lowest = parts[..., -1] + batch.absent
    return Solution(parts[..., :-1], lowest, batch.mean, batch.scale, found.value, found.iterations, found.converged)


def _folded(weights: Tensor, intercept: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (P, M, D) and intercepts (P, M) for features that are not standardised."""
    folded = weights / scale[:, None]
    return folded, intercept - torch.einsum("pd,pmd->pm", mean, folded)


def _standardisation(x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """(P, D) means and standard deviations of each problem's rows, by the rows ``inside`` (P, N) alone.

    Problems that differ in C only share them.
    """
    sets, of = torch.unique(inside, dim=0, return_inverse=True)
    means, spreads = [], []
    for rows in sets:
        own = x[rows]
        means.append(own.mean(dim=0))
        spreads.append((own - means[-1]).square().mean(dim=0).sqrt())
    mean, spread = torch.stack(means)[of], torch.stack(spreads)[of]
    constant = spread <= 10 * torch.finfo(x.dtype).eps * mean.abs()
    return mean, torch.where(constant, torch.ones_like(spread), spread)


@dataclass(frozen=True)
class _Batch:
    """Problems and what evaluating them needs. ``absent`` (P, M): -inf for classes without rows, else 0."""

    x: Tensor
    y: Tensor
    weights: Tensor
    penalty: Tensor
    mean: Tensor
    scale: Tensor
    absent: Tensor

    @classmethod
    def of(
        cls, x: Tensor, y: Tensor, weights: Tensor, c: Tensor, classes: int, standard: tuple[Tensor, Tensor]
    ) -> _Batch:
        counts = (weights > 0).to(x.dtype) @ torch.nn.functional.one_hot(y, classes).to(x.dtype)
        if ((counts > 0).sum(dim=1) < 2).any():
            raise ValueError("a problem's rows have fewer than two classes: a probe cannot be fitted.")
        total = weights.sum(dim=1, keepdim=True)
        if classes == 2:
            absent = x.new_zeros(len(c), 1)
        else:
            absent = torch.zeros_like(counts).masked_fill(counts == 0, -torch.inf)
        return cls(x, y, weights / total, 1.0 / (c[:, None] * total), *standard, absent)

    def done(self, value: Tensor, slope: Tensor, tol: float) -> Tensor:
        """(P,) bool: who has converged, see `solve`."""
        distance = torch.minimum(value, slope.square().sum(dim=1) / (2.0 * self.penalty[:, 0]))
        return (slope.abs().amax(dim=1) <= tol) & (distance <= GAP)

    @property
    def columns(self) -> int:
        """M."""
        return self.absent.shape[1]

    def only(self, chosen: Tensor) -> _Batch:
        """Some of the problems."""
        kept = (part[chosen] for part in (self.weights, self.penalty, self.mean, self.scale, self.absent))
        return _Batch(self.x, self.y, *kept)

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """(P,) objectives and (P, M · (D + 1)) gradients at ``point``."""
        parts = point.view(len(point), self.columns, -1)
        learnt = parts[..., :-1]
        folded, shift = _folded(learnt, parts[..., -1] + self.absent, self.mean, self.scale)
        flat, offset = folded.flatten(0, 1).t(), shift.flatten()
        loss, slope = point.new_zeros(len(point)), point.new_zeros(len(offset), self.x.shape[1])
        bias = torch.zeros_like(offset)
        side = max(1, CHUNK // len(offset))
        for first in range(0, len(self.x), side):
            rows = slice(first, first + side)
            x, share = self.x[rows], self.weights[:, rows].t()
            logits = torch.addmm(offset, x, flat).view(len(x), *shift.shape)
            part, error = self._loss(logits, self.y[rows])
            loss += torch.where(share > 0, part, 0.0).mul_(share).sum(dim=0)
            error = error.mul_(share[:, :, None]).flatten(1)
            slope.addmm_(error.t(), x)
            bias += error.sum(dim=0)
        whole = torch.empty_like(parts)
        whole[..., -1] = bias.view_as(shift)
        whole[..., :-1] = (slope.view_as(learnt) - self.mean[:, None] * whole[..., -1:]) / self.scale[:, None]
        whole[..., :-1] += self.penalty[:, :, None] * learnt
        return loss + 0.5 * self.penalty[:, 0] * learnt.square().sum(dim=(1, 2)), whole.flatten(1)

    def _loss(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(n, P) losses of (n, P, M) logits and their derivatives (n, P, M); inf for a class that is absent."""
        if self.columns == 1:
            own, target = logits[..., 0], y.to(logits.dtype)[:, None]
            return torch.nn.functional.softplus(own) - target * own, (own.sigmoid() - target)[..., None]
        share = logits.log_softmax(dim=-1)
        chosen = y[:, None, None].expand(*share.shape[:2], 1)
        known = share.gather(2, chosen)
        error = share.exp_()
        return -known[..., 0], error.scatter_add_(2, chosen, torch.full_like(known, -1.0))


class _Found(NamedTuple):
    point: Tensor
    value: Tensor
    iterations: Tensor
    converged: Tensor


def _minimise(batch: _Batch, point: Tensor, max_iter: int, tol: float) -> _Found:
    """L-BFGS on all problems at once; those that are done leave."""
    value, slope = batch.evaluate(point)
    found = _Found(point, value, torch.zeros(len(point), dtype=torch.long), batch.done(value, slope, tol))
    going = torch.arange(len(point), device=point.device)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    for iteration in range(1, max_iter + 1):
        kept = ~found.converged[going]
        if not kept.all():
            going, slope = going[kept], slope[kept]
            steps, changes = [one[kept] for one in steps], [one[kept] for one in changes]
        if not len(going):
            break
        active = batch.only(going)
        way = -_direction(slope, steps, changes)
        if not steps:
            way = way / way.abs().sum(dim=1, keepdim=True).clamp_min(1.0)
        moved, reached, steeper, stuck = _search(active, found.point[going], found.value[going], slope, way)
        steps, changes = [*steps, moved - found.point[going]][-MEMORY:], [*changes, steeper - slope][-MEMORY:]
        slope = steeper
        found.point[going], found.value[going], found.iterations[going.cpu()] = moved, reached, iteration
        found.converged[going] = active.done(reached, slope, tol) | stuck
    return found


def _direction(slope: Tensor, steps: list[Tensor], changes: list[Tensor]) -> Tensor:
    """The two loops of L-BFGS for every problem; pairs without positive curvature count nothing."""
    way, factors = slope, []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        curvature = (step * change).sum(dim=1, keepdim=True)
        inverse = torch.where(curvature > 0, 1.0 / curvature.clamp_min(torch.finfo(slope.dtype).tiny), 0.0)
        factor = inverse * (step * way).sum(dim=1, keepdim=True)
        way = way - factor * change
        factors.append((inverse, factor))
    if steps:
        curvature = (steps[-1] * changes[-1]).sum(dim=1, keepdim=True)
        size = changes[-1].square().sum(dim=1, keepdim=True)
        way = torch.where(curvature > 0, way * (curvature / size.clamp_min(torch.finfo(slope.dtype).tiny)), way)
    for step, change, (inverse, factor) in zip(steps, changes, reversed(factors), strict=True):
        way = way + step * (factor - inverse * (change * way).sum(dim=1, keepdim=True))
    return way


def _search(
    batch: _Batch, point: Tensor, value: Tensor, slope: Tensor, way: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Halve each problem's step until it descends enough. Returns points, values, gradients, and who cannot descend."""
    fall = (slope * way).sum(dim=1)
    uphill = fall >= 0
    way = torch.where(uphill[:, None], -slope, way)
    fall = torch.where(uphill, -slope.square().sum(dim=1), fall)
    moved, reached, steeper = point.clone(), value.clone(), slope.clone()
    pending, length = torch.arange(len(point), device=point.device), torch.ones_like(value)
    for _ in range(HALVINGS):
        tried = point[pending] + length[pending, None] * way[pending]
        new, gradient = batch.only(pending).evaluate(tried)
        good = new <= value[pending] + ARMIJO * length[pending] * fall[pending]
        done = pending[good]
        moved[done], reached[done], steeper[done] = tried[good], new[good], gradient[good]
        pending = pending[~good]
        if not len(pending):
            break
        length[pending] *= 0.5
    stuck = torch.zeros(len(point), dtype=torch.bool, device=point.device)
    stuck[pending] = True
    return moved, reached, steeper, stuck
