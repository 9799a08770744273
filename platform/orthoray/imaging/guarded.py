"""Functions that read foreign files, called in a child process with limits on memory and time.

Native codecs crash on damaged files, and a small file can declare or inflate to a large one. What happens to the child
then is one file's fate; the caller goes on with the next.

This guards against accidents and exhaustion. It is no sandbox: the child runs as the same user. It has little of the
parent's environment, and what it answers is unpickled with an allow-list, so that neither keys nor code pass as a
matter of course.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from orthoray.imaging.guarded_child import Names
from orthoray.imaging.guarded_process import Child, LostError
from orthoray.imaging.reasons import UnreadableImageError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Guarded:
    """Calls functions in one child process that is started when needed and kept for the next call.

    The child starts by executing Python anew, never as a fork of a process with threads; it has no standard input,
    its output and warnings go nowhere (they may quote headers), it leaves no core dump, and it ends with its parent.
    The memory limit is RLIMIT_DATA: it counts what is allocated (heap, anonymous and private writable mappings), while
    RLIMIT_AS would also count the gigabytes of address space that allocators reserve and the code of libraries.

    Calls from several threads wait for each other. Use as a context manager, or leave the child to the garbage
    collector and the end of the interpreter.

    Args:
        memory_bytes: what the child may allocate, Python and libraries (about 100 MB) included.
        timeout_s: seconds that one call may take; starting and importing do not count.
        environment: variables for the child beside `orthoray.imaging.guarded_process.KEPT`, such as the credentials of
            an object store that it reads from.
    """

    def __init__(self, memory_bytes: int, timeout_s: float, environment: Mapping[str, str] | None = None) -> None:
        self.memory_bytes, self.timeout_s = memory_bytes, timeout_s
        self.environment = dict(environment or {})
        self._lock = threading.Lock()
        self._child: Child | None = None

    def call(
        self, function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
    ) -> Result:
        """Call ``function(*arguments, **options)`` in the child.

        Args:
            function: found by module and name there, so neither a lambda nor a method of an instance.
            arguments, options: anything that pickles.

        Returns:
            The function's result: plain values, dates, NumPy arrays, and dataclasses, named tuples and enumerations of
            this package or the function's.

        Raises:
            UnreadableImageError: the one that the function raised; ``decoder_crashed`` with the name of the signal that
                ended the child; ``too_large`` if it needed more memory; ``timeout``; ``decoder_failed`` with the type
                and place of any other exception. A crash or a lack of memory counts only in a child that is fresh:
                what earlier files left behind in one is not held against this file.
            RuntimeError: the child cannot start or cannot import the function.
            TypeError: a function that cannot be found by name, or a result with other types.
        """
        names = _names(function)
        with self._lock:
            try:
                while True:
                    child = self._ready(names)
                    fresh, child.fresh = child.fresh, False
                    try:
                        return self._result(child.ask(("call", names, arguments, options), self.timeout_s))  # type: ignore[no-any-return]
                    except LostError as loss:
                        if fresh or loss.reason == "timeout":
                            raise UnreadableImageError(loss.reason, loss.detail) from None
            finally:
                if self._child is not None and not self._child.usable:
                    self._drop()

    def close(self) -> None:
        """End the child; a later call starts another."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._child.process.pid if self._child is not None else None

    def _ready(self, names: Names) -> Child:
        """A child that has imported a function."""
        if self._child is None or not self._child.usable:
            self._drop()
            self._child = Child(self.memory_bytes, self.environment)
        self._child.load(names)
        return self._child

    @staticmethod
    def _result(answer: tuple[Any, ...]) -> Any:
        kind, *found = answer
        if kind == "unreadable":
            raise UnreadableImageError(*map(str, found))
        if kind == "failed":
            raise UnreadableImageError("decoder_failed", " at ".join(map(str, found)))
        return found[0]

    def _drop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end_it()


def _names(function: Callable[..., Any]) -> Names:
    names = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not all(names) or "<" in str(names[1]) or names[0] == "__main__":
        raise TypeError("a guarded function must be found by its module and name")
    return str(names[0]), str(names[1])
