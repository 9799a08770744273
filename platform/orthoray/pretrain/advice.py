"""Settings of a pretraining run that will work against it, told before it costs anything."""

from __future__ import annotations

import math

from orthoray.pretrain.config import PretrainConfig

FAR = 4.0
"""Learning rates above this many times the usual one are warned of."""

NEAR = 100.0
"""Learning rates below the usual one by more than this factor are warned of."""


def usual_rates(batch: int) -> tuple[float, float]:
    """Peak learning rates for a batch: 5e-4 · batch / 256 (DINO's rule) and 4e-3 · √(batch / 1024) (DINOv2's)."""
    return 5e-4 * batch / 256, 4e-3 * math.sqrt(batch / 1024)


def advise(config: PretrainConfig, lr: float, steps: int, patch: int, workers: int, images: int | None) -> list[str]:
    """What is worth a second look, one sentence each; empty if nothing is.

    Args:
        config: of the run.
        lr: its peak learning rate.
        steps: its length.
        patch: side of a patch of the backbone, 0 = it has none.
        workers: GPUs or processes that share the batch.
        images: in the datasets; None = not known.
    """
    found = [*_rates(config, lr, steps), *_sizes(config, patch, workers), *_teacher(config, steps)]
    return found + (_data(config, images) if images is not None else [])


def _rates(config: PretrainConfig, lr: float, steps: int) -> list[str]:
    found, batch = [], config.batch_size
    low, high = min(usual_rates(batch)), max(usual_rates(batch))
    if lr > FAR * high or lr < low / NEAR:
        found.append(
            f"optimiser.lr {lr:.1e} is far from what is usual for batch_size {batch} ({low:.1e} to {high:.1e}); "
            "optimiser.lr=auto follows the batch."
        )
    warmup = round(config.optimiser.warmup * steps)
    if warmup < min(500, round(0.05 * steps)):
        found.append(f"optimiser.warmup {config.optimiser.warmup:g} is only {warmup} of {steps:,} steps; 0.1 is usual.")
    held = config.model.freeze_backbone_steps
    if held >= steps:
        found.append(f"model.freeze_backbone_steps {held:,} is the whole run: the backbone never learns.")
    elif config.model.weights is not None and held == 0:
        found.append(
            "the run continues from model.weights with new heads, which destroy weights at first; hold the backbone "
            f"while they warm up (model.freeze_backbone_steps={max(1, round(0.05 * steps))}, say)."
        )
    elif config.model.weights is None and held:
        found.append(f"model.freeze_backbone_steps {held:,} holds a backbone that has learnt nothing yet.")
    return found


def _sizes(config: PretrainConfig, patch: int, workers: int) -> list[str]:
    found, crops = [], config.crops
    if config.batch_size % workers:
        found.append(
            f"batch_size {config.batch_size} cannot be shared evenly by {workers} workers; nearest: "
            f"{config.batch_size // workers * workers or workers} or {(config.batch_size // workers + 1) * workers}."
        )
    sides = {"global_size": crops.global_size, **({"local_size": crops.local_size} if crops.n_local else {})}
    for name, side in sides.items():
        if patch and side % patch:
            down, up = side // patch * patch or patch, (side // patch + 1) * patch
            found.append(f"crops.{name} {side} is not a multiple of the patch size {patch}; give {down} or {up}.")
    if config.batch_size < 32 and config.teacher.centring == "centre" and not config.head.batch_norm:
        found.append(
            f"batch_size {config.batch_size} is small for centring; head.batch_norm=true steadies the head, "
            "teacher.centring=sinkhorn_knopp balances it."
        )
    return found


def _teacher(config: PretrainConfig, steps: int) -> list[str]:
    found, teacher = [], config.teacher
    if max(teacher.temperature) >= teacher.student_temperature:
        found.append(
            f"teacher.temperature {max(teacher.temperature):g} is not below student_temperature "
            f"{teacher.student_temperature:g}: the teacher will be flatter than the student, and teach nothing."
        )
    if teacher.centring == "centre" and teacher.centre_momentum == 1.0 and not config.head.batch_norm:
        found.append("teacher.centre_momentum 1 centres nothing: all images may fall onto one prototype; 0.9 is usual.")
    moved = (1.0 - (teacher.momentum[0] + teacher.momentum[1]) / 2.0) * steps
    if moved < 1.0:
        found.append(
            f"teacher.momentum {list(teacher.momentum)} is slow for {steps:,} steps: the teacher takes in the student "
            f"{moved:.2g} times over in all, and hardly leaves its start."
        )
    return found


def _data(config: PretrainConfig, images: int) -> list[str]:
    found, window = [], config.data.shuffle_window
    heads = {"head.prototypes": config.head.prototypes}
    ibot = config.losses.ibot
    if ibot.weight and ibot.head != "shared":
        heads["losses.ibot.head.prototypes"] = ibot.head.prototypes
    for name, prototypes in heads.items():
        if prototypes > images:
            found.append(
                f"{name} {prototypes:,} is more than the {images:,} images: most stay unused; "
                f"{2 ** max(6, int(math.log2(max(images, 2) / 2)))} is plenty."
            )
    if window > images:
        found.append(f"data.shuffle_window {window:,} is more than the {images:,} images: all are shuffled together.")
    if window < 4 * config.batch_size:
        found.append(
            f"data.shuffle_window {window:,} is less than four batches: images of one patient will meet in a batch."
        )
    return found
