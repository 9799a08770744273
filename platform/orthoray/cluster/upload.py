"""The copy of the project that a job runs in: which files go, how large they are."""

from __future__ import annotations

import fnmatch
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orthoray.errors import InputError

MAX_BYTES = 100 << 20
"""Largest upload, before compression. Ray's job server refuses request bodies above the same 100 MiB."""

PROJECT_PARTS = ("platform", "jobs", "datasets", "pyproject.toml")
"""What goes of a checkout: code, presets and cards; never data, runs or anything else that lies beside them."""

EXCLUDED = (
    *(".*", "__pycache__", "*.py[co]", "*.egg-info", "*.tmp", "venv", "node_modules", "build", "dist"),
    *("runs", "orthoray-demo", "mlruns", "mlartifacts", "mlflow.db"),
)
"""Names that never go, at any depth: version control, environments, caches, runs and other outputs."""


@dataclass(frozen=True)
class Upload:
    """A folder ready for upload: ``folder``, ``package`` inside it, counts of files and bytes, where it came from."""

    folder: Path
    package: Path
    files: int
    size: int
    origin: Path


def stage(target: Path, working_dir: str | None, extra: dict[str, str]) -> Upload:
    """Copy what a job needs into the empty folder ``target``.

    Args:
        target: an existing empty folder.
        working_dir: the folder to copy (all but `EXCLUDED`); None = the `PROJECT_PARTS` of this project.
        extra: path inside the copy → text of a file to add.

    Returns:
        The staged upload; it holds the package at ``platform/orthoray`` even if ``working_dir`` does not.

    Raises:
        InputError: no such folder, or more than `MAX_BYTES`; the message names the largest parts.
    """
    if working_dir is not None and not Path(working_dir).is_dir():
        raise InputError(f"--working-dir {working_dir}: no such folder.")
    origin = project_root() if working_dir is None else Path(working_dir).resolve()
    parts = PROJECT_PARTS if working_dir is None else ("",)
    sources = {path: path.relative_to(origin) for part in parts for path in walk(origin / part)}
    if not any(relative.parts[:2] == ("platform", "orthoray") for relative in sources.values()):
        package = Path(__file__).resolve().parent.parent
        sources |= {path: Path("platform/orthoray") / path.relative_to(package) for path in walk(package)}
    sizes = {relative: path.stat().st_size for path, relative in sources.items()}
    _check_size(sizes, origin)
    for path, relative in sources.items():
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target / relative)
    for place, text in extra.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_text(text, encoding="utf-8")
    count = len(sizes) + len(extra)
    return Upload(target, target / "platform" / "orthoray", count, sum(sizes.values()), origin)


def project_root() -> Path:
    """The checkout in the working directory, else the one that this package runs from, else an installed copy."""
    for root in (Path().resolve(), Path(__file__).resolve().parents[3]):
        if (root / "platform" / "orthoray" / "__init__.py").is_file():
            return root
    return Path(sys.prefix) / "share" / "orthoray"


def walk(path: Path) -> Iterator[Path]:
    """Every file at or under ``path`` in sorted order, without `EXCLUDED` names; linked folders are not entered."""
    if path.is_file():
        yield path
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not _is_excluded(name))
        for name in sorted(files):
            file = Path(folder) / name
            if not _is_excluded(name) and file.is_file():
                yield file


def _is_excluded(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in EXCLUDED)


def _check_size(sizes: dict[Path, int], origin: Path) -> None:
    total = sum(sizes.values())
    if total <= MAX_BYTES:
        return
    groups: dict[str, int] = {}
    for relative, size in sizes.items():
        groups[relative.parts[0]] = groups.get(relative.parts[0], 0) + size
    largest = sorted(groups.items(), key=lambda item: -item[1])[:5]
    shown = ", ".join(f"{name} {size / (1 << 20):.1f} MiB" for name, size in largest)
    raise InputError(
        f"{origin}: {total / (1 << 20):.1f} MiB would be uploaded, the limit is {MAX_BYTES >> 20} MiB. "
        f"Largest: {shown}. "
        "A job's copy is for code; put data where the cluster can read it and give its URI, or a smaller --working-dir."
    )
