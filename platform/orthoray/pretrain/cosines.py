"""Cosines between bottlenecks and prototypes without ever writing the prototypes of length 1.

For 65,536 prototypes a normalised copy, and what autograd does behind it, move a matrix of 64 MiB through memory some
fifteen times a step, which on processors costs more than the products. With n_k = |w_k| the score is
s_ik = y_i·w_k / n_k, so the lengths divide the scores, and

    ∂L/∂w_k = Σ_i g_ik y_i − w_k Σ_i g_ik s_ik / n_k,    ∂L/∂y_i = Σ_k g_ik w_k,    g_ik = (∂L/∂s_ik) / n_k.
"""

from __future__ import annotations

from typing import Any

import torch

SHORTEST = 1e-12
"""Length that shorter prototypes are taken to have."""


def cosines(bottlenecks: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """Scores (B, K) of bottlenecks (B, d) of length 1 against prototypes (K, d) of any length, float32 or float64.

    Within autocast both are rounded to its type for the products. The gradient can be taken once.
    """
    device = bottlenecks.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else bottlenecks.dtype
    return _Cosines.apply(bottlenecks, prototypes, dtype)  # type: ignore[no-any-return,no-untyped-call]


class _Cosines(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bottlenecks: torch.Tensor, prototypes: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        with torch.autocast(bottlenecks.device.type, enabled=False):
            lengths = torch.linalg.vector_norm(prototypes, dim=-1).clamp_min(SHORTEST)
            rows, columns = bottlenecks.to(dtype), prototypes.to(dtype)
            scores = (rows @ columns.t()).to(bottlenecks.dtype).div_(lengths)
        ctx.save_for_backward(rows, columns, prototypes, lengths, scores)
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, columns, prototypes, lengths, scores = ctx.saved_tensors
        of_rows = of_prototypes = None
        with torch.autocast(slopes.device.type, enabled=False):
            scaled = slopes / lengths
            rounded = scaled.to(rows.dtype)
            if ctx.needs_input_grad[0]:
                of_rows = (rounded @ columns).to(slopes.dtype)
            if ctx.needs_input_grad[1]:
                along = (scaled * scores).sum(dim=0).div_(lengths)
                of_prototypes = (rounded.t() @ rows).to(slopes.dtype)
                of_prototypes.addcmul_(prototypes, along[:, None], value=-1.0)
        return of_rows, of_prototypes, None
