"""Settings of the protocols that learn from frozen features by gradient descent: MIL, transformer, 52 SGD heads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel


class BagConfig(StrictModel):
    """How networks over the slices of a study are trained: AdamW, stopped by inner validation.

    ``hidden``: width. ``members``: networks whose probabilities are averaged. The training patients are divided into
    `parts`; each member holds out another part, by whose loss its best epoch is chosen, and its training ends after
    ``patience`` epochs without a better one. ``batch_size``: studies per step.
    """

    hidden: int = Field(default=128, ge=8, le=4096)
    dropout: float = Field(default=0.25, ge=0.0, lt=1.0)
    lr: float = Field(default=1e-3, gt=0.0, le=1.0)
    weight_decay: float = Field(default=1e-2, ge=0.0)
    epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=10, ge=1)
    batch_size: int = Field(default=16, ge=1)
    members: int = Field(default=5, ge=1, le=20)
    class_weight: Literal["none", "balanced"] = "none"

    def parts(self) -> int:
        """Parts of the training patients, as many as members but five at least; fewer where a class is rarer."""
        return max(5, self.members)


class MilConfig(BagConfig):
    """Gated attention over slices (Ilse et al., arXiv:1802.04712)."""


class TransformerConfig(BagConfig):
    """A transformer of ``layers`` layers over slices, of ``heads`` heads each."""

    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    lr: float = Field(default=5e-4, gt=0.0, le=1.0)
    layers: int = Field(default=2, ge=1, le=12)
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> TransformerConfig:
        if self.hidden % self.heads or self.hidden % 2:
            raise ValueError(f"hidden={self.hidden} must be even and a multiple of heads={self.heads}")
        return self


class SgdConfig(StrictModel):
    """52 linear heads at once, as DINOv2 trains them; ``batch_size`` samples per step, all where there are fewer."""

    iterations: int = Field(default=1250, ge=1)
    batch_size: int = Field(default=128, ge=1)
