"""SAS tables as text cells."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from orthoray import storage
from orthoray.errors import InputError

SUFFIXES = (".sas7bdat", ".xpt")


def read_sas(uri: str, name: str) -> pd.DataFrame:
    """Read a SAS7BDAT or SAS transport file.

    Returns:
        Text cells: whole numbers without a point (``3``), others with all their digits (``1.4``), dates as ISO 8601,
        missing values (``.``, ``.A`` …) as empty text.

    Raises:
        InputError: no SAS table, or a damaged one.
    """
    local = storage.local_path(uri)
    if local is not None:
        return _read(local, name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(name).name
        copy.write_bytes(storage.read_bytes(uri))
        return _read(copy, name)


def _read(path: Path, name: str) -> pd.DataFrame:
    import pyreadstat

    reader = pyreadstat.read_sas7bdat if path.suffix.lower() == ".sas7bdat" else pyreadstat.read_xport
    try:
        table, _ = reader(str(path))
    except Exception as error:  # the reader's messages quote paths and cells: only the type goes on
        raise InputError(f"{name}: not a SAS table, or a damaged one ({type(error).__name__}).") from None
    return pd.DataFrame({str(column): table[column].map(cell_text).astype(str) for column in table.columns}, dtype=str)


def cell_text(value: Any) -> str:
    """A cell as text; NaN, NaT and None as empty text."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat()
    return value.isoformat() if isinstance(value, datetime.date) else str(value).strip()
