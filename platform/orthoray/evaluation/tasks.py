"""Task cards: what a label means, its classes, its unit, and the metrics that it is judged by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel, load_config, project_folders
from orthoray.errors import InputError, nearest
from orthoray.evaluation.metrics import ALLOWED, LOWER_IS_BETTER

Kind = Literal["binary", "multiclass", "ordinal"]
Unit = Literal["image_id", "study_id"]


class Reference(StrictModel):
    """Figures that were printed for the task elsewhere: sample volume and result, as printed."""

    volume: int | None = None
    result: str = ""


class TaskCard(StrictModel):
    """One downstream task.

    ``classes`` name the integer labels 0, 1, …; for a binary task class 1 is the positive one. ``unit`` says what one
    sample is (an image or a study). The first of ``metrics`` is the headline.
    """

    task: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str = ""
    kind: Kind
    classes: list[str] = Field(min_length=2)
    unit: Unit
    modality: Literal["XR", "MR"]
    joint: str = ""
    metrics: list[str] = Field(min_length=1)
    aliases: list[str] = Field(default=[])
    reference: Reference = Reference()
    public_sources: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _consistent(self) -> TaskCard:
        allowed = ALLOWED[self.kind]
        unknown = [name for name in self.metrics if name not in allowed]
        if unknown:
            raise ValueError(f"metrics {unknown} do not fit a {self.kind} task; allowed: {', '.join(allowed)}")
        if self.metrics[0] in LOWER_IS_BETTER:
            raise ValueError(f"the headline is {self.metrics[0]}, which is better when lower; put another metric first")
        if self.kind == "binary" and len(self.classes) != 2:
            raise ValueError(f"a binary task has two classes, not {len(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must differ")
        return self

    @property
    def headline(self) -> str:
        """The metric that tables and verdicts use."""
        return self.metrics[0]


def task_ids() -> list[str]:
    """Names of all tasks that have a card."""
    return sorted({file.stem for folder in project_folders("datasets/tasks") for file in folder.glob("*.yaml")})


def load_task(name: str) -> TaskCard:
    """Read the card of task ``name``.

    Raises:
        InputError: no such task (the message names the nearest one), or a card that is wrong.
    """
    for folder in project_folders("datasets/tasks"):
        file = folder / f"{name}.yaml"
        if file.is_file():
            card = load_config(TaskCard, file)
            if card.task != name:
                raise InputError(f"{file}: the card says task '{card.task}'; it must equal the file's name.")
            return card
    known = task_ids()
    hint = nearest(name, known) or f" Known tasks: {', '.join(known) or 'none'}."
    raise InputError(f"Task '{name}' has no card datasets/tasks/{name}.yaml.{hint}")
