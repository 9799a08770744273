"""Unpickling what a process sent that has touched foreign files: plain values and records, nothing that runs code."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterable
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

PLAIN = {
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
}
"""Module → what is taken from it: the constructors of dates and of NumPy's arrays and numbers."""


def unpickle(data: bytes | bytearray, buffers: Iterable[Any], module: str) -> Any:
    """Unpickle with an allow-list.

    Args:
        data: the pickle.
        buffers: what was left beside it (PEP 574).
        module: dataclasses, named tuples and enumerations are taken from its top package and from this one, if their
            module was imported before.

    Raises:
        TypeError: another type is in it.
        pickle.UnpicklingError: it is no pickle, or a damaged one.
    """
    packages = {__name__.partition(".")[0], module.partition(".")[0]}
    try:
        return _Unpickler(io.BytesIO(data), packages, buffers).load()
    except (_RefusedError, pickle.UnpicklingError):
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise pickle.UnpicklingError(type(error).__name__) from None


class _RefusedError(TypeError):
    pass


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, packages: set[str], buffers: Iterable[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self.packages = packages

    def find_class(self, module: str, name: str) -> Any:
        """The type that a pickle names, if it is on the list."""
        if name in PLAIN.get(module, ()):
            return super().find_class(module, name)
        if module.partition(".")[0] in self.packages and module in sys.modules:
            found = super().find_class(module, name)
            if isinstance(found, type) and (is_dataclass(found) or issubclass(found, Enum) or _is_tuple(found)):
                return found
        raise _RefusedError(f"a result holds a {module}.{name}, which is no plain value, array or record")


def _is_tuple(found: type) -> bool:
    return issubclass(found, tuple) and hasattr(found, "_fields")
