"""Fused linear layer and soft cross-entropy: DINO and iBOT losses that never hold all scores at once.

For 65,536 prototypes the scores of a batch's masked patches take gigabytes, several times over in the forward and the
backward pass. Here they are computed a chunk of rows at a time, for teacher and student together, and dropped. As the
loss is a scalar, the chunk's gradient is known as soon as its scores are: it is added up in the forward pass, and the
backward pass scales it. So nothing is computed twice, and what is kept is as large as the bottlenecks and prototypes.

With student logits z = x·wᵀ/τ_s of one row, log p = z − ln Σ exp z and target t of mass m: H = −t·log p,
∂H/∂z = m·p − t, and x and w get it through the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from orthoray.pretrain.losses.chunked_targets import CHUNK, ChunkedTargets, parts, prepared
from orthoray.pretrain.losses.dino import by_view
from orthoray.pretrain.losses.floats import full, product, without_autocast


def chunked_dino_loss(
    targets: ChunkedTargets,
    bottlenecks: torch.Tensor,
    prototypes: torch.Tensor,
    temperature: float,
    n_global: int,
    n_views: int,
    chunk: int = CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`orthoray.pretrain.losses.dino.dino_loss`, and the teacher's entropy.

    A student's view is compared with the sum of the targets of all other views at once.

    Args:
        targets: of the ``n_global`` global views.
        bottlenecks: (n_views · B, d) of unit length, the student's views, the global ones first.
        prototypes: (K, d) of unit length, the student's.
        temperature: student temperature.
        n_global: number of global views.
        n_views: number of all views, at least 2.
        chunk: scores at a time.

    Returns:
        Loss, with gradient for ``bottlenecks`` and ``prototypes`` (once: there is no second derivative), and mean
        entropy of the targets, without; scalars in nats.
    """
    student = by_view(full(bottlenecks), n_views)
    pairs = n_global * (n_views - 1) * student.shape[1]
    weights = student.new_full((student.shape[1],), 1.0 / max(1, pairs))
    return _cross_entropy(_Job(_views(targets, n_global), weights, temperature, True, chunk), student, prototypes)


def chunked_ibot_loss(
    targets: ChunkedTargets,
    bottlenecks: torch.Tensor,
    prototypes: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
    n_images: int,
    chunk: int = CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`orthoray.pretrain.losses.ibot.ibot_loss`, and the teacher's entropy.

    Args:
        targets: of the masked patches, one view.
        bottlenecks: (M, d) of unit length, the student's for the same patches.
        prototypes: (K, d) of unit length, the student's.
        weights: (M,) 1 / number of masked patches in the patch's image.
        temperature: student temperature.
        n_images: number of images, see `ibot_loss`.
        chunk: scores at a time.

    Returns:
        As `chunked_dino_loss`; the entropy is 0 without masked patches.
    """
    student = full(bottlenecks)[None]
    shares = weights.to(student.dtype) / n_images
    return _cross_entropy(_Job(_views(targets, 1), shares, temperature, False, chunk), student, prototypes)


@dataclass(frozen=True)
class _Job:
    """What a loss needs besides the student: Σ_i weights_i · Σ_v H(Σ_{g, g≠v if others} t_gi, p_vi)."""

    targets: ChunkedTargets
    weights: torch.Tensor
    temperature: float
    others: bool
    chunk: int


def _views(targets: ChunkedTargets, n_views: int) -> ChunkedTargets:
    if len(targets.bias) != n_views:
        raise ValueError(f"targets are of {len(targets.bias)} views, not {n_views}; make them with n_views={n_views}")
    return targets


def _cross_entropy(job: _Job, student: torch.Tensor, prototypes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Student bottlenecks (V, N, d) and prototypes (K, d) → loss and mean entropy of the targets."""
    rows = len(job.targets.bottlenecks) // len(job.targets.bias)
    if rows != student.shape[1] or len(job.weights) != rows:
        raise ValueError(f"{rows} targets, {student.shape[1]} student rows and {len(job.weights)} weights per view")
    loss, entropy = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        student, full(prototypes), job, torch.is_grad_enabled()
    )
    return loss, entropy


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: torch.Tensor, prototypes: torch.Tensor, job: _Job, learns: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sums = _Sums(job, student, prototypes, [learns and need for need in ctx.needs_input_grad[:2]])
        at_once = job.chunk // len(prototypes)
        with without_autocast(student):
            for part in parts(student.shape[1], at_once // len(job.targets.bias)):
                sums.add(part, at_once)
        ctx.save_for_backward(*sums.gradients)
        entropy = sums.entropy / max(1, len(job.targets.bottlenecks))
        ctx.mark_non_differentiable(entropy)
        return sums.loss, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        student, prototypes = (found if found is None else found * gradients[0] for found in ctx.saved_tensors)
        return student, prototypes, None, None


class _Sums:
    """Loss, entropy and gradients, added up part by part of the images."""

    def __init__(self, job: _Job, student: torch.Tensor, prototypes: torch.Tensor, wanted: list[bool]) -> None:
        self.job, self.student, self.dtype = job, student, job.targets.dtype
        self.prototypes = prepared(prototypes, self.dtype)
        self.loss, self.entropy = student.new_zeros(()), student.new_zeros(())
        self.gradients = (
            torch.zeros_like(student) if wanted[0] else None,
            torch.zeros_like(prototypes) if wanted[1] else None,
        )

    def add(self, part: slice, at_once: int) -> None:
        """Take in images ``part`` of all views, ``at_once`` rows at a time."""
        logs = torch.log_softmax(self.job.targets.logits(part), dim=-1)
        single = logs.exp()  # (G, b, K)
        self.entropy -= logs.mul_(single).sum()
        del logs
        total = single.sum(dim=0)
        for views in parts(len(self.student), at_once // (part.stop - part.start)):
            self._add_views(part, views, single, total)

    def _add_views(self, part: slice, views: slice, single: torch.Tensor, total: torch.Tensor) -> None:
        """Student's ``views`` of images ``part`` against ``total`` (b, K), less their own target of ``single``."""
        rows, weights = self.student[views, part], self.job.weights[part]
        logs = product(rows.flatten(0, 1), self.prototypes.t(), self.dtype).div_(self.job.temperature)
        logs = torch.log_softmax(logs, dim=-1).view(*rows.shape[:2], -1)
        same = range(views.start, min(views.stop, len(single)) if self.job.others else views.start)
        value = -(total * logs).sum(dim=(0, 2))
        for view in same:
            value += (single[view] * logs[view - views.start]).sum(dim=-1)
        self.loss += (weights * value).sum()
        if self.gradients == (None, None):
            return
        masses = logs.new_full((len(rows), 1, 1), float(len(single)))
        masses[: len(same)] -= 1.0
        slopes = logs.exp_().mul_(masses).sub_(total)
        for view in same:
            slopes[view - views.start] += single[view]
        self._add_gradients(part, views, slopes.mul_((weights / self.job.temperature)[:, None]))

    def _add_gradients(self, part: slice, views: slice, slopes: torch.Tensor) -> None:
        """Take in the gradient (v, b, K) of the student's scores."""
        student, prototypes = self.gradients
        flat = slopes.flatten(0, 1) if self.dtype is None else slopes.flatten(0, 1).to(self.dtype)
        if student is not None:
            student[views, part] = product(flat, self.prototypes, self.dtype).view(*slopes.shape[:2], -1)
        if prototypes is not None:
            rows = self.student[views, part].flatten(0, 1)
            if self.dtype is None:
                prototypes.addmm_(flat.t(), rows)
            else:
                prototypes += product(flat.t(), rows, self.dtype)
