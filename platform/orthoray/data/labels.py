"""Label tables: from the source's tables to ``labels/<task>.parquet`` and ``splits/<task>.parquet``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.card_tables import LabelTable
from orthoray.data.cards import DatasetCard
from orthoray.data.facts import check_cells, identifying
from orthoray.data.schema import as_table
from orthoray.data.splits import write_splits
from orthoray.data.tables import Tables
from orthoray.data.task_cards import class_names, task_card
from orthoray.data.wrong_cells import told
from orthoray.errors import InputError

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("patient_id", pa.string()),
        ("label", pa.int64()),
        ("label_source", pa.string()),
        ("class_name", pa.string()),
        ("event", pa.int64()),
        ("days", pa.int64()),
        ("boxes", pa.string()),
    ]
)
"""``event`` (1 = it happened, 0 = observation ended) and ``days`` to either: of survival labels, else null. ``boxes``
(JSON, [[slice, x, y, width, height], …] in pixels of the source's image): of findings that were drawn, else null."""

TEXTS = ("boxes", "split", "source", "reason")
TOLD = ("label", "event", "days", *TEXTS)
"""Columns of `label_table` that are no keys."""

COLUMN_OF = {
    "patient": "patient_id",
    "study": "study_key",
    "series": "series_key",
    "image": "image_key",
    "accession": "accession_key",
}


def label_table(label: LabelTable, tables: Tables, private: Collection[str] = ()) -> pd.DataFrame:
    """The rows of a card's entry. ``private``: columns of which no cell is quoted, beside those that identify in it.

    Returns:
        Key columns, ``label`` (Int64; NA = empty cell), ``event`` and ``days`` (Int64, NA where the entry has none),
        ``boxes``, ``split``, ``source`` and ``reason`` (text, empty where the entry has none).

    Raises:
        InputError: a missing table or column, a cell that is no class of the task, no key or no number of days.
    """
    check_cells(label, tables, private)
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
        which = told(wrong, label.column, identifies=label.column in {*private, *identifying(label)})
        raise InputError(
            f"{label.table}: {len(wrong)} cell(s) of column {label.column} are no class of {label.task} (classes: "
            f"{', '.join(names) or 'whole numbers from 0'}); {which}. Map cells to classes with `values` in the card."
        )
    return keys[chosen].assign(
        label=values.astype("Int64").reindex(cells.index),
        event=_whole(label, tables, label.event, highest=1)[chosen],
        days=_whole(label, tables, label.days)[chosen],
        **{name: _text(label, tables, getattr(label, name))[chosen] for name in TEXTS},
    )


def _text(label: LabelTable, tables: Tables, column: str) -> pd.Series:
    """A column as text; all empty where the entry names none."""
    cells = tables.column(label, column or label.column)
    return cells if column else pd.Series("", index=cells.index, dtype=str)


def _whole(label: LabelTable, tables: Tables, column: str, highest: float = float("inf")) -> pd.Series:
    """A column of whole numbers from 0 (Int64, NA where empty or where the entry names none)."""
    cells = _text(label, tables, column)
    numbers = pd.to_numeric(cells.where(cells != ""), errors="coerce")
    wrong = (cells != "") & (numbers.isna() | (numbers % 1 != 0) | (numbers < 0) | (numbers > highest))
    if wrong.any():
        need = "0 or 1" if highest == 1 else "a whole number from 0"
        raise InputError(f"{label.table}: {int(wrong.sum())} cell(s) of column {column} are not {need}.")
    return numbers.astype("Int64")


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
        Rows of `SCHEMA` with their ``split``, and an account: ``rows = matched + unmatched`` rows of the table, the
        ``reasons`` of the unmatched, and the number of ``samples`` (several rows may speak of one sample, and one row
        of several).

    Raises:
        InputError: a cell that is no class, or two rows that disagree about one sample.
    """
    table = label_table(label, tables).reset_index(drop=True)
    keys = [name for name in table.columns if name not in TOLD]
    labelled = table.dropna(subset="label").assign(row=lambda part: part.index)
    columns = [*dict.fromkeys([*keys, label.unit, "patient_id", "stays"])]
    known = images.assign(stays=images["image_id"].isin(kept))[columns].drop_duplicates()
    merged = labelled.merge(known, on=keys, how="inner")
    found = merged[merged["stays"]]
    samples = found.drop_duplicates([label.unit, "label", "event", "days", "boxes", "split", "source"])
    if samples[label.unit].duplicated().any():
        raise InputError(
            f"{label.table}: rows disagree about {label.column} of the same {label.unit}; add to `key` in the card, or "
            "correct the table."
        )
    matched, seen = found["row"].nunique(), merged["row"].nunique()
    unlabelled = table.loc[table["label"].isna(), "reason"]
    account = {
        "rows": len(table),
        "matched": matched,
        "unmatched": len(table) - matched,
        "reasons": {
            "no label": int((unlabelled == "").sum()),
            "no such image in the source": len(labelled) - seen,
            "its images were excluded": seen - matched,
        }
        | {f"no label: {reason}": int(count) for reason, count in unlabelled[unlabelled != ""].value_counts().items()},
        "samples": len(samples),
    }
    return _rows(samples, label).sort_values("sample_id", ignore_index=True), account


def _rows(samples: pd.DataFrame, label: LabelTable) -> pd.DataFrame:
    names = dict(enumerate(class_names(label.task))) or {value: cell for cell, value in label.values.items()}
    return pd.DataFrame(
        {
            "sample_id": samples[label.unit],
            "patient_id": samples["patient_id"],
            "label": samples["label"].astype("int64"),
            "label_source": samples["source"].where(samples["source"] != "", f"{label.table}:{label.column}"),
            "class_name": [names.get(value, str(value)) for value in samples["label"]],
            "event": samples["event"],
            "days": samples["days"],
            "boxes": samples["boxes"].where(samples["boxes"] != "", None),
            "split": samples["split"],
        }
    )


def find_labels(
    card: DatasetCard, images: pd.DataFrame, kept: set[str], tables: Tables
) -> Iterator[tuple[LabelTable, pd.DataFrame, dict[str, Any]]]:
    """Rows and account of every entry of the card (`label_rows`).

    The account also says whether the task has a card (``task_card``), how many samples are in each of the ``classes``
    and, where the entry names a `split`, in each of its ``parts``.

    Raises:
        InputError: as `label_rows`; a sample without a part, or a patient in two parts.
    """
    for label in card.labels:
        rows, account = label_rows(images, kept, label, tables)
        account |= {"classes": _counts(rows["class_name"]), "task_card": bool(task_card(label.task))}
        if label.split and len(rows):
            rows = _split(rows, label)
            account["parts"] = _counts(rows["split"])
        yield label, rows, account


def write_labels(
    out: str, card: DatasetCard, images: pd.DataFrame, kept: set[str], tables: Tables
) -> dict[str, dict[str, Any]]:
    """Write ``labels/<task>.parquet`` for every task of the card that has samples; return the account of each.

    A task whose entry names a `split` also gets ``splits/<task>.parquet`` (`orthoray.data.splits`): ``role`` is the
    cell, and ``fold`` numbers the parts in the order of their names.

    Raises:
        InputError: as `find_labels`.
    """
    audit: dict[str, dict[str, Any]] = {}
    storage.remove_tree(storage.join(out, "splits"))
    for label, rows, account in find_labels(card, images, kept, tables):
        audit[label.task] = account
        if len(rows):
            storage.write_table(as_table(rows, SCHEMA), storage.join(out, "labels", f"{label.task}.parquet"))
            if label.split:
                write_splits(storage.join(out, "splits", f"{label.task}.parquet"), rows)
    return audit


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().sort_index().items()}


def _split(rows: pd.DataFrame, label: LabelTable) -> pd.DataFrame:
    """The rows with the columns of `orthoray.data.splits` for the parts that a table tells."""
    unassigned = int((rows["split"] == "").sum())
    if unassigned:
        raise InputError(f"{label.table}: {unassigned} sample(s) of {label.task} have no cell in column {label.split}.")
    shared = int((rows.groupby("patient_id")["split"].nunique() > 1).sum())
    if shared:
        raise InputError(
            f"{label.table}: {shared} patient(s) are in more than one part of column {label.split}, so images of one "
            "person would be trained on and tested. Correct the table, or leave `split` out of the card."
        )
    return rows.assign(fold=pd.factorize(rows["split"], sort=True)[0], role=rows["split"])
