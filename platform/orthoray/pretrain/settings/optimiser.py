"""How weights are changed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orthoray.config import Auto, StrictModel

Schedule = Literal["cosine", "linear", "constant"]


class OptimiserConfig(StrictModel):
    """AdamW. ``lr`` auto = 5e-4 · batch / 256 (DINO's rule); ``warmup`` is a share of the run."""

    lr: float | Auto = "auto"
    lr_end: float = Field(default=1e-6, ge=0.0)
    schedule: Schedule = Field(default="cosine", description="From the peak to lr_end; constant stays at the peak.")
    warmup: float = Field(default=0.1, ge=0.0, le=1.0)
    weight_decay: tuple[float, float] = (0.04, 0.4)
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Factor of the learning rate from one block to the one below."
    )
    patch_embed_factor: float = Field(
        default=1.0, ge=0.0, le=1.0, description="Further factor for the patch embedding; DINOv2 has 0.2."
    )
    clip: float = Field(default=3.0, gt=0.0, description="Largest norm of the gradient of backbone and of each head.")
    freeze_last_layer: float = Field(
        default=0.01, ge=0.0, le=1.0, description="Share of the run with fixed prototypes."
    )
