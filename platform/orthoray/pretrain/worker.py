"""The training loop that runs in every Ray Train worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from orthoray.errors import OrthoRayError, RunError
from orthoray.models.checkpoint import load_checkpoint
from orthoray.models.features import patch_size_of
from orthoray.models.precision import Precision, resolve_precision
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.divergence import Recent, divergence, is_sound
from orthoray.pretrain.doctor_facts import Facts
from orthoray.pretrain.feed import Share, batches
from orthoray.pretrain.learner import Learner, StepValues, step_values
from orthoray.pretrain.masks import PatchMasks, block_masks
from orthoray.pretrain.meter import Meter, Pace, meter_for
from orthoray.pretrain.photometric import Photometric
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.saver import Saver, restore
from orthoray.pretrain.sharded_state import full_state
from orthoray.pretrain.states import saved_states
from orthoray.pretrain.stopping import Wish, Wishes
from orthoray.pretrain.teacher_checkpoint import light_checkpoint, save_teacher


@dataclass(frozen=True)
class Job:
    """What a worker needs: the run's configuration with "auto" resolved, its data, and where to report.

    ``initial``: checkpoint folder of the backbone before step 0. ``mailbox``: actor of `orthoray.pretrain.monitor`.
    ``drains``: the cluster may tell that it takes nodes away.
    """

    config: PretrainConfig
    lr: float
    steps: int
    mixture: Mixture
    initial: str
    mailbox: Any
    drains: bool = False


class Batch(NamedTuple):
    """A worker's crops of a step, uint8: views (B, 2, G, G), details (B, n, L, L) or None, codes of modality (B,).

    ``rows``: numbers of the images within the mixture, those of the second views behind the others.
    """

    views: torch.Tensor
    details: torch.Tensor | None
    modality: torch.Tensor
    rows: npt.NDArray[np.int64]


def train(loop_config: dict[str, Job]) -> None:
    """Train until the last step; called by Ray Train.

    A failure that would come again (a diverged loss, a state of another architecture) is told to the driver and ends
    the loop; anything else is raised, and Ray Train starts the workers again from the newest checkpoint.
    """
    import ray

    job = loop_config["job"]
    try:
        _train(job)
    except OrthoRayError as error:
        ray.get(job.mailbox.put.remote({"kind": "fatal", "message": str(error)}))


def _train(job: Job) -> None:
    import ray.train
    import ray.train.torch

    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    device = ray.train.torch.get_device()
    wishes = Wishes(job.mailbox, device, rank, job.drains)
    if wishes.ask().stop:
        return  # told before these workers, which replace others, had begun
    threads = _set_threads(job.config)
    precision = resolve_precision(job.config.resources.precision, device.type)
    learner = Learner(job.config, load_checkpoint(job.initial)[0].train(), device, precision)
    first, damaged = restore(learner, job.config.out)
    meter = meter_for(_of_workers(job.config, world), learner, precision)
    if rank == 0:
        _announce(job, first, world, precision, threads, device, damaged)
    _loop(job, learner, meter, wishes, Share(rank, world, job.config.batch_size), first)


def _of_workers(config: PretrainConfig, world: int) -> PretrainConfig:
    """The configuration with the number of workers that there are, which in an elastic run can change."""
    return config.model_copy(update={"resources": config.resources.model_copy(update={"workers": world})})


def _loop(job: Job, learner: Learner, meter: Meter, wishes: Wishes, share: Share, first: int) -> None:
    config = job.config
    pace = Pace(config.log_every_seconds, config.checkpoint.every_seconds, config.checkpoint.every_steps, first)
    photometric = Photometric(config.photometric, config.model.normalisation)
    saver, recent = Saver(config.out, job.mailbox), Recent()
    batches = local_batches(job, share, first)
    meter.start()
    for step in range(first, job.steps):
        with meter.waiting():
            batch = next(batches)
        generator = _seed(config.seed, step, share.rank, learner.device)
        views = _augmented(photometric, batch.views, batch.modality, learner.device, generator)
        details = None
        if batch.details is not None:
            details = _augmented(photometric, batch.details, batch.modality, learner.device, generator)
        values = step_values(config, job.lr, step, job.steps)
        measures = learner.step(views, details, values, _masks(config, learner, step, share))
        meter.add(measures)
        recent.add(step + 1, measures, batch.rows)
        log, save = pace.due(step, last=step + 1 == job.steps, device=learner.device)
        if log or save:
            row = _row(job, learner, meter, recent, step + 1, values, views if save or step == first else None)
            if share.rank == 0:
                job.mailbox.put.remote({"kind": "row", "row": row})
        if config.probes.every_steps and (step + 1) % config.probes.every_steps == 0:
            _offer(job, learner, step + 1, share.rank)
        wish = wishes.ask() if log else Wish()
        if save or wish.save:
            saver.save(learner, step + 1)
            pace.saved()
        if wish.why and share.rank == 0:
            _tell(job, wish, step + 1)
        if wish.stop:
            return


def _row(
    job: Job,
    learner: Learner,
    meter: Meter,
    recent: Recent,
    step: int,
    values: StepValues,
    views: torch.Tensor | None,
) -> dict[str, float]:
    """The row of the history up to ``step``, or the end of a run that has diverged; collective."""
    import ray

    try:
        row = meter.row(step, values) | learner.watched(views)
        if is_sound(row):
            recent.clear()
            return row
    except RunError:  # the same on every worker
        pass
    part = recent.culprit()
    if part is not None:
        ray.get(job.mailbox.put.remote({"kind": "failed_batch", **part}))
    states = saved_states(job.config.out)
    raise divergence(step, Facts.of(job.config, job.lr, job.steps), job.config.out, states[0].step if states else 0)


def _tell(job: Job, wish: Wish, step: int) -> None:
    import ray

    kind = "stopped" if wish.stop else "note"
    ray.get(job.mailbox.put.remote({"kind": kind, "text": f"step {step:,}: {wish.why}, the state is saved"}))


def _offer(job: Job, learner: Learner, step: int, rank: int) -> None:
    """Write the teacher's backbone for an online probe; every worker takes part."""
    state = full_state(learner.teacher)
    if rank == 0:
        uri = light_checkpoint(job.config.out, step)
        seen, parts = step * job.config.batch_size, job.mixture.body_parts
        save_teacher(uri, state, job.initial, job.config.adapter, step, seen, body_parts=parts)
        job.mailbox.put.remote({"kind": "probe", "step": step, "checkpoint": uri})


