"""Cox's partial likelihood as a loss for heads that are trained by gradient descent."""

from __future__ import annotations

import torch
from torch import Tensor


def cox_loss(scores: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Negative log partial likelihood per event, ties by Breslow (Cox 1972; Breslow 1974).

    Args:
        scores: (B,) log hazards; computed on in float32 or float64. Only differences count.
        time: (B,) > 0, to the event or to the end of observation.
        event: (B,) 1 = it happened, 0 = observation ended; bool or any number.

    Returns:
        Scalar: the mean over events of log Σ exp(score) of everybody who is still at risk, minus the score. 0, with
        gradients of 0, for a batch without an event: the risk set is the batch, so batches should be large, and
        sampled such that events occur.

    Raises:
        ValueError: shapes that do not fit.
    """
    if scores.ndim != 1 or time.shape != scores.shape or event.shape != scores.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (scores, time, event))
        raise ValueError(f"scores, time and event have shapes {shapes}; expected (B,) three times")
    own = scores if scores.dtype == torch.float64 else scores.float()
    order = torch.argsort(time, descending=True)
    own, when, happened = own[order], time[order], event[order].to(own.dtype)
    at_risk = torch.logcumsumexp(own, dim=0)[torch.searchsorted(-when, -when, right=True) - 1]
    return (happened * (at_risk - own)).sum() / happened.sum().clamp_min(1.0)
