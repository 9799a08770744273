"""The DINO objective: cross-entropy between teacher and student over pairs of different views.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", arXiv:2104.14294, equations 2–4 and
algorithm 1.
"""

from __future__ import annotations

import torch

from orthoray.pretrain.losses.floats import full
from orthoray.pretrain.losses.sinkhorn import sinkhorn_knopp
from orthoray.pretrain.losses.workers import sum_over_workers
from orthoray.pretrain.settings.objective import Centring


class Centre:
    """Running mean of the teacher's scores (1, K), the same on every worker, float32.

    ``c ← m·c + (1 − m)·mean(scores)`` (equation 4); the mean is taken over the rows of all workers, of which some may
    have more than others. Class tokens and masked patches have a centre each.
    """

    def __init__(self, prototypes: int, momentum: float, device: torch.device) -> None:
        self.value = torch.zeros(1, prototypes, device=device)
        self.momentum = momentum

    @torch.no_grad()
    def update(self, scores: torch.Tensor) -> None:
        """Take in the teacher's scores (n, K) of this step."""
        self.take_in(full(scores).sum(dim=0), len(scores))

    @torch.no_grad()
    def take_in(self, total: torch.Tensor, rows: int) -> None:
        """Take in the sum (K,) of this worker's scores over so many rows; without rows anywhere the centre stays."""
        counted = sum_over_workers(torch.cat([total, total.new_full((1,), float(rows))]))
        total, count = counted[:-1], counted[-1]
        moved = self.value * self.momentum + total / count * (1.0 - self.momentum)
        self.value = torch.where(count > 0, moved, self.value).to(self.value.dtype)


@torch.no_grad()
def teacher_targets(
    scores: torch.Tensor, temperature: float, centring: Centring, centre: Centre, n_views: int
) -> torch.Tensor:
    """Sharpened and centred teacher distributions, of class tokens or (with one view) of masked patches.

    Args:
        scores: (n_views · B, K), view after view.
        temperature: teacher temperature.
        centring: ``centre`` = softmax((s − c)/τ); ``sinkhorn_knopp`` = three rounds that give every prototype the
            same share of the batch, view by view (SwAV); with ``n_views`` = 1, of all views together (DINOv2).
        centre: running centre (read only).
        n_views: number of views in ``scores`` that are balanced one by one.

    Returns:
        (n_views · B, K) float32, each row a distribution.
    """
    if centring == "centre":
        return torch.softmax((full(scores) - centre.value) / temperature, dim=-1)
    return torch.cat([sinkhorn_knopp(view, temperature) for view in by_view(scores, n_views)])


def dino_loss(
    targets: torch.Tensor, scores: torch.Tensor, temperature: float, n_global: int, n_views: int
) -> torch.Tensor:
    """Mean cross-entropy over all pairs of a teacher's global view and a different student's view.

    Equation 3 divided by the number of pairs. Cross-entropy is linear in the target and in the logarithm, so that the
    sum over all pairs is one product of sums over views, less the pairs of the same view:
    Σ_{g≠v} H(t_g, p_v) = −(Σ_g t_g)·(Σ_v log p_v) + Σ_g t_g·log p_g.

    Args:
        targets: (n_global · B, K) teacher distributions, view after view.
        scores: (n_views · B, K) student scores, the global views first, in the teacher's order.
        temperature: student temperature.
        n_global: number of global views.
        n_views: number of all views, at least 2.

    Returns:
        Scalar, in nats.
    """
    teacher = by_view(targets, n_global)
    student = by_view(torch.log_softmax(full(scores) / temperature, dim=-1), n_views)
    seen, unseen = torch.split(student, [n_global, n_views - n_global])  # one gradient, where a slice's is another
    same = (teacher * seen).sum()
    every = (teacher.sum(dim=0) * (seen.sum(dim=0) + unseen.sum(dim=0))).sum()
    return (same - every) / (n_global * (n_views - 1) * teacher.shape[1])


def by_view(values: torch.Tensor, n_views: int) -> torch.Tensor:
    """(n_views · B, …), view after view → (n_views, B, …); ValueError if the views are not equally long."""
    if len(values) % n_views:
        raise ValueError(f"{len(values)} rows are not {n_views} views of the same images")
    return values.reshape(n_views, len(values) // n_views, *values.shape[1:])
