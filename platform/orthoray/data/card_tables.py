"""The part of a dataset card that is about tables: facts of images, labels, and how rows are found."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orthoray.config import StrictModel
from orthoray.data.sources.options import ADAPTERS
from orthoray.errors import nearest

Fact = Literal["patient", "study", "series", "image", "accession", "file", "laterality", "modality", "visit"]
"""What a table can be joined on: identifiers as the source writes them, or facts of the image."""

TableFact = Literal[
    "patient", "study", "series", "modality", "laterality", "site", "visit", "age", "sex", "days_from_baseline",
    "inverted", "view", "plane", "exclude",
]  # fmt: skip
"""What a table can tell about an image beside its header. ``exclude``: a word why the image is not wanted, or empty."""

HASHED = ("patient", "study", "series", "image", "accession")
"""Facts that identify: their cells become pseudonyms as they are read."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "laterality": ("L", "R", "B", "U"),
    "modality": ("XR", "MR", "OP", "GM", "XC"),
    "sex": ("M", "F", "O"),
    "inverted": ("0", "1"),
    "plane": ("sagittal", "coronal", "axial", "oblique"),
}
"""Facts with few values → the cells that mean them."""

NUMBERS = ("age", "days_from_baseline")
"""Facts that are numbers."""


class FactColumn(StrictModel):
    """Where a table tells a fact. In a card a column's name alone, or a list of names, says the same.

    Of several columns the first with a cell counts. With ``values`` every cell must be one of its keys.
    """

    column: str | list[str]
    values: dict[str, str | int] = Field(
        default_factory=dict, description='Cell → fact, {links: L, rechts: R}; "" leaves what is known.'
    )

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str | list) else given

    @property
    def columns(self) -> list[str]:
        """The column, or the columns."""
        return [self.column] if isinstance(self.column, str) else self.column

    def check(self, fact: str) -> None:
        """ValueError if ``values`` do not fit the fact."""
        if self.values and fact in (*HASHED, "file", *NUMBERS):
            raise ValueError(f"{fact}: takes no `values`; its cells are identifiers or numbers")
        for value in map(str, self.values.values()):
            known = ALLOWED.get(fact, (value,))
            if value not in ("", *known):
                raise ValueError(f"{fact}: '{value}' is none of {', '.join(known)}.{nearest(value, known)}")


class TableJoin(StrictModel):
    """A table and the columns that its rows are found by.

    ``table`` is a file below the source (text with any separator, or SAS), or ``<adapter>:<table>`` of the card's
    adapter.
    """

    table: str
    key: dict[Fact, FactColumn] = Field(
        min_length=1, description="Fact of the image → column of the table (or with values, as in columns of facts)."
    )
    header: list[str] = Field(default_factory=list, description="Names of the columns of a file without header line.")
    missing: list[str] = Field(default_factory=list, description="Cells that mean the same as empty ones.")

    @property
    def adapter(self) -> str:
        """Name of the adapter whose table this is; empty for a file."""
        return name if (name := self.table.partition(":")[0]) in ADAPTERS and ":" in self.table else ""

    @model_validator(mode="after")
    def _values_of_keys(self) -> Self:
        for fact, column in self.key.items():
            column.check(fact)
        return self


class FactsTable(TableJoin):
    """Facts that the header lacks. ``columns``: fact → column of the table; a cell overrides the header."""

    columns: dict[TableFact, FactColumn] = Field(
        min_length=1,
        description="Fact → column, or {column: Seite, values: {links: L, rechts: R}} where cells are other words. "
        + "; ".join(f"{fact}: {', '.join(cells)}" for fact, cells in ALLOWED.items()),
    )

    @model_validator(mode="after")
    def _values_of_columns(self) -> Self:
        for fact, column in self.columns.items():
            column.check(fact)
        return self


class LabelTable(TableJoin):
    """Labels of one task; an empty cell means no label. ``values``: cell → class, where cells are not 0, 1, 2 …"""

    task: str
    unit: Literal["image_id", "study_id"]
    column: str
    values: dict[str, int] = Field(default_factory=dict)
    when: dict[str, str] = Field(default_factory=dict, description="Take only rows with these cells, column → cell.")
    source: str = Field(default="", description="Column that says how each label was found, for `label_source`.")
    reason: str = Field(default="", description="Column that says why a label is empty; counted in the account.")
    event: str = Field(default="", description="Column of survival labels: 1 = it happened, 0 = observation ended.")
    days: str = Field(default="", description="Column of the days to either.")
    split: str = Field(
        default="",
        description="Column that says which part of the authors' own split (train, val, test) a sample is in.",
    )
    boxes: str = Field(default="", description="Column of boxes, JSON [[slice, x, y, width, height], …] in pixels.")

    @property
    def columns_read(self) -> list[str]:
        """Every column of the table that the entry needs beside its key."""
        optional = [self.source, self.reason, self.event, self.days, self.split, self.boxes]
        return [self.column, *self.when, *(name for name in optional if name)]

    @model_validator(mode="after")
    def _both(self) -> LabelTable:
        if bool(self.event) != bool(self.days):
            raise ValueError("event and days belong together: give both or none")
        return self
