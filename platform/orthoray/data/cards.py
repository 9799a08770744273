"""Dataset cards: YAML that describes a source of images and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from orthoray.config import StrictModel, load_config, project_folders
from orthoray.data.card_tables import FactsTable, LabelTable
from orthoray.data.screening_rules import ScreeningRules
from orthoray.data.sources.options import AdapterOptions
from orthoray.errors import InputError, nearest


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
    ocr: bool = Field(
        default=False,
        description="Read lettering in the pixels (extra `ocr`, 0.2 … 1 s an image) and exclude images with words.",
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


EXAMPLE = "hospital_example"
"""Name of the card that is there to be copied."""


def load_card(name: str) -> DatasetCard:
    """Load a card by name (``knee_xray_kl``) or path.

    Raises:
        InputError: names what is wrong, or the nearest card; or a copy of the example that has kept its name, which
            would become part of every pseudonym.
    """
    known: dict[str, Path] = {}
    for folder in reversed(project_folders("datasets")):
        known |= {file.parent.name: file for file in folder.glob("*/card.yaml")}
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        path = path / "card.yaml" if path.is_dir() else path
    elif name in known:
        path = known[name]
    else:
        cards = ", ".join(sorted(known)) or "none"
        raise InputError(f"no card '{name}'.{nearest(name, known)} Cards: {cards}. Or give the path of a YAML file.")
    card = load_config(DatasetCard, path)
    if card.name == EXAMPLE and (EXAMPLE not in known or card != load_config(DatasetCard, known[EXAMPLE])):
        raise InputError(
            f"{path}: name: {EXAMPLE} is the example's. Give your card a name of its own: it becomes part of every "
            "pseudonym, and stays."
        )
    return card
