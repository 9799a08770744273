"""Label tables: from the source's CSV to ``labels/<task>.parquet``."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.config import project_folders, read_yaml
from orthoray.data.cards import DatasetCard, LabelTable
from orthoray.data.tables import Tables
from orthoray.errors import InputError

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("patient_id", pa.string()),
        ("label", pa.int64()),
        ("label_source", pa.string()),
        ("class_name", pa.string()),
    ]
)
COLUMN_OF = {"patient": "patient_id", "study": "study_key", "series": "series_key", "image": "image_key"}


def class_names(task: str) -> list[str]:
    """Names of a task's classes from its card in ``datasets/tasks``; none if there is no card."""
    for folder in project_folders("datasets/tasks"):
        if (folder / f"{task}.yaml").is_file():
            return [str(name) for name in read_yaml(folder / f"{task}.yaml")["classes"]]
    return []


def label_table(label: LabelTable, tables: Tables) -> pd.DataFrame:
    """The rows of a card's entry: key columns, ``label`` (int64; NA = empty cell).

    Raises:
        InputError: a missing table or column, or a cell that is no class of the task.
    """
    keys = tables.keys(label).rename(columns=COLUMN_OF)
    chosen = pd.Series(True, index=keys.index)
    for column, cell in label.when.items():
        chosen &= tables.column(label, column) == cell
    cells = tables.column(label, label.column)[chosen]
    filled = cells[cells != ""]
    values = filled.map(label.values) if label.values else pd.to_numeric(filled, errors="coerce")
    names = class_names(label.task)
    wrong = filled[values.isna() | (values % 1 != 0) | (values < 0) | (values >= (len(names) or float("inf")))]
    if len(wrong):
        raise InputError(
            f"{label.table}: '{wrong.iloc[0]}' in column {label.column} is no class of {label.task} ({len(wrong)} such "
            f"cells; classes: {', '.join(names) or 'whole numbers from 0'}). Map cells to classes with `values` in "
            "the card."
        )
    return keys[chosen].assign(label=values.astype("Int64").reindex(cells.index))


def label_rows(
    images: pd.DataFrame, kept: set[str], label: LabelTable, tables: Tables
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Labels of the images (or studies) that the dataset holds.

    Args:
        images: all rows of `orthoray.data.arrange`.
        kept: ids of those that became images.
        label: the card's entry.
        tables: the source's tables.

    Returns:
        Rows of `SCHEMA`, and an account: ``rows = matched + unmatched`` rows of the table, the ``reasons`` of the
        unmatched, and the number of ``samples`` (several rows may speak of one sample, and one row of several).

    Raises:
        InputError: a cell that is no class, or two rows that disagree about one sample.
    """
    table = label_table(label, tables).reset_index(drop=True)
    keys = [name for name in table.columns if name != "label"]
    labelled = table.dropna(subset="label").assign(row=lambda part: part.index)
    columns = [*dict.fromkeys([*keys, label.unit, "patient_id", "stays"])]
    known = images.assign(stays=images["image_id"].isin(kept))[columns].drop_duplicates()
    merged = labelled.merge(known, on=keys, how="inner")
    found = merged[merged["stays"]]
    samples = found.drop_duplicates([label.unit, "label"])
    if samples[label.unit].duplicated().any():
        raise InputError(
            f"{label.table}: rows disagree about {label.column} of the same {label.unit}; add to `key` in the card, or "
            "correct the table."
        )
    matched, seen = found["row"].nunique(), merged["row"].nunique()
    account = {
        "rows": len(table),
        "matched": matched,
        "unmatched": len(table) - matched,
        "reasons": {
            "no label": len(table) - len(labelled),
            "no such image in the source": len(labelled) - seen,
            "its images were excluded": seen - matched,
        },
        "samples": len(samples),
    }
    names = class_names(label.task)
    rows = pd.DataFrame(
        {
            "sample_id": samples[label.unit],
            "patient_id": samples["patient_id"],
            "label": samples["label"].astype("int64"),
            "label_source": f"{label.table}:{label.column}",
            "class_name": [names[value] if names else str(value) for value in samples["label"]],
        }
    )
    return rows.sort_values("sample_id", ignore_index=True), account


def write_labels(
    out: str, card: DatasetCard, images: pd.DataFrame, kept: set[str], tables: Tables
) -> dict[str, dict[str, Any]]:
    """Write ``labels/<task>.parquet`` for every task of the card that has samples; return the account of each."""
    audit: dict[str, dict[str, Any]] = {}
    for label in card.labels:
        rows, account = label_rows(images, kept, label, tables)
        audit[label.task] = {**account, "classes": rows["class_name"].value_counts().sort_index().to_dict()}
        if len(rows):
            table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False)
            file = storage.join(out, "labels", f"{label.task}.parquet")
            storage.write_table(table.replace_schema_metadata(None), file)
    return audit
