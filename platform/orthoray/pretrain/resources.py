"""How a run uses the processors and GPUs of the Ray cluster."""

from __future__ import annotations

from orthoray.errors import InputError
from orthoray.pretrain.config import PretrainConfig, ResourcesConfig

MOST_WORKERS = 4
"""Most workers that "auto" starts on processors: each holds a whole learner."""

LEAST_CPUS = 0.25
"""Least share of a processor that "auto" reserves for a worker."""


def resolve_resources(config: PretrainConfig, cpus: int, gpus: int) -> ResourcesConfig:
    """Replace "auto" for a cluster of ``cpus`` processors and ``gpus`` GPUs.

    With a GPU: one worker. Without: as many workers as share the batch evenly, at most one for every processor and
    `MOST_WORKERS`. Two workers of one thread each meet once in a step, two threads of one worker at every layer, where
    each waits for the other; on two processors the workers are faster by a tenth or more. With ``least_workers`` only
    those must find room now.

    Raises:
        InputError: the cluster will never have what is asked for.
    """
    asked = config.resources
    one = gpus > 0 if asked.gpu == "auto" else asked.gpu
    most = 1 if one else max(1, min(cpus, MOST_WORKERS, config.batch_size // 2))
    even = next(count for count in range(most, 0, -1) if config.batch_size % count == 0)
    workers: int = even if asked.workers == "auto" else asked.workers
    least = asked.least_workers or workers
    share = max(LEAST_CPUS, min(1.0, (cpus - 1) / workers))
    reserved: float = share if asked.cpus_per_worker == "auto" else asked.cpus_per_worker
    if least * reserved + 1 > cpus:
        raise InputError(
            f"resources: {least} worker(s) × {reserved:g} CPUs + 1 for the feed are more than the {cpus} CPUs of "
            "this Ray cluster. Lower resources.workers or resources.cpus_per_worker, or use a larger cluster."
        )
    if asked.gpu is True and gpus < least:
        raise InputError(f"resources.gpu: {least} GPU(s) asked for, the Ray cluster has {gpus}.")
    use_gpu = gpus >= least if asked.gpu == "auto" else asked.gpu
    made = asked.model_copy(update={"workers": workers, "cpus_per_worker": reserved, "gpu": use_gpu})
    try:
        made.require_even_shares(config.batch_size)
    except ValueError as error:
        raise InputError(f"resources: {error}.") from None
    return made
