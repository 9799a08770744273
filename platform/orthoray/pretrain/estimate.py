"""What a run would cost and need: arithmetic, memory, speed, hours and money, before any of it is spent."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from orthoray.models.features import patch_size_of
from orthoray.pretrain.advice import advise
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.costs import StepFlops, StepShape
from orthoray.pretrain.estimate_data import DataFacts, data_facts
from orthoray.pretrain.estimate_devices import Device, Wishes, Work, gpu_names
from orthoray.pretrain.feed_rate import images_per_core
from orthoray.pretrain.memory import BlockShape, Crops, Memory, step_memory
from orthoray.pretrain.objective import is_scored
from orthoray.pretrain.step_shape import backbone_of, recomputed_share, step_shape

SMALL = 50e9
"""FLOPs per image below which everything but matrix products holds a device back."""


@dataclass(frozen=True)
class Estimate:
    """A plan. ``assumed``: what it rests on beyond the configuration; ``warnings``: settings worth a second look."""

    backbone: str
    parameters: int
    trained: int
    data: DataFacts
    crop_bytes: int
    steps: int
    images_seen: int
    lr: float
    workers: int
    mfu: float
    precision: str
    flops: StepFlops
    memory: Memory | None
    images_per_core: float
    devices: list[Device]
    assumed: list[str]
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """Plain values, the sums of FLOPs among them."""
        values = asdict(self)
        values["flops"]["nominal"] = self.flops.nominal
        return values


def estimate(config: PretrainConfig, wishes: Wishes) -> Estimate:
    """Work out a plan. Needs neither a GPU, nor Ray, nor the datasets, nor the weights.

    Raises:
        InputError: an unknown GPU, or a backbone that cannot be made.
    """
    names = gpu_names(wishes.gpu)
    backbone = backbone_of(config)
    data = data_facts(config, wishes.images, wishes.image_kb)
    steps = config.steps or math.ceil((config.epochs or 0.0) * data.per_epoch / config.batch_size)
    lr = 5e-4 * config.batch_size / 256 if config.optimiser.lr == "auto" else config.optimiser.lr
    workers = _workers(config, wishes)
    shape, by_formula = step_shape(config, backbone)
    flops = shape.flops()
    rate = wishes.images_per_core or images_per_core(config.crops, data.height, data.width)
    precision = "fp32" if config.resources.precision == "fp32" else "bf16"
    memory = _memory(config, backbone, shape, workers)
    seen = steps * config.batch_size
    plan = Work(config, wishes, data, flops.executed, memory, workers, seen, rate)
    devices = [plan.on_gpu(name) for name in names]
    if wishes.gpu is None and not torch.cuda.is_available():
        devices.append(plan.on_processors())
    everything, learning = _count(config, backbone)
    patch = patch_size_of(backbone)
    return Estimate(
        backbone=config.model.backbone,
        parameters=everything,
        trained=learning,
        data=data,
        crop_bytes=_crops(config, shape.masked).pixels(),
        steps=steps,
        images_seen=seen,
        lr=lr,
        workers=workers,
        mfu=wishes.mfu,
        precision=precision,
        flops=flops,
        memory=memory,
        images_per_core=rate,
        devices=devices,
        assumed=_assumed(config, wishes, data, by_formula, memory, flops.nominal),
        warnings=advise(config, lr, steps, patch, workers, data.images if data.at_hand or wishes.images else None),
    )


def _workers(config: PretrainConfig, wishes: Wishes) -> int:
    if wishes.gpus != "auto":
        return wishes.gpus
    return 1 if config.resources.workers == "auto" else config.resources.workers


def _crops(config: PretrainConfig, masked: float) -> Crops:
    made = config.crops
    return Crops(made.n_global, made.global_size, made.n_local, made.local_size, masked)


def _count(config: PretrainConfig, backbone: nn.Module) -> tuple[int, int]:
    """Parameters of the backbone, and those of them that learn."""
    everything = sum(parameter.numel() for parameter in backbone.parameters())
    if config.adapter.kind == "none":
        return everything, everything
    adapted = backbone_of(config, adapted=True)
    return everything, sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)


def _memory(config: PretrainConfig, backbone: nn.Module, shape: StepShape, workers: int) -> Memory | None:
    blocks = BlockShape.of(backbone)
    if blocks is None:
        return None
    everything, learning = _count(config, backbone)
    heads = shape.head.parameters()
    own = shape.patch_head if config.losses.ibot.head != "shared" else None
    trained = learning + heads + (own.parameters() if own is not None else 0)
    return step_memory(
        blocks,
        _crops(config, shape.masked),
        shape.head,
        everything,
        patch_head=shape.patch_head,
        shared_head=own is None,
        trained=None if learning == everything else trained,
        precision="fp32" if config.resources.precision == "fp32" else "bf16",
        recomputed=recomputed_share(config),
        chunked=not is_scored(config),
        sharded_over=workers if config.parallel.strategy == "fsdp2" else 1,
        anchored=config.losses.gram.weight > 0.0,
    )


def _assumed(
    config: PretrainConfig, wishes: Wishes, data: DataFacts, by_formula: bool, memory: Memory | None, flops: float
) -> list[str]:
    small = "; a model this small reaches less" if flops < SMALL else ""
    found = [*data.assumed, f"training reaches {wishes.mfu:.0%} of a device's peak (--mfu){small}"]
    if wishes.images_per_core is None:
        found.append("crops per core as measured here on a synthetic film in one second (--images-per-core)")
    if wishes.cores is None:
        found.append("enough processor cores for the crops (--cores)")
    if wishes.read_mb is None:
        found.append("storage that is fast enough (--read-mb)")
    if not by_formula:
        found.append("FLOPs counted operation by operation: the formula of a ViT does not describe this backbone")
    if memory is None:
        found.append("memory is not estimated: it is known for ViTs only")
    return found
