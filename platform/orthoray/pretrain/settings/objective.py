"""Head, teacher and losses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel

Centring = Literal["centre", "sinkhorn_knopp"]


class HeadConfig(StrictModel):
    """An MLP of ``layers`` linear layers, an L2-normalised bottleneck, and unit-length prototypes."""

    prototypes: int = Field(default=65536, ge=2, le=131072)
    hidden_dim: int = Field(default=2048, ge=8)
    bottleneck_dim: int = Field(default=256, ge=4)
    layers: int = Field(default=3, ge=1, le=6)
    batch_norm: bool = Field(default=False, description="Batch normalisation in the MLP; steadies small batches.")


class TeacherConfig(StrictModel):
    """EMA teacher. Temperatures: linear from start to end over ``warmup`` (share of the run)."""

    momentum: tuple[float, float] = (0.996, 1.0)
    temperature: tuple[float, float] = (0.04, 0.07)
    temperature_warmup: float = Field(default=0.3, ge=0.0, le=1.0)
    student_temperature: float = Field(default=0.1, gt=0.0)
    centring: Centring = "centre"
    centre_momentum: float = Field(default=0.9, ge=0.0, le=1.0)


class IbotConfig(StrictModel):
    """Masked patches: of ``probability`` of the global crops a share within ``ratios`` is hidden from the student."""

    weight: float = Field(default=0.0, ge=0.0)
    head: HeadConfig | Literal["shared"] = Field(
        default="shared", description="shared = the head of class tokens; or a head of its own, with its sizes."
    )
    probability: float = Field(default=0.5, gt=0.0, le=1.0)
    ratios: tuple[float, float] = (0.1, 0.5)

    @model_validator(mode="after")
    def _consistent(self) -> IbotConfig:
        if not 0.0 < self.ratios[0] <= self.ratios[1] <= 1.0:
            raise ValueError("ratios: two numbers above 0 and up to 1, the first not above the second")
        return self


class GramConfig(StrictModel):
    """Gram anchoring: patches keep the similarities that they have in an earlier teacher, the Gram teacher.

    ``start`` (share of the run): when the teacher is first copied; before it the loss is off. ``every_steps``: steps
    between further copies, none = the first copy stays.
    """

    weight: float = Field(default=0.0, ge=0.0)
    start: float = Field(default=0.5, ge=0.0, lt=1.0)
    every_steps: int | None = Field(default=None, ge=1)


class LossesConfig(StrictModel):
    """Weights of the losses. KoLeo counts as the mean over the two views (0.2 is what DINOv2 calls 0.1)."""

    dino: float = Field(default=1.0, ge=0.0)
    koleo: float = Field(default=0.0, ge=0.0)
    ibot: IbotConfig = IbotConfig()
    gram: GramConfig = GramConfig()

    @model_validator(mode="after")
    def _consistent(self) -> LossesConfig:
        if self.dino == 0.0 and self.ibot.weight == 0.0:
            raise ValueError("neither dino nor ibot has a weight: nothing would be learnt")
        return self
