"""How strongly grey levels are changed."""

from __future__ import annotations

from pydantic import Field

from orthoray.config import StrictModel


class PhotometricConfig(StrictModel):
    """Strengths of the augmentations; 0 turns one off.

    ``gamma`` and ``contrast`` are half-widths of the logarithm of the factor, ``brightness`` of the shift (grey levels
    0..1), ``noise`` the largest standard deviation, ``blur_sigma`` the range in pixels of the crop.
    """

    gamma: float = Field(default=0.4, ge=0.0, le=2.0)
    contrast: float = Field(default=0.3, ge=0.0, le=2.0)
    brightness: float = Field(default=0.15, ge=0.0, le=1.0)
    noise: float = Field(default=0.03, ge=0.0, le=1.0)
    noise_probability: float = Field(default=0.5, ge=0.0, le=1.0)
    blur_probability: float = Field(default=0.3, ge=0.0, le=1.0)
    blur_sigma: tuple[float, float] = (0.4, 1.2)
    invert_probability: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Polarity inversion; off: bone is bright."
    )
