"""What a worker needs to fine-tune rows of a study, and the fitting of one row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orthoray import storage
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.feature_folders import Folders
from orthoray.evaluation.finetune.bags import Bags, read_bags
from orthoray.evaluation.finetune.fit import Fit, Outcome
from orthoray.evaluation.finetune.settings import FineTuneConfig
from orthoray.evaluation.finetune.share import Share
from orthoray.evaluation.finetune.start import start_from_probe, start_network
from orthoray.evaluation.finetune.task import Parts, Task, parts_of
from orthoray.evaluation.protocol import Indices, fold_rows, training_subset
from orthoray.evaluation.rows import Row, digest, write_part
from orthoray.features import Pooling

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Tuned:
    """A backbone that can be fine-tuned: its checkpoint, the tokens that are pooled, its input's side in pixels."""

    checkpoint: str
    pooling: Pooling
    side: int


@dataclass(frozen=True)
class FineTuneJob:
    """Everything that rows are fitted with. ``images`` maps a side to its image folders, one per dataset."""

    out: str
    tasks: dict[str, Task]
    splits: dict[str, dict[int, Any]]
    models: dict[str, Tuned]
    images: dict[int, Folders]
    config: FineTuneConfig
    probe: ProbeConfig

    def rows(self, row: Row) -> tuple[Indices, Indices]:
        """(train, test) of a row's fold, with all training patients."""
        return fold_rows(self.tasks[row.task].samples, self.splits[row.task][row.seed], row.fold)

    def parts(self, row: Row) -> Parts:
        """Who teaches, chooses and is tested in a row."""
        samples = self.tasks[row.task].samples
        train, test = self.rows(row)
        train = training_subset(samples, train, row.fraction, row.seed)
        return parts_of(samples, train, test, self.config.holdout, row.seed)

    def bags(self, row: Row) -> Bags:
        """Images of the row's task, at the size of its model; those read last are kept."""
        key = (self.out, row.task, self.models[row.model].side)
        if key not in _HELD:
            _HELD.clear()
            _HELD[key] = read_bags(self.tasks[row.task].samples, self.images[key[2]])
        return _HELD[key]


_HELD: dict[tuple[str, str, int], Bags] = {}
"""Images that this process read last, by study, task and side."""


def fit_row(
    job: FineTuneJob, row: Row, options: dict[str, Any], target: str, on_epoch: OnEpoch, share: Share | None = None
) -> Outcome:
    """Fine-tune one row with ``options`` over its settings; the first worker writes the predictions to ``target``.

    Raises:
        RunError: the loss is not finite, or images are missing.
    """
    began, share = time.monotonic(), share or Share()
    task, model = job.tasks[row.task], job.models[row.model]
    config, parts, bags = job.config.model_copy(update=options), job.parts(row), job.bags(row)
    seed = seed_of(row)
    network = start_network(model.checkpoint, model.pooling, task, config, seed, device())
    if config.start == "probe":
        start_from_probe(network, task, bags, parts.fit, job.probe, row.seed)
    outcome = Fit(task, bags, parts, network, config, seed, share).run(on_epoch)
    if share.rank == 0:
        params = {
            **outcome.facts,
            "head": config.head_for(task.kind),
            "options": options,
            "n_train": len(parts.fit) + len(parts.validate),
            "n_train_patients": len(set(task.samples.patient_id[np.concatenate([parts.fit, parts.validate])])),
            "n_pool_patients": len(set(task.samples.patient_id[job.rows(row)[0]])),
            "dim": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "seconds": round(time.monotonic() - began, 3),
        }
        write_part(target, row, task.samples, parts.test, outcome.scores, params)
        if config.keep_models:
            keep_model(job, row, outcome, target)
    return outcome


def keep_model(job: FineTuneJob, row: Row, outcome: Outcome, target: str) -> None:
    """Write the fitted network beside its predictions, as ``<part>.safetensors``."""
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous() for name, value in outcome.network.state_dict().items()}
    storage.write_bytes(target.removesuffix(".parquet") + ".safetensors", save(weights))


def seed_of(row: Row) -> int:
    """Of a row's fit: the same for all models and all settings, another for each task, seed and fold."""
    return int(digest(row.task, row.seed, row.fold), 16) % (1 << 31)


def device() -> str:
    """``cuda`` if this process was given a GPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
