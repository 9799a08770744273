"""Gradient accumulation: a worker's batch goes through the student in parts, and the gradient is that of the whole.

What is exact. A loss that is a mean over the images of the batch is the weighted sum of its values over the parts, and
so is its gradient, up to rounding. DINO and iBOT are such means once the teacher's targets are given; the targets of a
batch (centring, Sinkhorn-Knopp) depend on all of its images, therefore the teacher scores the whole batch first. Gram
anchoring within each image is such a mean too.

What is not. A loss of the batch as a whole (KoLeo: nearest neighbours; Gram anchoring across images) is exact only by
`joint_gradients`, which forwards its part of the network twice. Batch normalisation in a head normalises over the part,
not over the batch. Stochastic depth and other random numbers are drawn part by part: as many, but others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import nn

from orthoray.pretrain.parallel import exchanging


def parts_of_batch(images: int, count: int) -> list[slice]:
    """At most ``count`` slices of nearly equal size that cover ``images`` images in order; none is empty."""
    edges = [images * place // min(count, images) for place in range(min(count, images) + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def take(values: torch.Tensor, n_views: int, part: slice) -> torch.Tensor:
    """Images ``part`` of each view: (n_views · B, …), view after view → (n_views · b, …), view after view."""
    if part == slice(0, len(values) // n_views):
        return values
    return torch.cat([view[part] for view in values.chunk(n_views)])


def put_together(parts: list[torch.Tensor], n_views: int) -> torch.Tensor:
    """The opposite of `take`: parts (n_views · b_i, …) in order → (n_views · B, …), view after view."""
    views = zip(*[part.chunk(n_views) for part in parts], strict=True)
    return torch.cat([piece for view in views for piece in view])


def accumulate(
    network: nn.Module, parts: list[slice], loss: Callable[[slice], tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """Add up the gradients of a batch's parts; workers exchange them once, with the last part.

    Args:
        network: what `parallelise` returned.
        parts: from `parts_of_batch`.
        loss: part → (loss to minimise, values to report), both means over the part's images; the first with a gradient,
            from one forward pass of ``network``, the second of any one shape.

    Returns:
        The reported values as means over the batch, without gradient.
    """
    images = sum(part.stop - part.start for part in parts)
    reported: list[torch.Tensor] = []
    with _numbered_draws(len(parts)) as draws:
        for index, part in enumerate(parts):
            draws(index)
            weight = (part.stop - part.start) / images
            with exchanging(network, on=index == len(parts) - 1):
                value, values = loss(part)
                (value * weight).backward()
            reported.append(values.detach() * weight)
    return torch.stack(reported).sum(dim=0)


def joint_gradients(
    parts: list[slice],
    n_views: int,
    embed: Callable[[slice], torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A loss of the whole batch's embeddings, and what to add to each part's loss to have its gradient.

    The gradient cache of Gao et al. (arXiv:2101.06983): embeddings e are computed without gradient, then ∂loss/∂e; with
    ``gradient = gradients[i]``, adding ``batch_term(embeddings, gradient, part, parts)`` in `accumulate` gives the
    exact gradient of the loss. Random numbers are drawn as `accumulate` will draw them, so stochastic depth keeps the
    same blocks, as long as ``embed`` is what the part's forward pass draws first.

    Args:
        parts: from `parts_of_batch`.
        n_views: views in what ``embed`` gives.
        embed: part → (n_views · b, …) embeddings, view after view, from the bare network.
        loss: (n_views · B, …) embeddings, view after view → scalar.

    Returns:
        The loss, without gradient, and for each part its (n_views · b, …) gradient.
    """
    with torch.no_grad(), _numbered_draws(len(parts)) as draws:
        found = []
        for index, part in enumerate(parts):
            draws(index)
            found.append(embed(part).float())
    whole = put_together(found, n_views).requires_grad_()
    value = loss(whole)
    (gradient,) = torch.autograd.grad(value, whole)
    return value.detach(), [take(gradient, n_views, part) for part in parts]


def batch_term(embeddings: torch.Tensor, gradient: torch.Tensor, part: slice, parts: list[slice]) -> torch.Tensor:
    """⟨embeddings, gradient⟩ scaled against the weight that `accumulate` gives to ``part``; its value means nothing."""
    images = sum(other.stop - other.start for other in parts)
    return (embeddings.float() * gradient).sum().div((part.stop - part.start) / images)


@contextmanager
def _numbered_draws(count: int) -> Iterator[Callable[[int], None]]:
    """Gives a function: part's number → random numbers follow from it and the seed before. One part: unchanged."""
    seed = torch.initial_seed()

    def begin(index: int) -> None:
        if count > 1:
            torch.manual_seed((seed + 0x9E3779B97F4A7C15 * (index + 1)) % 2**63)

    try:
        yield begin
    finally:
        if count > 1:
            torch.manual_seed(seed)
