"""Task cards: what a label means, its classes, its unit, and the metrics that it is judged by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel, load_config, project_files
from orthoray.errors import InputError, nearest
from orthoray.evaluation.metrics import ALLOWED, LOWER_IS_BETTER, fits_kind

FOLDER = "datasets/tasks"

Kind = Literal["binary", "multiclass", "ordinal", "survival", "multilabel"]
Unit = Literal["image_id", "study_id"]


class Reference(StrictModel):
    """Figures that were printed for the task elsewhere: sample volume and result, as printed.

    ``conflicts`` tells where tables, text and figures of the same work disagree about it.
    """

    volume: int | None = None
    result: str = ""
    conflicts: list[str] = Field(default=[])


class TaskCard(StrictModel):
    """One downstream task.

    ``classes`` name the integer labels 0, 1, …; for a binary task class 1 is the positive one. ``unit`` says what one
    sample is (an image or a study). The first of ``metrics`` is the headline. A ``survival`` task has the classes
    "no event" (observation ended) and "event", and its label table the column ``days`` to either. A ``multilabel``
    task has no labels of its own but those of its ``parts``, binary tasks on the same samples. ``protocol`` is how
    the printed results were obtained, for whoever wants to compare with them.
    """

    task: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str = ""
    kind: Kind
    classes: list[str] = Field(default=["absent", "present"], min_length=2)
    unit: Unit
    modality: Literal["XR", "MR", "OP", "GM", "XC"]
    joint: str = ""
    metrics: list[str] = Field(min_length=1)
    parts: list[str] = Field(default=[])
    aliases: list[str] = Field(default=[])
    protocol: Literal["cv5", "repeated_80_20"] = "cv5"
    reference: Reference = Reference()
    public_sources: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _consistent(self) -> TaskCard:
        if (self.kind == "multilabel") != bool(self.parts) or len(set(self.parts)) == 1:
            raise ValueError("a multilabel task, and no other, names two or more `parts`")
        allowed = ALLOWED.get(self.kind, ("c_index", "auroc_at_<k>y with k years"))
        unknown = [name for name in self.metrics if not fits_kind(name, self.kind)]
        if unknown:
            raise ValueError(f"metrics {unknown} do not fit a {self.kind} task; allowed: {', '.join(allowed)}")
        if self.metrics[0] in LOWER_IS_BETTER:
            raise ValueError(f"the headline is {self.metrics[0]}, which is better when lower; put another metric first")
        if self.kind in ("binary", "survival") and len(self.classes) != 2:
            raise ValueError(f"a {self.kind} task has two classes, not {len(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must differ")
        return self

    @property
    def headline(self) -> str:
        """The metric that tables and verdicts use."""
        return self.metrics[0]

    @property
    def columns(self) -> int:
        """Number of scores of a sample: one per class, or one risk."""
        return 1 if self.kind == "survival" else len(self.classes)


def task_ids() -> list[str]:
    """Names of all tasks that have a card."""
    return sorted(project_files(FOLDER))


def load_task(name: str) -> TaskCard:
    """Read the card of task ``name``; of ``group.part``, that of the part.

    Raises:
        InputError: no such task (the message names the nearest one), or a card that is wrong.
    """
    name = name.rpartition(".")[2]
    files = project_files(FOLDER)
    if name in files:
        card = load_config(TaskCard, files[name])
        if card.task != name:
            raise InputError(f"{files[name]}: the card says task '{card.task}'; it must equal the file's name.")
        return card
    known = sorted(files)
    hint = nearest(name, known) or f" Known tasks: {', '.join(known) or 'none'}."
    raise InputError(f"Task '{name}' has no card datasets/tasks/{name}.yaml.{hint}")
