"""Settings of fine-tuning and of the search for better ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from orthoray.config import Auto, StrictModel
from orthoray.errors import nearest
from orthoray.features import Precision
from orthoray.models.adapter_settings import AdapterConfig

Preset = Literal["retfound", "mae", "lp_ft", "lora"]
HeadKind = Literal["linear", "coral", "cox"]
Objective = Literal["log_loss", "headline"]

PRESETS: dict[str, dict[str, Any]] = {
    "retfound": {
        "base_lr": 5e-3,
        "layer_decay": 0.65,
        "drop_path": 0.2,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "epochs": 50,
        "warmup": 0.2,
    },
    "mae": {
        "base_lr": 1e-3,
        "layer_decay": 0.75,
        "drop_path": 0.2,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "epochs": 50,
        "warmup": 0.1,
        "mixup": 0.8,
        "cutmix": 1.0,
    },
    "lp_ft": {
        "base_lr": 1e-3,
        "layer_decay": 0.75,
        "drop_path": 0.1,
        "label_smoothing": 0.0,
        "epochs": 20,
        "warmup": 0.1,
        "start": "probe",
    },
    "lora": {
        "base_lr": 1e-2,
        "layer_decay": 1.0,
        "drop_path": 0.0,
        "weight_decay": 0.0,
        "epochs": 50,
        "warmup": 0.1,
        "adapter": {"kind": "lora", "rank": 8, "targets": ["q", "v"]},
    },
}
"""What a preset sets; a key that is given as well wins. RETFound (Zhou et al. 2023; its released code), MAE (He et al.
2022, table 9, ViT-L), linear probing then fine-tuning (Kumar et al. 2022), LoRA (Hu et al. 2021)."""


class AugmentConfig(StrictModel):
    """Changes of the training images; every image gets its own. No flip: sides mean something unless canonicalised."""

    area: float = Field(default=0.7, gt=0.0, le=1.0, description="Least share of the image that a crop keeps.")
    aspect: float = Field(default=1.15, ge=1.0, le=2.0, description="Largest ratio by which a crop is stretched.")
    rotation: float = Field(default=7.0, ge=0.0, le=180.0, description="Degrees, at most.")
    flip: bool = False
    gamma: float = Field(default=0.2, ge=0.0, le=1.0, description="Exponent between exp(-gamma) and exp(gamma).")
    contrast: float = Field(default=0.2, ge=0.0, le=1.0, description="Factor between exp(-contrast) and exp(contrast).")
    brightness: float = Field(default=0.1, ge=0.0, le=1.0, description="Added grey level, of 1, at most.")
    noise: float = Field(default=0.01, ge=0.0, le=0.5, description="SD of added noise, of 1.")


class FineTuneConfig(StrictModel):
    """How a backbone is fine-tuned. The learning rate is ``base_lr`` * ``batch_size`` / 256.

    ``warmup``: share of the epochs. ``patience``: epochs without a better inner score until the fit ends; its best
    epoch counts. ``select``: what is better, by the inner hold-out of ``holdout`` of the training patients.
    ``slices``: images of a study that one step sees (all are seen in testing). ``rule``: ``features`` averages the
    features of a study's images before the head; ``probabilities`` teaches every image the study's label and averages
    in testing, as the paper does. ``head`` auto: coral for grades, cox for times, else linear. ``start``: of the head,
    near zero or from a linear probe. ``ema``: decay of the weights' moving average, 0 = none. ``workers`` of Ray Train
    share one fit; ``cpus`` and ``gpus`` are what each takes, ``gpus`` auto: one if the cluster has any.
    """

    preset: Preset = "retfound"
    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=16, ge=1)
    base_lr: float = Field(default=5e-3, gt=0.0)
    warmup: float = Field(default=0.2, ge=0.0, lt=1.0)
    layer_decay: float = Field(default=0.65, gt=0.0, le=1.0)
    drop_path: float = Field(default=0.2, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    label_smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)
    mixup: float = Field(default=0.0, ge=0.0)
    cutmix: float = Field(default=0.0, ge=0.0)
    ema: float = Field(default=0.0, ge=0.0, lt=1.0)
    clip: float = Field(default=1.0, gt=0.0)
    class_balance: Literal["none", "weights", "sampler"] = "none"
    precision: Precision = "fp32"
    patience: int = Field(default=10, ge=1)
    holdout: float = Field(default=0.15, gt=0.0, lt=0.9)
    select: Objective = "log_loss"
    head: HeadKind | Auto = "auto"
    start: Literal["zero", "probe"] = "zero"
    slices: int = Field(default=6, ge=1)
    rule: Literal["features", "probabilities"] = "features"
    augment: AugmentConfig = AugmentConfig()
    adapter: AdapterConfig = AdapterConfig()
    keep_models: bool = False
    workers: int = Field(default=1, ge=1)
    cpus: float = Field(default=1.0, gt=0.0)
    gpus: Annotated[float, Field(ge=0.0)] | Auto = "auto"
    max_concurrent: Annotated[int, Field(ge=1)] | Auto = "auto"

    @model_validator(mode="before")
    @classmethod
    def _preset_first(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**PRESETS.get(str(values.get("preset", "retfound")), {}), **values}

    @model_validator(mode="after")
    def _consistent(self) -> FineTuneConfig:
        if self.start == "probe" and self.head in ("coral", "cox"):
            raise ValueError(f"start: probe gives a linear head, not {self.head}; set head: linear or start: zero")
        if (self.mixup or self.cutmix) and self.head in ("coral", "cox"):
            raise ValueError(f"mixup and cutmix blend classes, which {self.head} has not; set both to 0")
        if self.cpus > 1 and self.cpus != int(self.cpus):
            raise ValueError(f"cpus: {self.cpus:g} is neither whole nor below 1")
        return self

    def head_for(self, kind: str) -> HeadKind:
        """The head of a task of this kind."""
        if kind == "survival":
            return "cox"
        if self.head != "auto":
            return self.head
        blends = self.start == "probe" or bool(self.mixup or self.cutmix)
        return "coral" if kind == "ordinal" and not blends else "linear"


SEARCHED = ("base_lr", "layer_decay", "drop_path", "weight_decay", "label_smoothing", "batch_size", "ema")
"""Settings of fine-tuning that a search may vary."""


class Range(StrictModel):
    """Values of a searched setting: ``low`` to ``high`` (``log``: evenly in orders of magnitude), or ``choices``."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: list[float] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Range:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either `low` and `high`, or `choices`")
        if self.choices is not None and not self.choices:
            raise ValueError("`choices` is empty")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low {self.low:g} must lie below high {self.high:g}")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log needs a `low` above 0")
        return self


