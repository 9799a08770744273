"""The child process of `orthoray.imaging.guarded`, seen from its parent."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orthoray.imaging import guarded_child
from orthoray.imaging.guarded_answers import unpickle
from orthoray.imaging.guarded_child import Names, receive, send

KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "HOME")
"""Environment variables that the child inherits."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
"""A worker has one processor, and the stack of every idle thread counts against the memory limit."""

START_S = 120.0
"""Seconds that the child may take to start and to import a function's module; a slow network file system needs some."""

SOCKET_BUFFER = 1 << 20
"""With the usual 200 KiB a message of 10 MB takes three times as long."""

ANSWERS = ("done", "unreadable", "failed", "memory")


class LostError(Exception):
    """The child gave no usable answer and has been ended; why, in the words of an UnreadableImageError."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Child:
    """A running child process.

    Args:
        memory_bytes: its limit.
        environment: variables beside `KEPT` and `ONE_THREAD`.

    Attributes:
        process: the process.
        fresh: no function was called in it yet.
        end_it: a function that ends the process; it runs too when this object goes, or the interpreter.
    """

    def __init__(self, memory_bytes: int, environment: Mapping[str, str]) -> None:
        self.memory_bytes, self.fresh = memory_bytes, True
        self._known: set[Names] = set()
        self._owner = os.getpid()
        self._end, other = socket.socketpair()
        watched, lifeline = os.pipe()
        for side in (self._end, other):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        try:
            self.process = _start((other.fileno(), watched), memory_bytes, environment)
        except OSError as error:
            self._end.close()
            os.close(lifeline)
            raise RuntimeError(f"the child cannot start: {type(error).__name__}") from None
        finally:
            other.close()
            os.close(watched)
        self.end_it = weakref.finalize(self, _end, self.process, self._end, lifeline, self._owner)
        self._end.settimeout(START_S)
        with suppress(OSError):  # if it is gone already, the next request finds out why
            send(self._end, sys.path)

    @property
    def usable(self) -> bool:
        """It runs, and belongs to this process and not to one that this one was forked from."""
        return self._owner == os.getpid() and self.process.poll() is None

    def load(self, names: Names) -> None:
        """Import a function; RuntimeError if that fails."""
        if names in self._known:
            return
        try:
            answer = self.ask(("load", names), START_S)
        except LostError as loss:
            raise RuntimeError(f"the child cannot import {names[0]}: {loss.reason}, {loss.detail}") from None
        if answer[0] != "done":
            raise RuntimeError(f"the child cannot import {names[0]}.{names[1]}: {', '.join(map(str, answer))}")
        self._known.add(names)

    def ask(self, request: tuple[Any, ...], seconds: float) -> tuple[Any, ...]:
        """Send a request (`guarded_child.serve`) and wait for its answer.

        Raises:
            LostError: there is none.
            TypeError: the answer holds types that are not taken.
        """
        try:
            self._end.settimeout(seconds)
            send(self._end, request)
            first, *buffers = receive(self._end, self.memory_bytes, time.monotonic() + seconds)
            answer = unpickle(first, buffers, request[1][0])
        except TimeoutError:
            raise self._lost("timeout", f"{seconds:g} s") from None
        except MemoryError:
            raise self._lost("too_large", f"an answer of more than {self.memory_bytes >> 20} MiB") from None
        except (EOFError, ConnectionError):
            raise self._lost("decoder_crashed", self._death()) from None
        except pickle.UnpicklingError:
            raise self._lost("decoder_crashed", "garbled answer") from None
        except BaseException:  # such as KeyboardInterrupt: an answer that nobody waits for must not come next
            self.end_it()
            raise
        if not isinstance(answer, tuple) or not answer or answer[0] not in ANSWERS:
            raise self._lost("decoder_crashed", "garbled answer")
        if answer[0] == "memory":
            raise self._lost("too_large", f"more than {self.memory_bytes >> 20} MiB of memory")
        return answer

    def _lost(self, reason: str, detail: str) -> LostError:
        self.end_it()
        return LostError(reason, detail)

    def _death(self) -> str:
        """How it ended, having closed its connection: the name of a signal, or its exit status."""
        try:
            status = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        with suppress(ValueError):
            return signal.Signals(-status).name
        return f"exit status {status}"


def _start(numbers: tuple[int, int], memory_bytes: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    utf8 = f"utf8={int(sys.getfilesystemencoding() == 'utf-8')}"  # both sides must read file names alike
    return subprocess.Popen(
        [sys.executable, "-I", "-X", utf8, guarded_child.__file__, *map(str, numbers), str(memory_bytes)],
        env={**{name: os.environ[name] for name in KEPT if name in os.environ}, **ONE_THREAD, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=numbers,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes], end: socket.socket, lifeline: int, owner: int) -> None:
    end.close()
    os.close(lifeline)
    if os.getpid() == owner:
        process.kill()
        process.wait()
