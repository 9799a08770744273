"""One fine-tuning shared by several workers of Ray Train."""

from __future__ import annotations

import uuid
from typing import Any

from orthoray.errors import RunError
from orthoray.evaluation.finetune.job import FineTuneJob, fit_row
from orthoray.evaluation.finetune.resources import gpus_of
from orthoray.evaluation.finetune.share import Share
from orthoray.evaluation.rows import Row

RETRIES = 3
"""Times that the workers of a fit begin again after one was lost."""


def fit_with_workers(job: FineTuneJob, row: Row, options: dict[str, Any], target: str, scratch: str) -> None:
    """Fit a row by ``job.config.workers`` workers that share every batch; called inside a trial of Ray Tune.

    The workers compute what one would with the whole batch: gradients are means over them (DDP). Epochs are passed on
    to Tune, so that a scheduler can end the fit.

    Raises:
        RunError: the workers failed.
    """
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    gpus = gpus_of(job.config)
    needs = {"CPU": job.config.cpus, **({"GPU": gpus} if gpus else {})}
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": ray.put(job), "row": row, "options": options, "target": target},
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.config.workers, use_gpu=bool(gpus), resources_per_worker=needs
        ),
        run_config=ray.train.RunConfig(
            name=f"fit-{uuid.uuid4().hex[:12]}",
            storage_path=scratch,
            callbacks=[TuneReportCallback()],  # type: ignore[no-untyped-call,list-item]
            failure_config=ray.train.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise RunError((str(error).strip().splitlines() or ["the workers failed"])[-1]) from None


def _worker(config: dict[str, Any]) -> None:
    import ray
    import ray.train
    import torch

    job: FineTuneJob = ray.get(config["job"])
    torch.set_num_threads(max(1, int(job.config.cpus)))
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size())
    report = ray.train.report

    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        report({"epoch": epoch, **values})

    fit_row(job, config["row"], config["options"], config["target"], on_epoch, share)
