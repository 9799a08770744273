"""Dataset cards: YAML that describes a source of images and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel, load_config, project_folders
from orthoray.errors import InputError, nearest

Fact = Literal["patient", "study", "series", "image", "file", "laterality", "modality", "visit"]
"""What a table can be joined on: identifiers as the source writes them, or facts of the image."""

TableFact = Literal["patient", "study", "laterality", "site", "visit", "age", "sex", "days_from_baseline", "inverted"]
"""What a table can tell about an image beside its header."""


class TableJoin(StrictModel):
    """A CSV file below the source and the columns that its rows are found by."""

    table: str
    key: dict[Fact, str] = Field(min_length=1, description="Fact of the image → column of the table.")


class FactsTable(TableJoin):
    """Facts that the header lacks. ``columns``: fact → column of the table; a cell overrides the header."""

    columns: dict[TableFact, str] = Field(min_length=1)


class LabelTable(TableJoin):
    """Labels of one task; an empty cell means no label. ``values``: cell → class, where cells are not 0, 1, 2 …"""

    task: str
    unit: Literal["image_id", "study_id"]
    column: str
    values: dict[str, int] = Field(default_factory=dict)
    when: dict[str, str] = Field(default_factory=dict, description="Take only rows with these cells, column → cell.")


class ImageDefaults(StrictModel):
    """Facts of images whose header and tables are silent."""

    site: str = ""
    modality: Literal["XR", "MR", ""] = ""
    body_part: str = ""
    view: str = ""


GLOBS = {"dicom": ["**/*.dcm"], "images": ["**/*.png", "**/*.jpg", "**/*.jpeg", "**/*.tif", "**/*.tiff"]}
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
    reader: Literal["dicom", "images"] = Field(
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
