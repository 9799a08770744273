"""Files on any filesystem: local paths and fsspec URIs (``s3://``, ``memory://`` …) behind one set of names."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from pyarrow import fs as arrow_filesystem

from orthoray.errors import InputError


def filesystem(uri: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the fsspec filesystem of ``uri`` and the path inside it; InputError for an unknown scheme."""
    text = os.fspath(uri)
    if text.startswith("/"):  # "::" in a name on this machine joins no two locations
        local = fsspec.filesystem("file")
        return local, str(local._strip_protocol(text))
    try:
        found, path = url_to_fs(text)
    except (ValueError, ImportError) as error:
        raise InputError(f"{uri}: this location cannot be opened: {error}") from None
    return found, path


def arrow_fs(uri: str | Path) -> tuple[arrow_filesystem.FileSystem, str]:
    """Return a pyarrow filesystem and the path inside it, for Parquet readers."""
    found, path = filesystem(uri)
    if is_local(uri):
        return arrow_filesystem.LocalFileSystem(), path
    return arrow_filesystem.PyFileSystem(arrow_filesystem.FSSpecHandler(found)), path


def is_local(uri: str | Path) -> bool:
    """True for plain paths and ``file://`` URIs."""
    protocol = filesystem(uri)[0].protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def local_path(uri: str | Path) -> Path | None:
    """The local path of ``uri``, or None when it lies on a remote filesystem."""
    return Path(filesystem(uri)[1]) if is_local(uri) else None


def absolute(uri: str | Path) -> str:
    """``uri`` made independent of the working directory (Ray workers run elsewhere); remote URIs unchanged."""
    path = local_path(uri)
    return os.fspath(uri) if path is None else str(path.resolve())


def join(uri: str | Path, *parts: str) -> str:
    """Join path parts onto a URI with single slashes."""
    base = os.fspath(uri)
    return "/".join([base.rstrip("/") or "/", *(part.strip("/") for part in parts)])


def exists(uri: str | Path) -> bool:
    """True if a file or folder is there."""
    found, path = filesystem(uri)
    return bool(found.exists(path))


def is_folder(uri: str | Path) -> bool:
    """True if ``uri`` is an existing folder."""
    found, path = filesystem(uri)
    return bool(found.isdir(path))


def makedirs(uri: str | Path) -> None:
    """Create a folder and its parents; no error if it is there already."""
    found, path = filesystem(uri)
    found.makedirs(path, exist_ok=True)


def list_files(uri: str | Path, suffix: str = "") -> list[str]:
    """All files below ``uri`` whose name ends in ``suffix``, sorted, as URIs of the same scheme."""
    found, path = filesystem(uri)
    if not found.isdir(path):
        return []
    names = sorted(str(name) for name in found.find(path) if str(name).endswith(suffix))
    return names if is_local(uri) else [found.unstrip_protocol(name) for name in names]


def remove_tree(uri: str | Path) -> None:
    """Remove a file or a folder with all it holds; no error if nothing is there."""
    found, path = filesystem(uri)
    if found.exists(path):
        found.rm(path, recursive=True)


def clone_tree(source: str | Path, target: str | Path) -> None:
    """Copy a folder; local files as hard links where the filesystem has them, so that none is read.

    Files of the copy must be replaced as wholes (`replacing`), never changed in place.
    """
    found, path = filesystem(source)
    destination = filesystem(target)[1]
    if not is_local(source):
        found.copy(path, destination, recursive=True)
        return
    shutil.copytree(path, destination, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def rename(source: str | Path, target: str | Path) -> None:
    """Move a file or folder within one filesystem (atomic on local filesystems)."""
    found, path = filesystem(source)
    destination = filesystem(target)[1]
    if is_local(source):
        os.replace(path, destination)
    else:
        found.mv(path, destination, recursive=found.isdir(path))


def open_file(uri: str | Path, mode: str = "rb") -> IO[Any]:
    """Open a file on any filesystem."""
    found, path = filesystem(uri)
    return found.open(path, mode)  # type: ignore[no-any-return]


@contextmanager
def replacing(uri: str | Path) -> Iterator[str]:
    """Yield a temporary URI beside ``uri``; on success it takes the place of ``uri``, on failure it is removed."""
    parent, _, name = os.fspath(uri).rpartition("/")
    temporary = f"{parent}/.{name}.{uuid.uuid4().hex[:8]}.tmp" if parent else f".{name}.{uuid.uuid4().hex[:8]}.tmp"
    makedirs(parent or ".")
    try:
        yield temporary
        rename(temporary, uri)
    except BaseException:
        remove_tree(temporary)
        raise


def read_bytes(uri: str | Path) -> bytes:
    """The whole content of a file."""
    with open_file(uri, "rb") as handle:
        return bytes(handle.read())


def write_bytes(uri: str | Path, content: bytes) -> None:
    """Write a file atomically, creating its folder."""
    with replacing(uri) as temporary, open_file(temporary, "wb") as handle:
        handle.write(content)


def read_json(uri: str | Path) -> Any:
    """Parse a JSON file; InputError if it is missing or damaged."""
    try:
        return json.loads(read_bytes(uri))
    except FileNotFoundError:
        raise InputError(f"{uri}: no such file.") from None
    except ValueError as error:
        raise InputError(f"{uri}: damaged JSON: {error}") from None


def write_json(uri: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_bytes(uri, (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n").encode())


def read_table(uri: str | Path, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file."""
    found, path = arrow_fs(uri)
    return pq.read_table(path, columns=columns, filesystem=found)


def write_table(table: pa.Table, uri: str | Path, **options: Any) -> None:
    """Write one Parquet file atomically (zstd unless ``compression`` says otherwise)."""
    options.setdefault("compression", "zstd")
    with replacing(uri) as temporary:
        found, path = arrow_fs(temporary)
        pq.write_table(table, path, filesystem=found, **options)
