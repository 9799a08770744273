"""Configuration of a pretraining run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from orthoray.config import Auto, StrictModel
from orthoray.models.backbone import Start
from orthoray.models.features import Normalisation
from orthoray.models.precision import PrecisionName
from orthoray.pretrain.crops import MultiCropConfig

Centring = Literal["centre", "sinkhorn_knopp"]


class DataSource(StrictModel):
    """One dataset of the mixture. ``weight``: how often each of its images appears in an epoch (0.5 = every other)."""

    uri: str
    weight: float = Field(default=1.0, gt=0.0, le=100.0)
    modality: Literal["XR", "MR"] | None = Field(default=None, description="Take only images of this modality.")


class DataConfig(StrictModel):
    """What is read, and how well it is shuffled."""

    datasets: list[DataSource] = Field(min_length=1)
    shuffle_window: int = Field(default=4096, ge=1, description="Images that are shuffled together within an epoch.")


class ModelConfig(StrictModel):
    """The backbone by its timm name; ``kwargs`` go to timm (depth, embed_dim, num_heads …)."""

    backbone: str = "vit_small_patch16_224"
    img_size: int = Field(default=224, ge=16)
    patch_size: int | Auto = "auto"
    kwargs: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = Field(default=None, description="File with weights to continue from; none = from scratch.")
    start: Start = Field(default="timm", description="Starting values without weights.")
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    normalisation: Normalisation = Normalisation()
    freeze_backbone_steps: int = Field(default=0, ge=0, description="Steps in which only the new head learns.")


class HeadConfig(StrictModel):
    """An MLP of ``layers`` linear layers, an L2-normalised bottleneck, and unit-length prototypes."""

    prototypes: int = Field(default=65536, ge=2, le=131072)
    hidden_dim: int = Field(default=2048, ge=8)
    bottleneck_dim: int = Field(default=256, ge=4)
    layers: int = Field(default=3, ge=1, le=6)
    batch_norm: bool = Field(default=False, description="Batch normalisation in the MLP; steadies small batches.")


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


class TeacherConfig(StrictModel):
    """EMA teacher. Temperatures: linear from start to end over ``warmup`` (share of the run)."""

    momentum: tuple[float, float] = (0.996, 1.0)
    temperature: tuple[float, float] = (0.04, 0.07)
    temperature_warmup: float = Field(default=0.3, ge=0.0, le=1.0)
    student_temperature: float = Field(default=0.1, gt=0.0)
    centring: Centring = "centre"
    centre_momentum: float = Field(default=0.9, ge=0.0, le=1.0)


class OptimiserConfig(StrictModel):
    """AdamW. ``lr`` auto = 5e-4 · batch / 256 (DINO's rule); ``warmup`` is a share of the run."""

    lr: float | Auto = "auto"
    lr_end: float = Field(default=1e-6, ge=0.0)
    warmup: float = Field(default=0.1, ge=0.0, le=1.0)
    weight_decay: tuple[float, float] = (0.04, 0.4)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(default=3.0, gt=0.0)
    freeze_last_layer: float = Field(
        default=0.01, ge=0.0, le=1.0, description="Share of the run with fixed prototypes."
    )


class CheckpointConfig(StrictModel):
    """When the state is saved: after so many steps or seconds, whichever is first; the newest ``keep`` are kept."""

    every_steps: int = Field(default=500, ge=1)
    every_seconds: float = Field(default=120.0, gt=0.0)
    keep: int = Field(default=2, ge=1)


class ResourcesConfig(StrictModel):
    """Where training runs. auto: a GPU where there is one; else workers share the processors of the machine."""

    workers: Annotated[int, Field(ge=1)] | Auto = "auto"
    gpu: bool | Auto = "auto"
    cpus_per_worker: Annotated[float, Field(gt=0.0)] | Auto = Field(
        default="auto", description="Reserved with Ray; leave some for the feed."
    )
    threads: int | Auto = "auto"
    precision: PrecisionName = "auto"


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
