"""Configuration of a downstream study."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from orthoray.config import Auto, StrictModel
from orthoray.errors import nearest
from orthoray.evaluation.finetune.settings import FineTuneConfig, SearchConfig
from orthoray.evaluation.frozen_settings import MilConfig, SgdConfig, TransformerConfig
from orthoray.features.aggregate import Aggregation
from orthoray.features.candidate_settings import Candidate
from orthoray.features.corruptions import Kind
from orthoray.features.settings import FeatureSettings

Protocol = Literal[
    "lp", "knn", "slices_mean", "slices_max", "slices_topk", "slices_noisy_or", "mil", "transformer", "sgd", "ft"
]


class ModelSpec(StrictModel):
    """One column of the study: raw pixels, or a backbone's checkpoint folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    kind: Literal["pixels", "checkpoint"]
    checkpoint: str | None = None
    pretrain_run: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if self.kind == "checkpoint" and not self.checkpoint:
            raise ValueError(f"model '{self.name}' of kind checkpoint needs `checkpoint: URI`")
        if self.kind == "pixels" and self.checkpoint:
            raise ValueError(f"model '{self.name}' of kind pixels takes no checkpoint")
        return self


class FeatureConfig(FeatureSettings):
    """Of the images of one ``modality``, if given."""

    modality: Literal["XR", "MR", "OP", "GM", "XC"] | None = None


class ProbeConfig(StrictModel):
    """The linear probe: grid of C (inverse L2 strength), inner selection, class weights, solver limits.

    ``inner`` cv: grouped 4-fold inside the training part; holdout: ``holdout`` of its patients; auto: cv below
    ``cv_below`` training samples, holdout from there on. ``patience`` ends the walk from strong to weak
    regularisation once the inner score has been worse than the best that many times in a row.
    """

    log10_c_min: float = -4.0
    log10_c_max: float = 2.0
    c_steps: int = Field(default=13, ge=1, le=200)
    inner: Literal["auto", "cv", "holdout"] = "auto"
    inner_metric: Literal["log_loss", "balanced_accuracy"] = "log_loss"
    inner_folds: int = Field(default=4, ge=2, le=20)
    holdout: float = Field(default=0.15, gt=0.0, lt=0.9)
    cv_below: int = Field(default=1000, ge=0)
    class_weight: Literal["none", "balanced"] = "none"
    max_iter: int = Field(default=500, ge=1)
    tol: float = Field(default=1e-4, gt=0)
    patience: int = Field(default=3, ge=1)
    pixel_components: int = Field(default=30, ge=1, le=576)

    def grid(self) -> list[float]:
        """The values of C, ascending (strong to weak regularisation)."""
        return [float(c) for c in 10.0 ** np.linspace(self.log10_c_min, self.log10_c_max, self.c_steps)]

    @model_validator(mode="after")
    def _consistent(self) -> ProbeConfig:
        if self.log10_c_max < self.log10_c_min:
            raise ValueError("log10_c_max must not be below log10_c_min")
        return self


class KnnConfig(StrictModel):
    """Votes of the ``k`` nearest training samples by cosine, weighed exp(cosine / temperature); nothing is fitted.

    The defaults are DINO's (Caron et al. 2021).
    """

    k: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.07, gt=0)


class RobustnessConfig(StrictModel):
    """Test images made worse (`orthoray.features.corruptions`): the linear probe of clean images is tested on them.

    Every kind and severity is a pass over the test images by every model; none by default.
    """

    corruptions: list[Kind] = Field(default=[])
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(default=[1, 3, 5], min_length=1)


class BaselineConfig(StrictModel):
    """General backbones: ``candidates``, a list or a file of them; ``weights``, name → file, folder, URL or timm:TAG.

    They are frozen and fine-tuned as the study's other models. Those without weights are named, and left out.
    """

    candidates: list[Candidate] | str = "baselines"
    weights: dict[str, str] = Field(default={})


class LeakConfig(StrictModel):
    """Leak checks, which always run. ``on_copies``: what to do with an image that is, pixel for pixel, in two folds."""

    on_copies: Literal["refuse", "report"] = "refuse"


class SplitConfig(StrictModel):
    """Who is tested. Patients are never on both sides.

    ``kind``: cv, the study's ``folds``; holdout, the share ``holdout`` drawn anew for each seed (repeated 80/20);
    leave_one_out, each value of ``column`` (auto: site) in turn; temporal, those whose ``column`` (auto: study_year)
    is ``since`` or later; card, what a task's card says was printed (five folds, or repeated 80/20).
    """

    kind: Literal["cv", "holdout", "leave_one_out", "temporal", "card"] = "cv"
    holdout: float = Field(default=0.2, ge=0.02, le=0.5)
    column: str = "auto"
    since: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SplitConfig:
        if (self.kind == "temporal") != (self.since is not None):
            raise ValueError("`since` is what kind: temporal needs, and no other kind takes it")
        if self.column != "auto" and self.kind not in ("leave_one_out", "temporal"):
            raise ValueError(f"`column` is for leave_one_out and temporal, not for {self.kind}")
        return self

    def decided_by(self) -> str:
        """The column of the index that decides."""
        if self.column != "auto":
            return self.column
        return "study_year" if self.kind == "temporal" else "site"


