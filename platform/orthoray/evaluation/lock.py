"""One driver per study: a second one on the same folder is refused, whoever was killed without a word is succeeded.

The lock is a small file in the study's folder, so it works on any filesystem that the study does. Its holder raises a
count in it every few seconds. Whether a holder on another machine is alive is told by watching that count, never by
comparing the clocks of two machines.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from orthoray import storage
from orthoray.errors import InputError, RunError
from orthoray.progress import say

FILE = "driver.json"
BEAT_S = 5.0
"""Seconds between two beats of the holder."""

WATCH_S = 3 * BEAT_S
"""Seconds without a beat after which a holder on another machine counts as gone."""

SETTLE_S = 0.3
"""Seconds after which a claim is read again: of two drivers that claim at once the later stays."""


class StudyLock:
    """Hold a study's folder; a context manager.

    Args:
        out: URI of the study's folder, which exists.
        beat: seconds between two beats.
        watch: seconds to watch a holder on another machine.

    Raises:
        InputError: on entering, if another driver is at work there; it is named.
    """

    def __init__(self, out: str, beat: float = BEAT_S, watch: float = WATCH_S) -> None:
        self.uri, self.beat, self.watch = storage.join(out, FILE), beat, watch
        self.claim: dict[str, Any] = {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
            "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "beat": 0,
        }
        self.lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="study-lock")

    def __enter__(self) -> StudyLock:
        holder = self._read()
        if holder is not None and self._alive(holder):
            self._refuse(holder)
        storage.write_json(self.uri, self.claim)
        time.sleep(SETTLE_S)
        holder = self._read()
        if holder is None or holder["token"] != self.claim["token"]:
            self._refuse(holder or self.claim)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        holder = self._read()
        if holder is not None and holder["token"] == self.claim["token"]:
            storage.remove_tree(self.uri)

    def check(self) -> None:
        """RunError if another driver has taken the study over meanwhile."""
        if self.lost:
            raise RunError(
                "another driver has taken this study over, since this one did not answer for a while. Finished rows "
                "are kept."
            )

    def _keep(self) -> None:
        while not self._stop.wait(self.beat):
            try:
                holder = self._read()
                if holder is not None and holder["token"] != self.claim["token"]:
                    self.lost = True
                    return
                self.claim["beat"] += 1
                storage.write_json(self.uri, self.claim)
            except OSError as error:  # the next beat may pass; the work is not to end for it
                say(f"  warning: the lock of the study could not be renewed ({type(error).__name__})")

    def _read(self) -> dict[str, Any] | None:
        try:
            found = storage.read_json(self.uri) if storage.exists(self.uri) else None
        except (InputError, FileNotFoundError):  # cut off, or gone between the two calls
            return None
        return found if isinstance(found, dict) and "token" in found else None

    def _alive(self, holder: dict[str, Any]) -> bool:
        if holder["host"] == self.claim["host"]:
            return bool(holder["started"]) and process_start(int(holder["pid"])) == str(holder["started"])
        say(f"  a driver on {holder['host']} holds this study; watching for {self.watch:.0f} s whether it is alive")
        deadline = time.monotonic() + self.watch
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self.watch / 4))
            now = self._read()
            if now is None or now["beat"] != holder["beat"] or now["token"] != holder["token"]:
                return now is not None
        return False

    def _refuse(self, holder: dict[str, Any]) -> None:
        raise InputError(
            f"{self.uri.removesuffix('/' + FILE)}: another driver is at work on this study: process {holder['pid']} on "
            f"{holder['host']}, since {holder['since']}. Wait for it, stop it, or choose another `out`."
        )


def process_start(pid: int) -> str:
    """When a process of this machine began, in its own unit; empty if there is none. Numbers are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:  # a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
