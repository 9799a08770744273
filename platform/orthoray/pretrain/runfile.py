"""``run.json`` and ``config.yaml`` of a run folder: which run lives there, and whether it has finished."""

from __future__ import annotations

from typing import Any

from orthoray import storage
from orthoray.config import to_yaml
from orthoray.errors import InputError
from orthoray.pretrain.config import PretrainConfig


class Run:
    """The identity of a run: its configuration as far as it decides the weights, and the datasets' ids.

    Raises:
        InputError: ``config.out`` holds another run, or something that is no run at all.
    """

    def __init__(self, config: PretrainConfig, dataset_ids: list[str], steps: int) -> None:
        self.config, self.steps = config, steps
        self.identity: dict[str, Any] = {**config.identity(), "dataset_ids": dataset_ids}
        self.file = storage.join(config.out, "run.json")
        self.found = self._find()

    def is_finished(self) -> bool:
        """True if the run in the folder has its final checkpoint."""
        return self.found is not None and self.found["status"] == "finished"

    def begin(self) -> None:
        """Write ``run.json``, then ``config.yaml``."""
        storage.makedirs(self.config.out)
        self._write("running")  # first: it says what the folder is, should the run die right here
        storage.write_bytes(storage.join(self.config.out, "config.yaml"), to_yaml(self.config).encode())

    def finish(self) -> None:
        """Mark the run as finished."""
        self._write("finished")

    def _write(self, status: str) -> None:
        dataset_ids = self.identity["dataset_ids"]
        content = {"status": status, "steps": self.steps, "dataset_ids": dataset_ids, "identity": self.identity}
        storage.write_json(self.file, content)

    def _find(self) -> dict[str, Any] | None:
        if not storage.exists(self.file):
            if storage.list_files(self.config.out):
                raise InputError(f"{self.config.out}: not empty, and not a pretraining run. Give another `out`.")
            return None
        found: dict[str, Any] = storage.read_json(self.file)
        changed = sorted(_differences(found.get("identity", {}), self.identity))
        if changed:
            raise InputError(
                f"{self.config.out} holds another run; these keys differ: {', '.join(changed)}. "
                "Give another `out`, or the configuration of that run (config.yaml in it) to go on with it."
            )
        return found


def _differences(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Dotted keys under which two nested mappings differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [prefix.rstrip(".")]
    keys = one.keys() | other.keys()
    return [found for key in keys for found in _differences(one.get(key), other.get(key), f"{prefix}{key}.")]
