"""What goes wrong in MR alone: bias fields and ghosts, batched on any device without waiting for it."""

from __future__ import annotations

from functools import lru_cache

import torch

DEGREE = 3
"""Of the polynomial of a bias field."""

TERMS = (DEGREE + 1) * (DEGREE + 2) // 2 - 1
"""Monomials of up to `DEGREE` in two variables, without the constant."""


def bias_gain(coefficients: torch.Tensor, strength: torch.Tensor, size: int) -> torch.Tensor:
    """Smooth gain of a receive coil: exp of a polynomial in x and y.

    The uneven sensitivity multiplies the signal and varies slowly (Sled, Zijdenbos, Evans: IEEE Trans. Med. Imaging
    17:87, 1998); a polynomial of low degree is the usual model of its logarithm (Van Leemput et al., ibid. 18:885,
    1999). The logarithm has mean 0, so that the exposure stays.

    Args:
        coefficients: (B, `TERMS`) float32, of any scale.
        strength: (B,) or (B, 1, 1, 1), largest size of the logarithm anywhere.
        size: side S of the images.

    Returns:
        (B, 1, S, S) float32, between exp(-strength) and exp(strength).
    """
    field = coefficients @ _monomials(size, coefficients.device)
    peak = field.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
    return torch.exp(field / peak * strength.reshape(-1, 1)).reshape(-1, 1, size, size)


def ghosted(x: torch.Tensor, share: torch.Tensor, period: torch.Tensor, upright: torch.Tensor) -> torch.Tensor:
    """Ghosts along the phase-encoding axis, from periodic motion (pulse, breath) between lines of k-space.

    Lines n, 2n … differ from the others by a factor, here 1 - share; that adds n - 1 copies, 1/n of the field of view
    apart (Wood, Henkelman: Med. Phys. 12:143, 1985). The line in the middle stays, and with it the mean. What comes
    out is the magnitude.

    Args:
        x: (B, 1, S, S) float32, at least 0.
        share: (B, 1, 1, 1), 0 … 1.
        period: (B, 1, 1, 1), whole numbers from 2 on: n.
        upright: (B, 1, 1, 1) bool: copies move up and down, else left and right.

    Returns:
        (B, 1, S, S) float32, at least 0.
    """
    turned = torch.where(upright, x, x.transpose(-1, -2))
    lines = torch.fft.rfft(turned, dim=-2)
    number = torch.arange(lines.shape[-2], device=x.device).reshape(1, 1, -1, 1)
    struck = (number.remainder(period) == 0) & (number > 0)
    made = torch.fft.irfft(lines * (1.0 - share * struck), n=x.shape[-2], dim=-2).abs_()
    return torch.where(upright, made, made.transpose(-1, -2))


@lru_cache(maxsize=8)
def _monomials(size: int, device: torch.device) -> torch.Tensor:
    """(`TERMS`, S · S): x^i · y^j over -1 … 1, 1 ≤ i + j ≤ `DEGREE`, each less its mean."""
    axis = torch.linspace(-1.0, 1.0, size, device=device)
    powers = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i) if i + j]
    terms = torch.stack([(axis[:, None] ** i * axis[None] ** j).flatten() for i, j in powers])
    return terms - terms.mean(dim=1, keepdim=True)
