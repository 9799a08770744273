"""Which parts of an image are shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from orthoray.config import StrictModel
from orthoray.pretrain.settings.data import Modality

Share = Annotated[float, Field(gt=0.0, le=1.0)]
Scale = tuple[Share, Share]

GAP_MM = 5.0


def _off(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads a bare `off` as false


Flip = Annotated[Literal["off", "horizontal", "horizontal_anyway"], BeforeValidator(_off)]


class ModalityScales(StrictModel):
    """Scales of one modality; what is left out is as for all others."""

    global_scale: Scale | None = None
    local_scale: Scale | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModalityScales:
        _check_order(self)
        return self


class MultiCropConfig(StrictModel):
    """Sizes in pixels, scales as shares of the image's area, rotation in degrees.

    A phase of higher resolution is a run of its own with larger sizes (512 and 112, say) that continues from the
    weights of the one before. Horizontal flips exchange left and right, and with them medial and lateral.
    """

    global_size: int = Field(default=224, ge=16)
    global_scale: Scale = (0.4, 1.0)
    n_global: int = Field(default=2, ge=2, le=2)
    local_size: int = Field(default=96, ge=8)
    local_scale: Scale = (0.05, 0.4)
    n_local: int = Field(default=8, ge=0)
    by_modality: dict[Modality, ModalityScales] = Field(
        default_factory=dict, description="Scales of XR or MR, where they differ."
    )
    aspect: float = Field(default=1.33, ge=1.0, description="Largest ratio of a crop's sides before resizing.")
    rotation: float = Field(default=0.0, ge=0.0, le=180.0, description="Largest angle, either way.")
    canonical_laterality: bool = Field(
        default=False, description="Mirror left joints, so that all look like right ones, where an image shows sides."
    )
    flip: Flip = Field(
        default="off",
        description="Mirror every other crop by lot. `horizontal` needs canonical_laterality; `horizontal_anyway` not.",
    )
    second_view: Literal["same", "neighbour"] = Field(
        default="same", description="Image of the second global crop: the same, or another slice of its series (MR)."
    )
    max_gap_mm: float = Field(
        default=GAP_MM, gt=0.0, description="neighbour: largest distance. Unknown spacing: only the next slices."
    )

    @model_validator(mode="after")
    def _consistent(self) -> MultiCropConfig:
        _check_order(self)
        if self.flip == "horizontal" and not self.canonical_laterality:
            raise ValueError(
                "flip: horizontal exchanges medial and lateral where left and right joints are mixed. Set "
                "canonical_laterality: true, or consent with flip: horizontal_anyway"
            )
        if self.second_view == "same" and self.max_gap_mm != GAP_MM:
            raise ValueError("`max_gap_mm` means nothing with second_view: same; leave it out")
        return self

    def scales(self, modality: Modality | None) -> tuple[Scale, Scale]:
        """Scales of the global and of the local crops of a modality."""
        own = self.by_modality.get(modality, ModalityScales()) if modality else ModalityScales()
        return own.global_scale or self.global_scale, own.local_scale or self.local_scale


def _check_order(made: MultiCropConfig | ModalityScales) -> None:
    for name in ("global_scale", "local_scale"):
        low, high = getattr(made, name) or (0.0, 0.0)
        if low > high:
            raise ValueError(f"{name}: the first number must not exceed the second")