SPACE = {
    "base_lr": Range(low=5e-4, high=2e-2, log=True),
    "layer_decay": Range(low=0.5, high=0.95),
    "drop_path": Range(low=0.0, high=0.3),
}


class SearchConfig(StrictModel):
    """Search for settings of fine-tuning by Optuna, for every (model, task, fraction, seed, fold) with equal budgets.

    ``trials`` fits per row, the first of which has the settings of ``finetune``; 1 = no search. All are judged on the
    inner hold-out of the row's own training part. ``asha`` ends those early that are behind after ``grace`` epochs (and
    at every ``reduction`` times as many). Two ``objectives`` are searched together; the first decides.
    """

    trials: int = Field(default=1, ge=1)
    space: dict[str, Range] = Field(default=SPACE)
    objectives: list[Objective] = Field(default=["log_loss"], min_length=1, max_length=2)
    asha: bool = True
    grace: int = Field(default=3, ge=1)
    reduction: float = Field(default=3.0, gt=1.0)

    @model_validator(mode="after")
    def _consistent(self) -> SearchConfig:
        for name in self.space:
            if name not in SEARCHED:
                raise ValueError(f"space: '{name}' cannot be searched.{nearest(name, SEARCHED)} Of {SEARCHED}.")
        if self.trials > 1 and not self.space:
            raise ValueError("space is empty; there is nothing to search")
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"objectives: one of {get_args(Objective)} each, none twice")
        return self
