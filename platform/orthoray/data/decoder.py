"""Guarded children of a worker process: files are parsed and decoded there, in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from orthoray.imaging import UnreadableImageError
from orthoray.imaging.guarded import Guarded

MEMORY_BYTES = 4 << 30
"""What a child may allocate: a film of 512 MiB as stored values, twice as floats, and its libraries."""

SECONDS_PER_CALL = 120.0
"""How long a batch may take, and then each of its files alone."""

STORES = ("AWS_", "GOOGLE_", "AZURE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Beginnings of the names of variables that a child needs to read from object stores."""

Item = TypeVar("Item")
Result = TypeVar("Result")
_guards: dict[str, Guarded] = {}


def decoder(name: str = "pixels") -> Guarded:
    """A child of this process by its purpose; it starts when first used and ends with the process."""
    if name not in _guards:
        stores = {key: value for key, value in os.environ.items() if key.upper().startswith(STORES)}
        _guards[name] = Guarded(memory_bytes=MEMORY_BYTES, timeout_s=SECONDS_PER_CALL, environment=stores)
    return _guards[name]


def in_batches(
    work: Callable[..., list[Result]],
    items: Iterable[Item],
    size: int,
    refused: Callable[[Item, UnreadableImageError], Result],
    *arguments: Any,
    guard: str = "pixels",
) -> Iterator[tuple[Item, Result]]:
    """Call ``work(batch, *arguments)`` in the child for batches of ``size`` items; one result for each item.

    Where a batch kills the child, takes too long or too much memory, its items are given to fresh children one by one,
    so that only those at fault are ``refused``.
    """
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield from zip(batch, _results(decoder(guard), work, batch, refused, arguments), strict=True)


def _results(
    guard: Guarded,
    work: Callable[..., list[Result]],
    batch: Sequence[Item],
    refused: Callable[[Item, UnreadableImageError], Result],
    arguments: tuple[Any, ...],
) -> list[Result]:
    try:
        return list(guard.call(work, batch, *arguments))
    except UnreadableImageError as error:
        if len(batch) == 1:
            return [refused(batch[0], error)]
    return [result for item in batch for result in _results(guard, work, [item], refused, arguments)]
