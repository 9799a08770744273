"""What files a source holds: names, sizes and times, without opening any."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from orthoray import storage
from orthoray.data.cards import DatasetCard
from orthoray.errors import InputError
from orthoray.imaging.names import as_text
from orthoray.progress import say

Row = tuple[str, int, str]
"""Name, size and time of a file."""


def list_source(source: str, card: DatasetCard, limit: int | None = None) -> pd.DataFrame:
    """Files of a source that match the card's patterns.

    Links to folders are not followed, so a loop of links ends, and are told; links to files are.

    Returns:
        ``file`` (path relative to the source, as `orthoray.imaging.names.as_text` has it), ``size`` (bytes) and
        ``changed`` (text that differs when the file was written again: the time in ns, or the store's tag), sorted by
        ``file``; the first ``limit`` rows.

    Raises:
        InputError: no such folder, a folder that cannot be looked into, or no file that matches.
    """
    if not storage.is_folder(source):
        raise InputError(f"{source}: no such folder. Give the folder that holds the images with --source.")
    local = storage.local_path(source)
    found = _walk(local) if local is not None else list(_find(source))
    matches = re.compile("|".join(f"(?:{expression})" for expression in _expressions(card.patterns))).match
    chosen = sorted(row for row in found if matches(row[0]))
    if not chosen:
        raise InputError(
            f"{source}: none of its {len(found)} files match {', '.join(card.patterns)} (card '{card.name}'). "
            "Check --source, or `glob` in the card."
        )
    return pd.DataFrame(chosen[:limit], columns=["file", "size", "changed"])


def _expressions(patterns: list[str]) -> Iterator[str]:
    """Shell patterns as regular expressions; ``**/`` also stands for no folder at all."""
    for pattern in patterns:
        yield fnmatch.translate(pattern)
        yield fnmatch.translate(pattern.replace("**/", ""))


def _walk(root: Path) -> list[Row]:
    """Everything below a folder but folders; InputError where one cannot be looked into."""
    found: list[Row] = []
    folders, closed, links = [(str(root), "")], 0, 0
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((entry.path, f"{prefix}{entry.name}/"))
                    else:
                        links += entry.is_symlink() and os.path.isdir(entry.path)
                        found.append((as_text(f"{prefix}{entry.name}"), *_state(entry)))
        except OSError:
            closed += 1
    if closed:
        raise InputError(
            f"{root}: {closed} of its folders cannot be looked into, so files could be missing. Nothing was written. "
            f"Correct their permissions (`find {root} > /dev/null` names them) and give the command again."
        )
    if links:
        say(f"  {links:,} link(s) to folders are not followed; what they lead to needs a --source of its own")
    return found


def _state(entry: os.DirEntry[str]) -> tuple[int, str]:
    """Size and time; of what cannot be looked at (a link to nowhere, no permission) zero, and reading will tell."""
    try:
        state = entry.stat()
    except OSError:
        return 0, ""
    return state.st_size, str(state.st_mtime_ns)


def _find(source: str) -> Iterator[Row]:
    filesystem, path = storage.filesystem(source)
    start = len(path.rstrip("/")) + 1
    for name, info in filesystem.find(path, detail=True).items():
        tag = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("created") or ""
        yield str(name)[start:], int(info.get("size") or 0), str(tag)
