"""Configuration of a pretraining run: its sections together, and what must hold between them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from orthoray.config import StrictModel
from orthoray.models.adapter_settings import AdapterConfig
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.settings.data import DataConfig, DataSource
from orthoray.pretrain.settings.doctor import DoctorConfig
from orthoray.pretrain.settings.model import ModelConfig
from orthoray.pretrain.settings.objective import GramConfig, HeadConfig, IbotConfig, LossesConfig, TeacherConfig
from orthoray.pretrain.settings.optimiser import OptimiserConfig
from orthoray.pretrain.settings.parallel import ParallelConfig
from orthoray.pretrain.settings.photometric import PhotometricConfig
from orthoray.pretrain.settings.probes import ProbesConfig
from orthoray.pretrain.settings.running import CheckpointConfig, ResourcesConfig

__all__ = [
    "AdapterConfig",
    "CheckpointConfig",
    "DataConfig",
    "DataSource",
    "GramConfig",
    "HeadConfig",
    "IbotConfig",
    "LossesConfig",
    "ModelConfig",
    "MultiCropConfig",
    "OptimiserConfig",
    "ParallelConfig",
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
    adapter: AdapterConfig = AdapterConfig()
    head: HeadConfig = HeadConfig()
    crops: MultiCropConfig = MultiCropConfig()
    photometric: PhotometricConfig = PhotometricConfig()
    teacher: TeacherConfig = TeacherConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    losses: LossesConfig = LossesConfig()
    parallel: ParallelConfig = ParallelConfig()
    doctor: DoctorConfig = DoctorConfig()
    probes: ProbesConfig = ProbesConfig()
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
        self.resources.require_even_shares(self.batch_size)
        if self.crops.global_size != self.model.img_size:
            raise ValueError(
                f"crops.global_size ({self.crops.global_size}) and model.img_size ({self.model.img_size}) must be equal"
            )
        if self.head.batch_norm and self.parallel.accumulate > 1:
            raise ValueError("head.batch_norm takes the statistics of a part: use parallel.accumulate: 1 with it")
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the weights: everything but where outputs go, how often is logged and saved, and resources."""
        values = self.model_dump(mode="json")
        for key in ("out", "log_every_seconds", "checkpoint", "parallel", "doctor", "probes", "resources"):
            values.pop(key)
        values["data"].pop("damaged")
        for source in values["data"]["datasets"]:
            if source["body_parts"] is None:  # runs begun before there was this key go on
                source.pop("body_parts")
        return values
