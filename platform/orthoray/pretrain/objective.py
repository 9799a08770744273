"""The DINO objective: cross-entropy between teacher and student over pairs of different views.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", arXiv:2104.14294, equations 2–4 and
algorithm 1; Sinkhorn–Knopp centring after arXiv:2006.09882, algorithm in appendix A.
"""

from __future__ import annotations

import torch
import torch.distributed as dist

from orthoray.pretrain.settings.objective import Centring


class Centre:
    """Running mean of the teacher's scores (1, K), the same on every worker, float32.

    ``c ← m·c + (1 − m)·mean(scores)`` (equation 4); the mean is taken over the batches of all workers.
    """

    def __init__(self, prototypes: int, momentum: float, device: torch.device) -> None:
        self.value = torch.zeros(1, prototypes, device=device)
        self.momentum = momentum

    @torch.no_grad()
    def update(self, scores: torch.Tensor) -> None:
        """Take in the teacher's scores (B, K) of this step."""
        mean = scores.mean(dim=0, keepdim=True)
        if _world() > 1:
            dist.all_reduce(mean)
            mean /= _world()
        self.value = self.value * self.momentum + mean * (1.0 - self.momentum)


@torch.no_grad()
def teacher_targets(
    scores: torch.Tensor, temperature: float, centring: Centring, centre: Centre, n_views: int
) -> torch.Tensor:
    """Sharpened and centred teacher distributions.

    Args:
        scores: (n_views · B, K) float32, view after view.
        temperature: teacher temperature.
        centring: ``centre`` = softmax((s − c)/τ); ``sinkhorn_knopp`` = three rounds that give every prototype the
            same share of the batch, view by view.
        centre: running centre (read only).
        n_views: number of views in ``scores``.

    Returns:
        (n_views · B, K), each row a distribution.
    """
    if centring == "centre":
        return torch.softmax((scores - centre.value) / temperature, dim=-1)
    return torch.cat([sinkhorn_knopp(view, temperature) for view in scores.chunk(n_views)])


@torch.no_grad()
def sinkhorn_knopp(scores: torch.Tensor, temperature: float, rounds: int = 3) -> torch.Tensor:
    """Balanced assignment of the samples of all workers to prototypes; (B, K) scores in, (B, K) distributions out."""
    highest = scores.max()
    if _world() > 1:
        dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    assignment = torch.exp((scores - highest) / temperature)
    samples = torch.tensor(float(len(scores)), device=scores.device)
    _sum_over_workers(samples)
    for _ in range(rounds):
        columns = assignment.sum(dim=0, keepdim=True)
        _sum_over_workers(columns)
        assignment = assignment / columns.clamp_min(1e-30) * (samples / scores.shape[1])
        assignment = assignment / assignment.sum(dim=1, keepdim=True).clamp_min(1e-30)
    return assignment


def dino_loss(
    targets: torch.Tensor, scores: torch.Tensor, temperature: float, n_global: int, n_views: int
) -> torch.Tensor:
    """Mean cross-entropy over all pairs of a teacher's global view and a different student's view.

    Args:
        targets: (n_global · B, K) teacher distributions, view after view.
        scores: (n_views · B, K) student scores, the global views first, in the teacher's order.
        temperature: student temperature.
        n_global: number of global views.
        n_views: number of all views.

    Returns:
        Scalar, in nats.
    """
    log_student = torch.log_softmax(scores / temperature, dim=-1).chunk(n_views)
    total = scores.new_zeros(())
    pairs = 0
    for index, target in enumerate(targets.chunk(n_global)):
        for other, log_view in enumerate(log_student):
            if index != other:
                total = total - (target * log_view).sum(dim=-1).mean()
                pairs += 1
    return total / pairs


def koleo_loss(tokens: torch.Tensor) -> torch.Tensor:
    """Kozachenko–Leonenko regulariser: −mean log distance to the nearest neighbour in the batch (arXiv:1806.03198).

    Args:
        tokens: (B, D) class tokens of one view; B ≥ 2.
    """
    unit = torch.nn.functional.normalize(tokens.float(), dim=-1)
    with torch.no_grad():
        cosines = unit @ unit.t()
        nearest = cosines.fill_diagonal_(-2.0).argmax(dim=1)
    distance = (unit - unit[nearest]).norm(dim=-1)
    return -torch.log(distance + 1e-6).mean()


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _sum_over_workers(value: torch.Tensor) -> None:
    if _world() > 1:
        dist.all_reduce(value)
