"""A loss that is not finite: in which step it began, on which images, and what to do."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from orthoray import storage
from orthoray.errors import RunError
from orthoray.pretrain.doctor import explain_divergence
from orthoray.pretrain.doctor_facts import Facts
from orthoray.pretrain.losses.workers import rank, sum_over_workers
from orthoray.pretrain.plan import Mixture

FILE = "failed_batch.json"
"""In a run's folder: the images of the step that failed."""

MOST_STEPS = 4096
"""Steps since the last row that are remembered."""


class Recent:
    """The steps since the last row: what they measured, and which images this worker saw in them."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, torch.Tensor, npt.NDArray[np.int64]]] = deque(maxlen=MOST_STEPS)

    def add(self, step: int, measures: torch.Tensor, rows: npt.NDArray[np.int64]) -> None:
        """Remember a step; does not wait for the device.

        Args:
            step: steps done with it.
            measures: (m,) of this worker.
            rows: (b,) numbers of its images within the mixture.
        """
        self._steps.append((step, measures, rows))

    def clear(self) -> None:
        """All was well until here."""
        self._steps.clear()

    def culprit(self) -> dict[str, Any] | None:
        """Part of this worker in the first step that any worker could not measure; None if it had none. Collective.

        Returns:
            ``step``, ``rank``, ``rows``.
        """
        if not self._steps:
            return None
        bad = ~torch.stack([measures.float().isfinite().all() for _, measures, _ in self._steps])
        anywhere = sum_over_workers(bad.int()).nonzero()
        first = int(anywhere[0]) if len(anywhere) else len(bad) - 1
        step, _, rows = self._steps[first]
        if len(anywhere) and not bool(bad[first]):
            return None
        return {"step": step, "rank": rank(), "rows": rows.tolist()}


def is_sound(row: Mapping[str, float]) -> bool:
    """False if the weights behind a row of the history cannot be trusted: gradients were not finite."""
    return all(math.isfinite(value) for name, value in row.items() if name.startswith("grad_norm_"))


def divergence(step: int, facts: Facts, run: str, saved: int) -> RunError:
    """What to tell of a run that diverged before the row of ``step``; ``saved``: step of the newest state."""
    going_on = (
        f"The state of step {saved:,} is from before it: the same command tries again from there."
        if saved
        else "Give another `out` with other settings."
    )
    return RunError(
        f"the loss or its gradients are not finite at step {step:,}. {explain_divergence(step, facts)} The images are "
        f"named in {storage.join(run, FILE)}. {going_on}"
    )


def write_failed_batch(run: str, mixture: Mixture, parts: Sequence[Mapping[str, Any]]) -> None:
    """Write `FILE`: for every worker that failed, its step, rank, and the images that it saw (dataset file, id)."""
    found = [{"step": part["step"], "rank": part["rank"], "images": _images(mixture, part["rows"])} for part in parts]
    storage.write_json(storage.join(run, FILE), sorted(found, key=lambda part: part["rank"]))


def _images(mixture: Mixture, rows: Sequence[int]) -> list[dict[str, str]]:
    """Shard and id of images by their numbers within the mixture."""
    firsts = [group.first for group in mixture.groups]
    ids: dict[int, list[str]] = {}
    found = []
    for row in rows:
        at = bisect_right(firsts, row) - 1
        group = mixture.groups[at]
        if at not in ids:
            filesystem, path = storage.arrow_fs(group.file)
            with filesystem.open_input_file(path) as handle:
                table = pq.ParquetFile(handle).read_row_group(group.group, columns=["image_id"])
            ids[at] = table.column("image_id").to_pylist()
        found.append({"file": group.file, "image_id": ids[at][int(group.rows[row - group.first])]})
    return found
