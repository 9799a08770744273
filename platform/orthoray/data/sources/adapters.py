"""Which adapter makes which table."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from orthoray.data.sources.fastmri import FastmriTables
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.hospital import HospitalTables
from orthoray.data.sources.most import MostTables
from orthoray.data.sources.mrnet import MrnetTables
from orthoray.data.sources.oai import OaiTables
from orthoray.data.sources.options import (
    AdapterOptions,
    FastmriOptions,
    HospitalOptions,
    MostOptions,
    MrnetOptions,
    OaiOptions,
)

Makers = dict[str, Callable[[], pd.DataFrame]]
"""Name of a table → function that makes it: text cells, empty text where nothing is known."""


def makers(options: AdapterOptions, source: str, images: Iterable[str] | None = None) -> Makers:
    """Makers of an adapter's tables.

    Args:
        options: the card's ``adapter``.
        source: URI of the source folder.
        images: paths of its images relative to it, where they are known; else the folder is listed.
    """
    if isinstance(options, HospitalOptions):
        return HospitalTables(SourceFiles(source, images, tables=""), options).makers
    if isinstance(options, MrnetOptions):
        return MrnetTables(SourceFiles(source, images, tables="")).makers
    files = SourceFiles(source, images, options.tables)
    if isinstance(options, OaiOptions):
        return OaiTables(files, options).makers
    if isinstance(options, MostOptions):
        return MostTables(files, options).makers
    assert isinstance(options, FastmriOptions)
    return FastmriTables(files, options).makers