class StudyConfig(StrictModel):
    """A downstream study: every model on every task under every protocol, fraction, seed and fold.

    ``tasks``: auto = all that the datasets have labels for, or names of tasks, aliases or suites (`registry`).
    ``pretrain_run`` is short for the three standard models ``pixels``, ``untrained`` (the run's ``initial/``) and
    ``pretrained`` (its ``checkpoint/``); ``models`` adds to them. ``protocols``: lp, a linear probe; knn, nearest
    neighbours; slices_mean, slices_max, slices_topk and slices_noisy_or, a linear probe on slices and a rule that makes
    one score of theirs; mil, attention over slices; transformer, over slices and planes; sgd, 52 heads at once.
    ``fractions`` are shares of the training patients, ``shots`` numbers of patients of each class (lp and knn only).
    ``candidate`` is the model that is tested against
    all others; auto = ``pretrained`` if there is one, else the last checkpoint. ``resamples``: of the bootstrap over
    patients. ``pretraining`` inductive: refuse models that saw evaluated images in pretraining, without labels though.
    """

    name: str = Field(default="study", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    out: str
    datasets: list[str] = Field(min_length=1)
    tasks: list[str] | str = "auto"
    pretrain_run: str | None = None
    models: list[ModelSpec] = Field(default=[])
    split: SplitConfig = SplitConfig()
    folds: int = Field(default=5, ge=2, le=50)
    seeds: list[int] = Field(default=[0], min_length=1)
    protocols: list[Protocol] = Field(default=["lp"], min_length=1)
    fractions: list[Annotated[float, Field(gt=0.0, le=1.0)]] = Field(default=[1.0], min_length=1)
    shots: list[Annotated[int, Field(ge=1)]] = Field(default=[])
    aggregate: Aggregation = "mean"
    features: FeatureConfig = FeatureConfig()
    probe: ProbeConfig = ProbeConfig()
    knn: KnnConfig = KnnConfig()
    mil: MilConfig = MilConfig()
    transformer: TransformerConfig = TransformerConfig()
    sgd: SgdConfig = SgdConfig()
    finetune: FineTuneConfig = FineTuneConfig()
    search: SearchConfig = SearchConfig()
    trials: Annotated[int, Field(ge=1)] | Auto = "auto"
    candidate: str = "auto"
    resamples: int = Field(default=2000, ge=100, le=100_000)
    small_cell: int = Field(default=10, ge=1)
    pretraining: Literal["transductive", "inductive"] = "transductive"
    baselines: BaselineConfig = BaselineConfig()
    leaks: LeakConfig = LeakConfig()
    robustness: RobustnessConfig = RobustnessConfig()

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if not self.pretrain_run and not self.models:
            raise ValueError("give `pretrain_run: URI` (three standard models) or a list of `models`")
        for key in ("datasets", "seeds", "protocols", "fractions", "shots"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key} names something twice: {values}")
        if any(seed < 0 for seed in self.seeds):
            raise ValueError("seeds must not be negative")
        names = [model.name for model in self.all_models()]
        if len(set(names)) != len(names):
            raise ValueError(f"model names must differ: {', '.join(names)}")
        if self.candidate not in ("auto", *names):
            hint = nearest(self.candidate, names)
            raise ValueError(f"candidate '{self.candidate}' is none of the models: {', '.join(names)}.{hint}")
        return self

    def tested(self) -> str:
        """The model that is tested against all others."""
        if self.candidate != "auto":
            return self.candidate
        names = [model.name for model in self.all_models()]
        checkpoints = [model.name for model in self.all_models() if model.kind == "checkpoint"]
        return "pretrained" if "pretrained" in names else (checkpoints or names)[-1]

    def all_models(self) -> list[ModelSpec]:
        """The models in the order of tables: the standard three first, then those listed."""
        if not self.pretrain_run:
            return list(self.models)
        run = self.pretrain_run.rstrip("/")
        return [
            ModelSpec(name="pixels", kind="pixels"),
            ModelSpec(name="untrained", kind="checkpoint", checkpoint=f"{run}/initial", pretrain_run=run),
            ModelSpec(name="pretrained", kind="checkpoint", checkpoint=f"{run}/checkpoint", pretrain_run=run),
            *self.models,
        ]
