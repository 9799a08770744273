"""Configuration of a pretraining run: its sections together, and what must hold between them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from orthoray.config import StrictModel
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.settings.data import DataConfig, DataSource
from orthoray.pretrain.settings.model import ModelConfig
from orthoray.pretrain.settings.objective import HeadConfig, TeacherConfig
from orthoray.pretrain.settings.optimiser import OptimiserConfig
from orthoray.pretrain.settings.photometric import PhotometricConfig
from orthoray.pretrain.settings.running import CheckpointConfig, ResourcesConfig

__all__ = [
    "CheckpointConfig",
    "DataConfig",
    "DataSource",
    "HeadConfig",
    "ModelConfig",
    "MultiCropConfig",
    "OptimiserConfig",
    "PhotometricConfig",
    "PretrainConfig",
    "ResourcesConfig",
    "TeacherConfig",
]


class PretrainConfig(StrictModel):
    """A DINO pretraining run. Give ``steps`` or ``epochs``; ``batch_size`` counts images over all workers."""

    out: str
    data: DataConfig
    model: ModelConfig = ModelConfig()
    head: HeadConfig = HeadConfig()
    crops: MultiCropConfig = MultiCropConfig()
    photometric: PhotometricConfig = PhotometricConfig()
    teacher: TeacherConfig = TeacherConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    koleo_weight: float = Field(default=0.0, ge=0.0)
    batch_size: int = Field(default=64, ge=2)
    epochs: float | None = Field(default=None, gt=0.0)
    steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    log_every_seconds: float = Field(default=2.0, gt=0.0)
    checkpoint: CheckpointConfig = CheckpointConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _consistent(self) -> PretrainConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of `epochs` and `steps`")
        if self.resources.workers != "auto" and self.batch_size % self.resources.workers:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared evenly by {self.resources.workers} workers"
            )
        if self.crops.global_size != self.model.img_size:
            raise ValueError(
                f"crops.global_size ({self.crops.global_size}) and model.img_size ({self.model.img_size}) must be equal"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the weights: everything but where outputs go, how often is logged and saved, and resources."""
        values = self.model_dump(mode="json")
        for key in ("out", "log_every_seconds", "checkpoint", "resources"):
            values.pop(key)
        return values
