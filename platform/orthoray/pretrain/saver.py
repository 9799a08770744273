"""Saving the state while training goes on, and going on from what was saved; every worker takes part."""

from __future__ import annotations

import threading
from typing import Any

from orthoray.errors import OrthoRayError, describe_os_error
from orthoray.pretrain.learner import Learner
from orthoray.pretrain.losses.workers import from_rank_0, rank
from orthoray.pretrain.states import Found, new_name, newest_state, read_state, write_state


class Saver:
    """Hands states to Ray Train, which uploads them in a thread of its own.

    At most one copy of the state waits: the next save begins when the one before is on disk. A state that is still
    being written is not there for a resume (`orthoray.pretrain.states`).

    Args:
        run: URI of the run's folder.
        mailbox: actor of `orthoray.pretrain.monitor`, told of a disk that is full.
    """

    def __init__(self, run: str, mailbox: Any) -> None:
        self.run, self.mailbox = run, mailbox
        self._idle = threading.Event()
        self._idle.set()

    def save(self, learner: Learner, step: int) -> None:
        """Save the state after ``step`` steps; returns when it is copied, before it is written."""
        import ray.train
        from ray.train import CheckpointUploadMode

        self._idle.wait()
        state = learner.state()
        here: Any = None
        if rank() == 0:
            state |= {"step": step}
            here = ray.train.Checkpoint(self.run)  # Ray Train wants one; what is written is ``state``
            self._idle.clear()

        def upload(_: Any, name: str) -> Any:
            try:
                return self._write(name, state)
            finally:
                self._idle.set()

        api: Any = ray.train  # the stubs still describe the former API
        api.report(
            {"step": step},
            checkpoint=here,
            checkpoint_dir_name=new_name(step),
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=upload,
            delete_local_checkpoint_after_upload=False,
        )

    def _write(self, name: str, state: dict[str, Any]) -> Any:
        import ray
        import ray.train

        try:
            write_state(self.run, name, state)
        except OSError as error:
            text = describe_os_error(error)
            if text is not None:  # it would fail again, and again
                message = f"the state of step {state['step']:,} could not be saved: {text}"
                ray.get(self.mailbox.put.remote({"kind": "fatal", "message": message}))
            raise
        place: Any = ray.train.get_context().get_storage()
        return ray.train.Checkpoint(place.build_checkpoint_path_from_name(name), place.storage_filesystem)


def restore(learner: Learner, run: str) -> tuple[int, list[str]]:
    """Fill the learner from the newest state of the run that can be read.

    Rank 0 looks and checks, and all take the state that it has chosen.

    Returns:
        Steps done, and a line for every newer state that is damaged.

    Raises:
        RunError: there are states, and none can be read.
        InputError: the state is of another architecture.
    """
    found: Found | None = None
    told: Any = None
    if rank() == 0:
        try:
            found = newest_state(run, learner.device)
            told = (found.saved, found.damaged)
        except OrthoRayError as error:  # raised on every worker
            told = error
    told = from_rank_0(told)
    if isinstance(told, OrthoRayError):
        raise told
    saved, damaged = told
    if saved is None:
        return 0, damaged
    learner.load_state(read_state(saved, learner.device) if found is None else found.state)
    return saved.step, damaged
