"""The backbone of a run, and where it starts."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orthoray.config import Auto, StrictModel
from orthoray.models.backbone import Start
from orthoray.models.features import Normalisation
from orthoray.models.folding import SourceNormalisation
from orthoray.models.rope import Rope


class ModelConfig(StrictModel):
    """The backbone by its timm name; ``kwargs`` go to timm (depth, embed_dim, num_heads …)."""

    backbone: str = "vit_small_patch16_224"
    img_size: int = Field(default=224, ge=16)
    patch_size: int | Auto = "auto"
    kwargs: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = Field(
        default=None,
        description="File, folder or URL of weights to continue from, or timm:TAG; none = from scratch.",
    )
    rope: Rope = Field(default="on", description="Rotary positions of a DINOv3 network; off: it is blind to position.")
    source_normalisation: SourceNormalisation | None = Field(
        default=None,
        description="Mean and SD per channel that the weights were trained with, folded in: features stay theirs.",
    )
    start: Start = Field(default="timm", description="Starting values without weights.")
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    normalisation: Normalisation = Normalisation()
    freeze_backbone_steps: int = Field(default=0, ge=0, description="Steps in which only the new head learns.")
    ramp_backbone_steps: int = Field(
        default=0, ge=0, description="Steps after these in which the backbone's learning rate rises from 0 to its own."
    )
