"""Facts of images from a card's tables: cells checked before anything is read, then joined to the images."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from orthoray.data.card_tables import ALLOWED, HASHED, NUMBERS, FactColumn, FactsTable, TableJoin
from orthoray.data.tables import Tables
from orthoray.data.wrong_cells import meant, quotable, told
from orthoray.errors import InputError, nearest
from orthoray.imaging.laterality import CONFIDENCE

TARGET = {"patient": "patient_key", "study": "study_key", "series": "series_key", "days_from_baseline": "days"}
"""Facts of tables whose column among the rows has another name."""


def check_cells(join: TableJoin, tables: Tables, private: Collection[str] = ()) -> None:
    """Check that every filled cell of an entry's facts, and of its keys, is what it is needed for.

    Args:
        join: the card's entry.
        tables: the source's tables.
        private: columns that are not quoted beside those that identify in the entry itself (`identifying`).

    Raises:
        InputError: a missing table or column, or wrong cells. All columns with wrong cells are told.
    """
    told_by = join.columns if isinstance(join, FactsTable) else {}
    columns = [*join.key.items(), *told_by.items()]
    hidden = {*private, *identifying(join)}
    faults = [_fault(join, fact, column, tables.column(join, column), hidden) for fact, column in columns]
    if any(faults):
        raise InputError("\n".join(filter(None, faults)))


def facts_rows(facts: FactsTable, tables: Tables, private: Collection[str] = ()) -> tuple[pd.DataFrame, dict[str, int]]:
    """The distinct rows of a table of facts that have all their keys.

    Returns:
        The key columns, named by fact, and ``table_<fact>`` for every fact, as text (identifiers as pseudonyms, other
        cells as the card's ``values`` map them, empty = the table does not say). And ``rows`` of the table, and how
        many of them are ``without_key``.

    Raises:
        InputError: as `check_cells`; or rows with the same key that say different things.
    """
    check_cells(facts, tables, private)
    keys = tables.keys(facts)
    said = {f"table_{fact}": tables.facts(facts, fact, column) for fact, column in facts.columns.items()}
    table = pd.concat([keys, pd.DataFrame(said)], axis=1)
    counts = {"rows": len(table), "without_key": int((keys == "").any(axis=1).sum())}
    table = table[(keys != "").all(axis=1)].drop_duplicates()
    if table.duplicated(list(keys.columns)).any():
        same = ", ".join(name for column in facts.key.values() for name in column.columns)
        raise InputError(f"{facts.table}: rows with the same {same} say different things about {list(facts.columns)}.")
    return table, counts


def with_facts(rows: pd.DataFrame, facts: FactsTable, tables: Tables) -> tuple[pd.DataFrame, dict[str, int]]:
    """The survey's rows with what a table says about them, and how much of the table and of the images was found."""
    table, counts = facts_rows(facts, tables)
    names = sorted(facts.key)
    on = [f"{name}_key" if name in HASHED else name for name in names]
    merged = rows.merge(table, how="left", left_on=on, right_on=names, indicator="found")
    found = merged.pop("found") == "both"
    used = merged.loc[found, names].drop_duplicates()
    counts |= {"images": int(found.sum()), "images_not_in_table": int((~found).sum())}
    counts["rows_without_image"] = len(table) - len(used)
    merged = merged.drop(columns=[name for name in names if name not in rows.columns])
    for fact in facts.columns:
        cells = merged.pop(f"table_{fact}").fillna("")
        target = TARGET.get(fact, fact)
        merged[target] = _override(merged[target], cells)
        if fact == "laterality":
            merged.loc[cells != "", "laterality_source"] = "table"
            merged.loc[cells != "", "laterality_confidence"] = CONFIDENCE["table"]
    return merged, counts


def _override(known: pd.Series, cells: pd.Series) -> pd.Series:
    """Cells where there are some, else what is known; numbers stay numbers."""
    if known.dtype.kind == "f":
        return pd.to_numeric(cells, errors="coerce").fillna(known)
    return cells.where(cells != "", known)


def _fault(join: TableJoin, fact: str, column: FactColumn, cells: pd.Series, hidden: set[str]) -> str:
    """What is wrong with the filled cells of a column, and what to write; empty if nothing is."""
    filled = cells[cells != ""]
    allowed = tuple(column.values) or ALLOWED.get(fact, ())
    if allowed:
        wrong = filled[~filled.isin(allowed)]
    elif fact in NUMBERS:
        wrong = filled[~np.isfinite(pd.to_numeric(filled, errors="coerce"))]
    else:
        return ""
    if wrong.empty:
        return ""
    name, identifies = ", ".join(column.columns), not hidden.isdisjoint(column.columns)
    need = f"one of {', '.join(allowed)} needed" if allowed else "numbers needed"
    return (
        f"{join.table}: {len(wrong)} cell(s) of column '{name}' cannot be used as '{fact}': {need}; "
        f"{told(wrong, name, identifies=identifies)}. "
        f"{_remedy(fact, column, quotable(wrong, name, identifies=identifies))}"
        "Or correct the table; cells that mean nothing are listed in `missing`."
    )


def _remedy(fact: str, column: FactColumn, shown: list[str]) -> str:
    """What to write into the card."""
    if column.values:
        near = next((text for cell in shown if (text := nearest(cell, column.values))), "").strip()
        return f"Add them to its `values`. {near + ' ' if near else ''}"
    if fact in NUMBERS:
        return ""
    pairs = ", ".join(f"{cell}: {meant(fact, cell, ALLOWED[fact])}" for cell in shown) or "…: …"
    name = column.column if isinstance(column.column, str) else f"[{', '.join(column.column)}]"
    return f"Map all its cells in the card, {fact}: {{column: {name}, values: {{{pairs}}}}}. "


def identifying(*joins: TableJoin) -> set[str]:
    """Columns of some entries that find or name persons, studies, images or files."""
    facts = [pair for join in joins for pair in join.key.items()]
    facts += [pair for join in joins if isinstance(join, FactsTable) for pair in join.columns.items()]  # type: ignore[misc]
    return {name for fact, column in facts if fact in (*HASHED, "file") for name in column.columns}
