"""Processors and GPUs of a fine-tuning."""

from __future__ import annotations

from orthoray.cluster.session import available_cpus
from orthoray.evaluation.finetune.settings import FineTuneConfig


def set_threads(config: FineTuneConfig) -> None:
    """As many threads as a trial was given processors."""
    import torch

    torch.set_num_threads(max(1, int(config.cpus)))


def gpus_of(config: FineTuneConfig) -> float:
    """GPUs, or the share of one, that a worker takes."""
    import ray

    if config.gpus != "auto":
        return config.gpus
    return 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0  # type: ignore[no-untyped-call]


def trial_resources(config: FineTuneConfig) -> dict[str, float]:
    """Of one trial: what its fit needs, or next to nothing where workers of their own do the work."""
    if config.workers > 1:
        return {"cpu": 0.1}
    gpus = gpus_of(config)
    return {"cpu": config.cpus, **({"gpu": gpus} if gpus else {})}


def concurrent(config: FineTuneConfig) -> int | None:
    """Trials at a time: as asked for; with workers of their own as many as fit, or they would wait for each other."""
    if config.max_concurrent != "auto":
        return config.max_concurrent
    if config.workers == 1:
        return None
    return max(1, int((available_cpus() - 1) / (config.workers * config.cpus + 0.1)))
