"""How strongly grey levels are changed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from orthoray.config import StrictModel

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class MrArtefacts(StrictModel):
    """What goes wrong in MR alone; crops of other modalities are left as they are.

    ``bias_field``: largest size of the logarithm of a smooth gain (0.5 = between × 0.6 and × 1.65). ``ghosting``:
    largest share of their signal that every n-th lines of k-space lose, n within ``ghosts``.
    """

    bias_field: float = Field(default=0.0, ge=0.0, le=2.0)
    bias_field_probability: Probability = 0.5
    ghosting: float = Field(default=0.0, ge=0.0, le=1.0)
    ghosting_probability: Probability = 0.3
    ghosts: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=2)]] = (2, 8)

    @model_validator(mode="after")
    def _consistent(self) -> MrArtefacts:
        if self.ghosts[0] > self.ghosts[1]:
            raise ValueError("ghosts: the first number must not exceed the second")
        return self


class PhotometricConfig(StrictModel):
    """Strengths of the augmentations; 0 turns one off.

    ``window`` is the half-width of a shift of either end of the grey scale (levels 0..1), ``gamma`` and ``contrast`` of
    the logarithm of the factor, ``brightness`` of the shift, ``noise`` the largest standard deviation, ``blur_sigma``
    the range in pixels of the crop.
    """

    window: float = Field(default=0.0, ge=0.0, le=0.4)
    gamma: float = Field(default=0.4, ge=0.0, le=2.0)
    contrast: float = Field(default=0.3, ge=0.0, le=2.0)
    brightness: float = Field(default=0.15, ge=0.0, le=1.0)
    noise: float = Field(default=0.03, ge=0.0, le=1.0)
    noise_probability: Probability = 0.5
    blur_probability: Probability = 0.3
    blur_sigma: tuple[float, float] = (0.4, 1.2)
    invert_probability: Probability = Field(default=0.0, description="Polarity inversion; off: bone is bright.")
    mr: MrArtefacts = MrArtefacts()

    @model_validator(mode="after")
    def _consistent(self) -> PhotometricConfig:
        if not 0.0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ValueError("blur_sigma: two numbers above 0, of which the first must not exceed the second")
        return self
