"""What may happen to a process that reads a foreign file, as functions for a guarded child."""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from orthoray.imaging import UnreadableImageError
from orthoray.imaging.guarded import Guarded


@dataclass(frozen=True)
class Record:
    name: str
    pixels: Any = None


class Pair(NamedTuple):
    first: int
    second: int


class Plain:
    """Neither a dataclass nor a named tuple."""


def echo(value):
    return value


def zeros(size):
    return np.zeros(size, np.uint8)


def pid():
    return os.getpid()


def environment():
    return dict(os.environ)


def refuse(reason, detail):
    raise UnreadableImageError(reason, detail)


def fail(text):
    raise KeyError(text)


def exit_with(status):
    sys.exit(status)


def die(number):
    os.kill(os.getpid(), number)
    signal.pause()


def read_null():
    ctypes.string_at(0)


def abort_in_native_code():
    ctypes.CDLL(None).abort()


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def spin_in_native_code():
    """Never comes back, and never lets another thread of the interpreter run."""
    ctypes.PyDLL(None).pause()


def fill(size):
    """Allocate and write, as a decoder does."""
    return int(np.ones(size, np.uint8).sum())


def native_allocation(size):
    """What malloc says."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    return libc.malloc(ctypes.c_size_t(size)) is not None


def write_everywhere(text):
    print(text, flush=True)
    print(text, file=sys.stderr, flush=True)
    os.write(1, text.encode())
    os.write(2, text.encode())
    return sys.stdin.read()


def answer_by_hand(data):
    """Send bytes of one's own in place of an answer, as a process that was taken over could."""
    number = int(sys.argv[1])
    os.write(number, data)
    time.sleep(30)


def limits():
    import resource

    return [resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CORE)]


def crash_in_a_used_process(calls=[]):  # noqa: B006
    """Works once in a process."""
    calls.append(1)
    return len(calls) if len(calls) == 1 else read_null()


def leak(size, kept=[]):  # noqa: B006
    """Keeps what it allocates from one call to the next."""
    kept.append(np.ones(size, np.uint8))
    return len(kept)


def make_plain():
    return Plain()


def open_files():
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


class Code:
    """Pickles as a call of a function, which is what an attacker would send."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def send_code(path):
    return Code(path)


class Guarding:
    """For Ray: keeps a guard and says which processes are at work."""

    def __init__(self):
        self.guard = Guarded(memory_bytes=1 << 30, timeout_s=20)

    def __call__(self, batch):
        worker = [os.getpid() for _ in batch["id"]]
        child = [self.guard.call(pid) for _ in batch["id"]]
        reason = [self._reason(int(number)) for number in batch["id"]]
        return {"id": batch["id"], "worker": worker, "child": child, "reason": reason}

    def _reason(self, number):
        try:
            return self.guard.call(die, signal.SIGSEGV) if number % 5 == 0 else ""
        except UnreadableImageError as error:
            return error.reason
