"""How a run is watched on labelled data while it learns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import Auto, StrictModel

ProbeProtocol = Literal["knn", "linear"]


class ProbesConfig(StrictModel):
    """Online probes of the teacher's backbone, beside training; see `orthoray.pretrain.probes`. Off without steps.

    A probe takes its processors from what training leaves over; if nothing is free for ``wait_seconds`` it is left out,
    and that is said. ``cpus: 0`` reserves nothing, and takes its time from training on the same machine.
    """

    every_steps: int | None = Field(default=None, ge=1, description="Steps between probes; none = no probes.")
    datasets: list[str] = Field(default_factory=list, description="Datasets with labels.")
    tasks: list[str] | Auto = Field(default="auto", description="auto = all tasks that the datasets have labels for.")
    protocols: list[ProbeProtocol] = Field(default=["knn", "linear"], min_length=1)
    metric: str | Auto = Field(default="auto", description="auto = the first of each task's card.")
    choose_by: ProbeProtocol = Field(default="linear", description="Protocol that decides which checkpoint is best.")
    patience: int | None = Field(
        default=None, ge=1, description="Probes without a gain that end the run; none = never."
    )
    min_gain: float = Field(default=0.0, ge=0.0, description="Gains up to this count as none.")
    patients: int | None = Field(default=None, ge=10, description="Patients of a task that are looked at; none = all.")
    pooling: Literal["cls", "mean", "cls+mean"] = "cls"
    folds: int = Field(default=5, ge=2, le=20)
    seed: int = Field(default=0, ge=0, description="Of folds and resampling.")
    k: int = Field(default=20, ge=1, description="Neighbours of kNN.")
    temperature: float = Field(default=0.07, gt=0.0, description="Of kNN's votes.")
    resamples: int = Field(default=500, ge=50, description="Of the bootstrap over patients.")
    cpus: float = Field(default=1.0, ge=0.0)
    gpus: float = Field(default=0.0, ge=0.0)
    wait_seconds: float = Field(default=60.0, ge=0.0, description="How long a probe waits for free processors.")

    @model_validator(mode="after")
    def _consistent(self) -> ProbesConfig:
        if self.every_steps is None:
            if self.datasets or self.patience is not None:
                raise ValueError("probes need `every_steps`; `datasets` and `patience` mean nothing without")
            return self
        if not self.datasets:
            raise ValueError("probes need `datasets` with labels")
        if self.choose_by not in self.protocols:
            raise ValueError(f"choose_by {self.choose_by} is not among the protocols {self.protocols}")
        return self
