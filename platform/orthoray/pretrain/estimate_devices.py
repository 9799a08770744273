"""The devices of a plan: what a run would be on each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from orthoray.config import Auto, StrictModel
from orthoray.models.peaks import GPU_PEAKS, known_gpu, peak_flops
from orthoray.models.precision import resolve_precision
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.estimate_data import DataFacts
from orthoray.pretrain.memory import GIB, GPU_MEMORY, Memory

HERE = "this machine"
"""Name of the processors that a plan is made on."""


class Wishes(StrictModel):
    """What a configuration does not say: machines, prices, and what to assume of data that is not at hand."""

    gpu: str | None = Field(default=None, description="One kind of GPU; none = all known ones.")
    gpus: Annotated[int, Field(ge=1)] | Auto = Field(default="auto", description="auto = resources.workers, or 1.")
    mfu: float = Field(default=0.4, gt=0.0, le=1.0, description="Share of the peak that training is assumed to reach.")
    price_gpu_hour: float | None = Field(default=None, ge=0.0)
    cores: float | None = Field(default=None, gt=0.0, description="Processor cores that cut crops, all together.")
    images_per_core: float | None = Field(default=None, gt=0.0, description="Images per second; none = measured here.")
    images: int | None = Field(default=None, ge=1, description="Images of the datasets, if they are not at hand.")
    image_kb: float | None = Field(default=None, gt=0.0, description="Stored size of an image, likewise.")
    read_mb: float | None = Field(default=None, gt=0.0, description="MB per second that storage or network give.")


@dataclass(frozen=True)
class Device:
    """One kind of device, and what the run would be on it. Without memory or money nothing is said of them.

    Attributes:
        name: of the GPU, or `HERE`.
        memory_gib: that it has.
        needed_gib: that the run's share of a batch takes.
        largest_batch: images that fit onto one.
        fits: the share of a batch does.
        device_rate: images per second of one such device.
        rate: images per second of the run.
        bound_by: what holds the run back: ``device``, ``cores`` or ``reading``.
        hours: of the whole run.
        cost: of all devices for so long.
        cores_per_device: that cutting crops takes to keep one device busy.
        read_mb: MB per second that keep all devices busy.
    """

    name: str
    memory_gib: float | None
    needed_gib: float | None
    largest_batch: int | None
    fits: bool | None
    device_rate: float
    rate: float
    bound_by: str
    hours: float
    cost: float | None
    cores_per_device: float
    read_mb: float


@dataclass(frozen=True)
class Work:
    """What is to be done, whatever the device.

    Attributes:
        config: of the run.
        wishes: of whoever plans.
        data: of the run.
        flops: per image, executed.
        memory: on one of the workers' devices; None = not known.
        workers: devices that share a batch.
        seen: images of the whole run.
        core_rate: images per second that one core cuts.
    """

    config: PretrainConfig
    wishes: Wishes
    data: DataFacts
    flops: float
    memory: Memory | None
    workers: int
    seen: int
    core_rate: float

    def on_gpu(self, name: str) -> Device:
        """On GPUs of one kind, of `GPU_MEMORY`."""
        room = GPU_MEMORY[name]
        share = math.ceil(self.config.batch_size / self.workers / self.config.parallel.accumulate)
        needed = self.memory.needed(share) / GIB if self.memory else None
        largest = self.memory.largest_batch(room) if self.memory else None
        peaks, exact = GPU_PEAKS[name.split("-")[0]], self.config.resources.precision == "fp32"
        speed = (peaks.fp32 if exact else peaks.bf16) * self.wishes.mfu / self.flops
        fits = None if largest is None else share <= largest
        return self._device(name, speed, self.workers, room, needed, largest, fits)

    def on_processors(self) -> Device:
        """On the processors here, by the best matrix product measured on them."""
        precision = resolve_precision(self.config.resources.precision, "cpu")
        speed = peak_flops(torch.device("cpu"), precision.dtype) * self.wishes.mfu / self.flops
        return self._device(HERE, speed, 1)

    def _device(
        self,
        name: str,
        speed: float,
        count: int,
        room: float | None = None,
        needed: float | None = None,
        largest: int | None = None,
        fits: bool | None = None,
    ) -> Device:
        wishes, arithmetic = self.wishes, speed * count
        bounds = {"device": arithmetic}
        if wishes.cores is not None:
            bounds["cores"] = wishes.cores * self.core_rate
        if wishes.read_mb is not None:
            bounds["reading"] = wishes.read_mb * 1e6 / self.data.bytes_per_image
        tightest = min(bounds, key=lambda key: bounds[key])
        hours = self.seen / bounds[tightest] / 3600.0
        price = wishes.price_gpu_hour if room is not None else None
        return Device(
            name=name,
            memory_gib=room,
            needed_gib=needed,
            largest_batch=largest,
            fits=fits,
            device_rate=speed,
            rate=bounds[tightest],
            bound_by=tightest,
            hours=hours,
            cost=None if price is None else hours * count * price,
            cores_per_device=speed / self.core_rate,
            read_mb=arithmetic * self.data.bytes_per_image / 1e6,
        )


def gpu_names(wanted: str | None) -> list[str]:
    """The GPU that is asked for, or all; InputError for an unknown one."""
    return list(GPU_MEMORY) if wanted is None else [known_gpu(wanted, GPU_MEMORY)]
