"""Training states on disk: which there are, which of them can be read, and what goes.

A state is whole or not there: it is written beside its place and renamed (`orthoray.storage.replacing`). The folder
alone says what a run can go on from. Ray Train's own list of checkpoints is not asked: it is written in place, so a
full disk or a crash can leave half of it.
"""

from __future__ import annotations

import os
import pickle
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from orthoray import storage
from orthoray.errors import RunError

TRAIN = "train"
"""Ray Train's folder within a run's folder."""

STATE = "state.pt"
"""Name of the training state within a Ray Train checkpoint."""

PREFIX = "step-"

RAYS_LIST = "checkpoint_manager_snapshot.json"


@dataclass(frozen=True)
class Saved:
    """A state that was written to its end. ``folder``: URI of its checkpoint; ``step``: steps done."""

    step: int
    folder: str

    @property
    def file(self) -> str:
        """URI of the state."""
        return storage.join(self.folder, STATE)


_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.PickleError, zlib.error)


class DamagedStateError(Exception):
    """A state that cannot be read; the message says what is wrong with it."""


def new_name(step: int) -> str:
    """A name for the checkpoint after ``step`` steps that none has had."""
    return f"{PREFIX}{step:08d}-{uuid.uuid4().hex[:8]}"


def saved_states(run: str) -> list[Saved]:
    """The whole states in a run's folder, newest first; those of the same step in the order of their names."""
    files = storage.list_files(storage.join(run, TRAIN), f"/{STATE}")
    found = []
    for file in files:
        folder = file.rpartition("/")[0]
        digits = folder.rpartition("/")[2].removeprefix(PREFIX).partition("-")[0]
        if digits.isdecimal():
            found.append(Saved(int(digits), folder))
    return sorted(found, key=lambda saved: saved.step, reverse=True)


def write_state(run: str, name: str, state: Mapping[str, Any]) -> None:
    """Write a state; it appears in its checkpoint folder only when it is complete and on disk.

    Raises:
        OSError: of the filesystem, a full disk say.
    """
    folder = storage.join(run, TRAIN, name)
    try:
        with storage.replacing(storage.join(folder, STATE)) as temporary, storage.open_file(temporary, "wb") as handle:
            torch.save(dict(state), handle)
            handle.flush()
            if storage.is_local(run):
                os.fsync(handle.fileno())
    except BaseException as error:
        storage.remove_tree(folder)
        hidden = error.__context__  # torch closes its archive on the way out, and says only that this failed too
        if isinstance(error, RuntimeError) and isinstance(hidden, OSError):
            raise hidden from None
        raise


def read_state(saved: Saved, device: torch.device) -> dict[str, Any]:
    """Read a state onto ``device``, every checksum in it checked.

    Raises:
        DamagedStateError: it is cut off or has changed, or is no training state.
    """
    try:
        with storage.open_file(saved.file) as handle:
            with zipfile.ZipFile(handle) as archive:  # torch writes checksums but does not look at them
                broken = archive.testzip()
            if broken is not None:
                raise DamagedStateError(f"the checksum of {broken.rpartition('/')[2]} in it is wrong")
            handle.seek(0)
            state = torch.load(handle, map_location=device, weights_only=True)
    except zipfile.BadZipFile:
        raise DamagedStateError("the file is cut off or has been overwritten") from None
    except _UNREADABLE as error:
        raise DamagedStateError(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    if not isinstance(state, dict) or state.get("step") != saved.step:
        raise DamagedStateError("it is not the state that its name says")
    return state


@dataclass(frozen=True)
class Found:
    """The newest state that can be read, and a line for each newer one that cannot."""

    saved: Saved | None
    state: dict[str, Any]
    damaged: list[str]


def newest_state(run: str, device: torch.device) -> Found:
    """Find what a run goes on from; nothing (step 0) if it has saved none yet.

    Raises:
        RunError: there are states, and none can be read.
    """
    damaged: list[tuple[Saved, str]] = []
    for saved in saved_states(run):
        try:
            return Found(saved, read_state(saved, device), _told(damaged, saved.step))
        except DamagedStateError as error:
            damaged.append((saved, str(error)))
    if damaged:
        files = "\n".join(f"  {saved.file}: {reason}" for saved, reason in damaged)
        raise RunError(
            f"none of the run's {len(damaged)} saved state(s) can be read:\n{files}\nRestore one from a copy, or "
            f"remove the folder {storage.join(run, TRAIN)} to train again from step 0."
        )
    return Found(None, {}, [])


def _told(damaged: list[tuple[Saved, str]], step: int) -> list[str]:
    return [
        f"the state of step {saved.step:,} cannot be read ({reason}): {saved.file}; going back to step {step:,}, "
        f"{saved.step - step:,} step(s) are done again"
        for saved, reason in damaged
    ]


def tidy(run: str, keep: int) -> None:
    """Before a session: remove what a crash or a full disk left half-written, and all but the newest ``keep`` states.

    Ray Train's list goes too, since it may be half-written as well; it keeps a new one for its session.
    """
    states = saved_states(run)
    kept = {saved.folder for saved in states[:keep]}
    for folder in {file.rpartition("/")[0] for file in storage.list_files(storage.join(run, TRAIN))}:
        if folder.rpartition("/")[2].startswith(PREFIX) and folder not in kept:
            storage.remove_tree(folder)
    storage.remove_tree(storage.join(run, TRAIN, RAYS_LIST))
