"""Delimited text tables as cohorts and hospitals hand them out: any separator, encoding and line end."""

from __future__ import annotations

import csv
import io
from typing import Literal

import pandas as pd

from orthoray.errors import InputError

SEPARATORS = "|\t,;"
"""Separators that are looked for in the first line; the one that occurs most often there is taken."""

NDA_KEYS = ("subjectkey", "src_subject_id")
"""Columns of every table of the NIMH Data Archive; its second line describes the columns."""

csv.field_size_limit(1 << 24)


def parse_text(content: bytes, name: str, names: list[str] | None = None) -> pd.DataFrame:
    """Parse a delimited text table.

    UTF-8 (with or without byte order mark) is tried first, then Latin-1. Lines end in LF or CRLF. Quotes mean nothing
    in a ``|``-separated table (free text there holds stray ones). The second header line of the NIMH Data Archive is
    dropped. Cells are stripped of white space and otherwise left alone: leading zeros stay.

    Args:
        content: the file.
        name: its name for messages.
        names: names of the columns of a table without a header line.

    Raises:
        InputError: no text, no line, a column name given twice, or a line with more or fewer cells than the header.
    """
    lines = _lines(content, name, names)
    width = len(names) if names else len(lines[0][1])
    header = names or [cell.strip() for cell in lines[0][1]]
    for number, cells in lines:
        if len(cells) != width:
            raise InputError(
                f"{name}: line {number} has {len(cells)} cells, and there are {width} columns. Is it cut off?"
            )
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise InputError(f"{name}: column '{twice[0]}' occurs twice.")
    rows = [[cell.strip() for cell in cells] for _, cells in (lines if names else lines[1:])]
    table = pd.DataFrame(rows, columns=header, dtype=str)
    return _without_descriptions(table.loc[:, [column for column in header if column]])


def _lines(content: bytes, name: str, names: list[str] | None) -> list[tuple[int, list[str]]]:
    """Number and cells of every line that is not blank."""
    if b"\0" in content:
        raise InputError(f"{name}: not a text table (it holds zero bytes). Save it as CSV in UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    plain = separator == "|"
    handle = io.StringIO(text, newline="")
    quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    reader = csv.reader(handle, delimiter=separator, quoting=quoting, strict=not plain)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV table (line {reader.line_num}: {type(error).__name__}).") from None
    if not lines:
        raise InputError(f"{name}: not a CSV table (it is empty).")
    return lines


def _without_descriptions(table: pd.DataFrame) -> pd.DataFrame:
    lower = {column.lower(): column for column in table.columns}
    key = next((lower[name] for name in NDA_KEYS if name in lower), None)
    described = key is not None and len(table) > 0 and " " in str(table[key].iloc[0])
    return table.iloc[1:].reset_index(drop=True) if described else table
