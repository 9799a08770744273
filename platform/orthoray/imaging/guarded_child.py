"""The child's side of `orthoray.imaging.guarded`, and the messages between both sides.

The child runs this file as a program of the standard library alone: its limits stand before it imports anything that
could need memory.
"""

from __future__ import annotations

import pickle
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

OWN_BUFFER = 1 << 16
"""Bytes from which an array travels beside the pickle, which saves two copies of it."""

MAX_PARTS = 1 << 17
"""Buffers in one message; a result of `orthoray.imaging.limits.MAX_FRAMES` frames has fewer."""

Names = tuple[str, str]
"""Where a function is: module and qualified name."""


def send(end: socket.socket, message: Any) -> None:
    """Send anything that pickles (protocol 5, PEP 574): number of parts, their lengths, the pickle, large buffers."""
    buffers: list[memoryview] = []

    def beside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OWN_BUFFER:
            return True
        buffers.append(raw)
        return False

    first = pickle.dumps(message, protocol=5, buffer_callback=beside)
    lengths = [len(first), *(buffer.nbytes for buffer in buffers)]
    end.sendall(struct.pack(f"<Q{len(lengths)}Q", len(lengths), *lengths) + first)
    for buffer in buffers:
        end.sendall(buffer)


def receive(end: socket.socket, most: int, deadline: float | None = None) -> list[bytearray]:
    """Receive the parts of one message.

    Args:
        end: the connection.
        most: bytes of all parts together.
        deadline: on the clock `time.monotonic`; None waits for ever.

    Raises:
        EOFError: the other side is gone.
        pickle.UnpicklingError: it says nonsense.
        TimeoutError: the deadline passed.
        MemoryError: the message is longer than ``most``.
    """
    (count,) = struct.unpack("<Q", _exactly(end, 8, deadline))
    if not 0 < count <= MAX_PARTS:
        raise pickle.UnpicklingError
    lengths = struct.unpack(f"<{count}Q", _exactly(end, 8 * count, deadline))
    if sum(lengths) > most:
        raise MemoryError
    return [_exactly(end, length, deadline) for length in lengths]


def _exactly(end: socket.socket, length: int, deadline: float | None) -> bytearray:
    data = bytearray(length)
    view, place = memoryview(data), 0
    while place < length:
        if deadline is not None:
            end.settimeout(max(1e-3, deadline - time.monotonic()))
        got = end.recv_into(view[place:])
        if got == 0:
            raise EOFError
        place += got
        if deadline is not None and place < length and time.monotonic() > deadline:
            raise TimeoutError
    return data


def confine(memory_bytes: int, lifeline: int) -> None:
    """Put the limits on this process.

    Args:
        memory_bytes: limit of private writable memory (RLIMIT_DATA).
        lifeline: read end of a pipe whose other end only the parent holds. When the parent goes, however it goes, the
            kernel sends SIGIO, which ends this process even in the middle of native code.
    """
    import fcntl
    import os
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # if memory runs out, end this one first
        file.write("1000")
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        if os.read(lifeline, 1) == b"":  # the parent went before the signal was asked for
            os._exit(0)


def serve(end: socket.socket) -> None:
    """Answer requests until the parent goes or memory does not suffice.

    A request is ``("load", names)`` or ``("call", names, arguments, options)``. The answer is ``("done", result)``,
    ``("unreadable", reason, detail)``, ``("failed", type[, place])`` or ``("memory",)``, after which the child ends.
    """
    known: dict[Names, Callable[..., Any]] = {}
    while True:
        first, *buffers = receive(end, sys.maxsize)
        names = ("", "")
        try:
            kind, names, *rest = pickle.loads(first, buffers=buffers)
            if kind == "load":
                known[names] = _find(names)
                send(end, ("done", None))
            else:
                arguments, options = rest
                send(end, ("done", known[names](*arguments, **options)))
        except MemoryError:
            send(end, ("memory",))
            return
        except Exception as error:
            send(end, _report(error, names[0].partition(".")[0]))


def _find(names: Names) -> Callable[..., Any]:
    from importlib import import_module

    found: Any = import_module(names[0])
    for name in names[1].split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError
    return found  # type: ignore[no-any-return]


def _report(error: Exception, package: str) -> tuple[str, ...]:
    """What may be known of an exception: the words of an UnreadableImageError, else its type and where it was raised.

    The messages of others may quote the header.
    """
    from orthoray.imaging.reasons import UnreadableImageError

    if isinstance(error, UnreadableImageError):
        return "unreadable", error.reason, error.detail
    return "failed", type(error).__name__, *_place(error, {package, "orthoray"})


def _place(error: Exception, packages: set[str]) -> list[str]:
    """File name and line of the innermost frame in some packages, if there is one."""
    from pathlib import PurePath
    from traceback import walk_tb

    frames = [(frame, line) for frame, line in walk_tb(error.__traceback__)]
    own = [at for at in frames if str(at[0].f_globals.get("__name__")).partition(".")[0] in packages]
    return [f"{PurePath(frame.f_code.co_filename).name}:{line}" for frame, line in own[-1:]]


def main() -> None:
    """Run as ``python guarded_child.py SOCKET LIFELINE MEMORY``; the first message is ``sys.path``."""
    number, lifeline, memory = (int(argument) for argument in sys.argv[1:4])
    confine(memory, lifeline)
    end = socket.socket(fileno=number)
    with suppress(EOFError, ConnectionError):
        sys.path[:] = pickle.loads(receive(end, sys.maxsize)[0])
        serve(end)


if __name__ == "__main__":
    main()
