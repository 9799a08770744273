"""In which precision losses are computed: float32, whatever the network runs in; float64 stays float64."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def full(values: torch.Tensor) -> torch.Tensor:
    """``values`` as float32, or as they are if float64."""
    return values if values.dtype == torch.float64 else values.float()


def without_autocast(values: torch.Tensor) -> AbstractContextManager[None]:
    """In here matrix products on the device of ``values`` keep the type of their factors."""
    return torch.autocast(values.device.type, enabled=False)


def product(left: torch.Tensor, right: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Matrix product (m, d) · (d, n) of float32 or float64 factors.

    Args:
        left: first factor.
        right: second factor; may already be of type ``dtype``.
        dtype: None = as the factors are; bfloat16 or float16 = factors are rounded to it, and products of them added up
            and returned in float32.
    """
    if dtype is None:
        return left @ right
    left, right = left.to(dtype), right.to(dtype)
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
