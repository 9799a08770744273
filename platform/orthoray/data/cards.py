"""Dataset cards: YAML that describes a source of images and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel, load_config, project_folders
from orthoray.data.screening_rules import ScreeningRules
from orthoray.data.sources.options import ADAPTERS, AdapterOptions
from orthoray.errors import InputError, nearest

Fact = Literal["patient", "study", "series", "image", "accession", "file", "laterality", "modality", "visit"]
"""What a table can be joined on: identifiers as the source writes them, or facts of the image."""

TableFact = Literal[
    "patient", "study", "series", "laterality", "site", "visit", "age", "sex", "days_from_baseline", "inverted", "view",
    "plane", "exclude",
]  # fmt: skip
"""What a table can tell about an image beside its header. ``exclude``: a word why the image is not wanted, or empty."""


class TableJoin(StrictModel):
    """A table and the columns that its rows are found by.

    ``table`` is a file below the source (text with any separator, or SAS), or ``<adapter>:<table>`` of the card's
    adapter.
    """

    table: str
    key: dict[Fact, str] = Field(min_length=1, description="Fact of the image → column of the table.")
    header: list[str] = Field(default_factory=list, description="Names of the columns of a file without header line.")
    missing: list[str] = Field(default_factory=list, description="Cells that mean the same as empty ones.")

    @property
    def adapter(self) -> str:
        """Name of the adapter whose table this is; empty for a file."""
        return name if (name := self.table.partition(":")[0]) in ADAPTERS and ":" in self.table else ""


class FactsTable(TableJoin):
    """Facts that the header lacks. ``columns``: fact → column of the table; a cell overrides the header.

    Of several columns (a list) the first with a cell counts.
    """

    columns: dict[TableFact, str | list[str]] = Field(min_length=1)


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


class ImageDefaults(StrictModel):
    """Facts of images whose header and tables are silent."""

    site: str = ""
    modality: Literal["XR", "MR", "OP", "GM", "XC", ""] = Field(
        default="", description="XR or MR; beside them DICOM's terms for eye, microscope and camera photographs."
    )
    body_part: str = ""
    view: str = ""


GLOBS = {
    "dicom": ["**/*.dcm"],
    "images": ["**/*.png", "**/*.jpg", "**/*.jpeg", "**/*.tif", "**/*.tiff"],
    "hdf5": ["**/*.h5"],
    "npy": ["**/*.npy"],
}
"""Files that are looked for where a card gives no `glob`."""


class DatasetCard(StrictModel):
    """A source of images.

    ``phi_source``: does it hold identities of patients? Then a pseudonym key is required; false = public already.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    source: str = Field(default="", pattern=r"^[a-z0-9_]*$", description="Code in the column `source`; default: name.")
    licence: str = ""
    phi_source: bool = True
    patient_unit: Literal["patient", "exam", "image"] = Field(
        default="patient",
        description="What `patient_id` stands for: exam or image where the source does not tell persons apart.",
    )
    adapter: AdapterOptions | None = Field(default=None, description="Makes tables from the source's own files.")
    reader: Literal["dicom", "images", "hdf5", "npy"] = Field(
        default="dicom", description="What the files are; one of the other kind is excluded with that reason."
    )
    glob: list[str] = Field(default_factory=list, description="Patterns below the source; default: by the reader.")
    bilateral: Literal["keep", "split"] = Field(
        default="keep", description="split: a film of both knees becomes two images; image-left is the right knee."
    )
    short_side: int = Field(
        default=512, ge=16, le=512, description="Larger images are reduced to it; none is enlarged."
    )
    window: Literal["header", "percentile"] = "header"
    keep_derived: bool = False
    master: bool = Field(
        default=False, description="Keep de-identified DICOM with the stored values beside the images (reader dicom)."
    )
    screening: ScreeningRules = ScreeningRules()
    screened: Literal["exclude", "review"] = Field(
        default="exclude",
        description="review: screening removes nothing, and lists what it would for people to look at.",
    )
    defaults: ImageDefaults = ImageDefaults()
    facts: list[FactsTable] = Field(default_factory=list)
    labels: list[LabelTable] = Field(default_factory=list)

    @property
    def patterns(self) -> list[str]:
        """`glob`, or the patterns of the reader."""
        return self.glob or GLOBS[self.reader]

    @property
    def source_code(self) -> str:
        """`source`, or the name."""
        return self.source or self.name

    @model_validator(mode="after")
    def _tables_of_the_adapter(self) -> DatasetCard:
        for join in (*self.facts, *self.labels):
            adapter = join.adapter
            if adapter and (self.adapter is None or self.adapter.name != adapter):
                raise ValueError(f"table {join.table}: needs `adapter: {{name: {adapter}}}` in the card")
        return self

    @model_validator(mode="after")
    def _tasks_once(self) -> DatasetCard:
        tasks = [label.task for label in self.labels]
        twice = sorted({task for task in tasks if tasks.count(task) > 1})
        if twice:
            raise ValueError(f"labels: task(s) listed twice: {', '.join(twice)}")
        return self


def load_card(name: str) -> DatasetCard:
    """Load a card by name (``knee_xray_kl``) or path; InputError names what is wrong, or the nearest card."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        return load_config(DatasetCard, path / "card.yaml" if path.is_dir() else path)
    known: dict[str, Path] = {}
    for folder in reversed(project_folders("datasets")):
        known |= {file.parent.name: file for file in folder.glob("*/card.yaml")}
    if name not in known:
        cards = ", ".join(sorted(known)) or "none"
        raise InputError(f"no card '{name}'.{nearest(name, known)} Cards: {cards}. Or give the path of a YAML file.")
    return load_config(DatasetCard, known[name])