def _masks(config: PretrainConfig, learner: Learner, step: int, share: Share) -> PatchMasks | None:
    """Masks of this worker's global crops, from (seed, step, rank) alone; None without iBOT."""
    ibot = config.losses.ibot
    if ibot.weight == 0.0:
        return None
    side = config.crops.global_size // patch_size_of(learner.network.backbone)
    random = np.random.default_rng((config.seed, step, share.rank))
    count = config.crops.n_global * share.batch // share.world
    return block_masks(count, (side, side), ibot.probability, ibot.ratios, random)


def local_batches(job: Job, share: Share, first: int) -> Iterator[Batch]:
    """A worker's crops of step ``first`` and all later ones."""
    from orthoray.cluster.session import configure_data

    configure_data()
    start = first * share.batch
    config = job.config
    end, local = job.steps * share.batch, share.batch // share.world
    fed = batches(job.mixture, config.crops, share, start, end, config.data.damaged)
    for step, batch in enumerate(fed, start=first):
        expected = step * share.batch + share.rank * local
        if len(batch["position"]) != local or int(batch["position"][0]) != expected:
            raise RuntimeError(f"the feed is out of step: image {expected} expected, {batch['position'][:1]} came")
        rows = np.concatenate([batch[name] for name in ("row", "second") if name in batch])
        details = _own(batch["details"]) if "details" in batch else None
        yield Batch(_own(batch["views"]), details, _own(batch["modality"]), rows)


def _own(values: npt.NDArray[np.uint8]) -> torch.Tensor:
    """A copy outside the object store; for a GPU in pinned memory, or sending it would wait for all earlier work."""
    copy = torch.empty(values.shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    copy.numpy()[...] = values
    return copy


def _augmented(
    photometric: Photometric,
    crops: torch.Tensor,
    modality: torch.Tensor,
    device: torch.device,
    generator: torch.Generator,
) -> torch.Tensor:
    """(B, n, S, S) uint8 crops → (n·B, 1, S, S) normalised on the device, view after view."""
    codes = modality.to(device, non_blocking=True).repeat(crops.shape[1])
    by_view = crops.to(device, non_blocking=True).transpose(0, 1).flatten(0, 1)
    return photometric(by_view, generator, codes)


def _set_threads(config: PretrainConfig) -> int:
    import ray.train

    wanted = config.resources.threads
    neighbours = ray.train.get_context().get_local_world_size()
    threads = max(1, (os.cpu_count() or 1) // neighbours) if wanted == "auto" else wanted
    torch.set_num_threads(threads)
    return threads


def _seed(seed: int, step: int, rank: int, device: torch.device) -> torch.Generator:
    """Random numbers of a step depend on (seed, step, rank) alone, so a resumed run needs no generator states."""
    first, second = np.random.SeedSequence((seed, step, rank)).generate_state(2, np.uint64).tolist()
    torch.manual_seed(first >> 1)
    return torch.Generator(device).manual_seed(second >> 1)


def _announce(
    job: Job, first: int, world: int, precision: Precision, threads: int, device: torch.device, damaged: list[str]
) -> None:
    event = {
        "kind": "start",
        "step": first,
        "pid": os.getpid(),
        "damaged": damaged,
        "text": f"{world} worker(s) on {device.type}, {threads} threads each, {precision.name} ({precision.reason}), "
        f"distributed backend {dist.get_backend() if dist.is_initialized() else 'none'}",
    }
    job.mailbox.put.remote(event)
