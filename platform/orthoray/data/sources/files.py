"""The files of a source: images by their paths, tables by their names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import PurePosixPath

from orthoray import storage
from orthoray.data.sources.sas import SUFFIXES
from orthoray.data.sources.sheet import TEXT_SUFFIXES, Sheet, read_cells
from orthoray.errors import InputError, nearest

TABLE_SUFFIXES = (*TEXT_SUFFIXES, *SUFFIXES)


class SourceFiles:
    """Files below a source.

    Args:
        source: URI of the source folder.
        images: paths of the images relative to it, where they are known already; else everything below is listed.
        tables: folder below the source that holds the tables.
    """

    def __init__(self, source: str, images: Iterable[str] | None = None, tables: str = "tables") -> None:
        self.source, self.folder = source, tables
        self._images = None if images is None else list(images)

    @cached_property
    def images(self) -> list[str]:
        """Paths relative to the source, sorted; a listed folder's tables are none of them."""
        if self._images is not None:
            return sorted(self._images)
        return [name for name in self._relative(self.source, "") if not name.lower().endswith(TABLE_SUFFIXES)]

    @cached_property
    def _tables(self) -> list[str]:
        folder = storage.join(self.source, self.folder) if self.folder else self.source
        return [name for name in self._relative(folder, self.folder) if name.lower().endswith(TABLE_SUFFIXES)]

    def _relative(self, folder: str, prefix: str) -> list[str]:
        filesystem, path = storage.filesystem(folder)
        start = len(path.rstrip("/")) + 1
        head = f"{prefix.strip('/')}/" if prefix else ""
        return sorted(head + str(name)[start:] for name in filesystem.find(path)) if filesystem.isdir(path) else []

    def find(self, stem: str) -> str | None:
        """The table called ``stem``, whatever its suffix and the case of its name.

        Raises:
            InputError: several files are called so; which one is meant cannot be told.
        """
        found = [name for name in self._tables if PurePosixPath(name).stem.lower() == stem.lower()]
        if len(found) > 1:
            raise InputError(f"{', '.join(found)}: several tables are called '{stem}'. Keep one of them there.")
        return found[0] if found else None

    def optional(self, *stems: str) -> Sheet | None:
        """The table called like one of ``stems``, or None."""
        names = [name for stem in stems if (name := self.find(stem)) is not None]
        if len(names) > 1:
            raise InputError(f"{', '.join(names)}: these hold the same table. Keep one of them there.")
        return self.read(names[0]) if names else None

    def sheet(self, *stems: str) -> Sheet:
        """The table called like one of ``stems``; InputError if it is missing."""
        found = self.optional(*stems)
        if found is None:
            known = [PurePosixPath(name).stem for name in self._tables]
            raise InputError(
                f"{storage.join(self.source, self.folder)}: no table '{' or '.join(stems)}' "
                f"({', '.join(TABLE_SUFFIXES)}).{nearest(stems[0], known)}"
            )
        return found

    def read(self, name: str, names: list[str] | None = None) -> Sheet:
        """The table at a path relative to the source; ``names``: its columns where it has no header line."""
        uri = storage.join(self.source, name)
        if not storage.exists(uri):
            raise InputError(f"{uri}: this table of the card is missing. Put it there, or take it out of the card.")
        return Sheet(name, read_cells(uri, name, names))

    def matching(self, pattern: str) -> list[str]:
        """Paths relative to the source that match a shell pattern, sorted."""
        filesystem, path = storage.filesystem(self.source)
        start = len(path.rstrip("/")) + 1
        return sorted(str(name)[start:] for name in filesystem.glob(f"{path.rstrip('/')}/{pattern}"))
