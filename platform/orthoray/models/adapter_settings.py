"""What of a pretrained backbone learns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel

AdapterKind = Literal["none", "lora", "apla", "last_k"]
"""none: everything learns."""

Target = Literal["q", "k", "v", "qkv", "proj", "mlp"]
"""Projections that LoRA adapts; ``qkv`` is short for q, k and v."""

USED = {
    "none": set[str](),
    "lora": {"rank", "alpha", "targets", "unfreeze", "norms"},
    "apla": {"fraction", "unfreeze", "norms", "seed"},
    "last_k": {"unfreeze"},
}
"""Keys that mean something for each kind; the others must be left as they are."""


class AdapterConfig(StrictModel):
    """Parameter-efficient adaptation; see `orthoray.models.adapters`. Heads always learn whole.

    ExPLoRA (arXiv:2406.10973) is ``kind: lora, targets: [q, v], rank: 64, unfreeze: 1``.
    """

    kind: AdapterKind = "none"
    rank: int = Field(default=8, ge=1, description="lora: rank of each update.")
    alpha: float = Field(default=16.0, gt=0.0, description="lora: the update is scaled by alpha / rank.")
    targets: list[Target] = Field(default=["q", "v"], min_length=1, description="lora: projections that are adapted.")
    fraction: float = Field(default=1.0, gt=0.0, le=1.0, description="apla: share of the outputs that learn, by lot.")
    unfreeze: int = Field(default=0, ge=0, description="Last blocks that learn whole, with the final norm.")
    norms: bool = Field(default=False, description="lora, apla: the norms of all blocks learn too.")
    seed: int = Field(default=0, ge=0, description="apla: of the lot.")

    @model_validator(mode="after")
    def _consistent(self) -> AdapterConfig:
        for name, field in type(self).model_fields.items():
            if name != "kind" and name not in USED[self.kind] and getattr(self, name) != field.get_default():
                raise ValueError(f"`{name}` means nothing for kind {self.kind}; leave it out")
        if self.kind == "last_k" and self.unfreeze == 0:
            raise ValueError("kind last_k needs `unfreeze`, the number of blocks that learn")
        return self
