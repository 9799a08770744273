"""Student, teacher and optimiser: one step of self-supervised learning, and the state that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from orthoray.errors import InputError
from orthoray.models.adapters import apply_adapter
from orthoray.models.checks import position_sensitivity
from orthoray.models.features import patch_size_of
from orthoray.models.plain_attention import prefer_plain_attention
from orthoray.models.precision import Precision
from orthoray.pretrain.accumulation import accumulate, batch_term, joint_gradients, parts_of_batch, take
from orthoray.pretrain.clipping import clip_gradients
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.diagnostics import Diagnostics, feature_spread
from orthoray.pretrain.gram_teacher import GramTeacher
from orthoray.pretrain.head import DinoHead
from orthoray.pretrain.losses.gram import gram_teacher_due
from orthoray.pretrain.losses.workers import world
from orthoray.pretrain.masks import PatchMasks
from orthoray.pretrain.network import Network, Seen
from orthoray.pretrain.objective import Objective, Targets, is_scored, of_patches
from orthoray.pretrain.parallel import bare, parallelise, resolve_parallel
from orthoray.pretrain.parameters import hold, parameter_groups, set_rates
from orthoray.pretrain.schedules import cosine, linear, warmup_then
from orthoray.pretrain.sharded_state import (
    full_optimiser_state,
    full_state,
    load_full_optimiser_state,
    load_full_state,
)
from orthoray.pretrain.teacher import teacher_of, update_teacher

MEASURES = ("loss", "teacher_entropy", "student_teacher_kl", "feature_std", "koleo", "ibot", "gram")
"""What a step measures, in this order; losses without their weights, 0 where they are off."""


@dataclass(frozen=True)
class StepValues:
    """The scheduled values of one step. ``backbone_scale``: factor of the backbone's learning rate, 0 = it is fixed."""

    lr: float
    weight_decay: float
    teacher_momentum: float
    teacher_temp: float
    prototypes_fixed: bool
    backbone_scale: float
    gram_due: bool = False


def step_values(config: PretrainConfig, lr: float, step: int, total: int) -> StepValues:
    """Evaluate all schedules at ``step`` of ``total``."""
    made, teacher, model, gram = config.optimiser, config.teacher, config.model, config.losses.gram
    held, ramp = model.freeze_backbone_steps, model.ramp_backbone_steps
    return StepValues(
        lr=warmup_then(made.schedule, lr, min(made.lr_end, lr), step, round(made.warmup * total), total),
        weight_decay=cosine(*made.weight_decay, step, total),
        teacher_momentum=cosine(*teacher.momentum, step, total),
        teacher_temp=linear(*teacher.temperature, step, round(teacher.temperature_warmup * total)),
        prototypes_fixed=step < made.freeze_last_layer * total,
        backbone_scale=0.0 if step < held else min(1.0, (step - held + 1) / (ramp + 1)),
        gram_due=gram.weight > 0.0 and gram_teacher_due(step, round(gram.start * total), gram.every_steps, None),
    )


class Learner:
    """Everything that learns. Student and teacher start equal, heads included; the teacher gets no gradient."""

    def __init__(self, config: PretrainConfig, backbone: nn.Module, device: torch.device, precision: Precision) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.precision = config, device, precision
        network = _network(config, apply_adapter(backbone, config.adapter)).to(device)
        _choose_attention(config, network.backbone, device, precision)
        teacher = teacher_of(network)
        _set_drop_path(network.backbone, config.model.drop_path)
        self.plan = resolve_parallel(config.parallel, device, precision)
        self.gram: GramTeacher | None = None
        if config.losses.gram.weight:
            self.gram = cast(GramTeacher, parallelise(GramTeacher(cast(Network, teacher)), self.plan, learns=False))
        self.student = parallelise(network, self.plan)
        self.teacher = cast(Network, parallelise(teacher, self.plan, learns=False))
        self.network = cast(Network, bare(self.student))
        low = precision.dtype if device.type == "cuda" and precision.name == "bf16" else None
        self.objective = Objective(config, device, low)
        made = config.optimiser
        groups = parameter_groups(self.network, made.layer_decay, made.patch_embed_factor)
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, betas=made.betas, fused=True)
        self.norms: dict[str, torch.Tensor] = {}
        self.watch = Diagnostics(config.head.prototypes, int(backbone.num_features), device)  # type: ignore[arg-type]

    def step(
        self,
        views: torch.Tensor,
        details: torch.Tensor | None,
        values: StepValues,
        masks: PatchMasks | None = None,
    ) -> torch.Tensor:
        """One optimisation step.

        Args:
            views: (2B, 1, G, G) normalised global crops, view after view.
            details: (n·B, 1, L, L) local crops, or None. The teacher never sees them.
            values: this step's scheduled values.
            masks: of the global crops in the order of ``views``, on the CPU; needed by iBOT.

        Returns:
            `MEASURES` as a tensor on the device: losses and entropy in nats, feature_std 0 (collapsed) … 1 (isotropic).
            ``norms`` holds the gradients' norms of backbone and heads.
        """
        if self.gram is not None and values.gram_due:
            self.gram.follow(self.teacher)
        seen, targets = self._teach(views, values, masks)
        parts = parts_of_batch(targets.images, self.config.parallel.accumulate)
        spread, pulls = self._spread(views, masks, parts)

        def loss(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
            found, reported = self._student_losses(views, details, targets, masks, part)
            total = found.total
            if self.config.losses.koleo:
                total = total + pulls(part, found.tokens)
            return total, reported

        self.optimiser.zero_grad(set_to_none=True)
        reported = accumulate(self.student, parts, loss)
        self._update(values)
        return self._measures(reported, seen.tokens.float(), spread)

    @torch.no_grad()
    def _teach(self, views: torch.Tensor, values: StepValues, masks: PatchMasks | None) -> tuple[Seen, Targets]:
        chosen = None if masks is None else masks.indices.to(self.device, non_blocking=True)
        with self.precision.autocast():
            seen: Seen = self.teacher([views], chosen)
            grid = self.gram(views) if self.gram is not None and self.gram.set else None
        targets = self.objective.targets(self.teacher, seen, values.teacher_temp, grid)
        self.watch.add(targets.views, seen.scores, seen.tokens)
        return seen, targets

    def _student_losses(
        self,
        views: torch.Tensor,
        details: torch.Tensor | None,
        targets: Targets,
        masks: PatchMasks | None,
        part: slice,
    ) -> tuple[_Found, torch.Tensor]:
        n_global, n_local = self.config.crops.n_global, self.config.crops.n_local
        if masks is not None and part != slice(0, targets.images):
            masks, rows = _masks_of(masks, n_global, part)
            targets = of_patches(targets, rows.to(self.device))
        masks = None if masks is None else masks.to(self.device)
        crops = [take(views, n_global, part)] + ([] if details is None else [take(details, n_local, part)])
        chosen, hidden = (None, None) if masks is None else (masks.indices, masks.masks)
        with self.precision.autocast():
            seen: Seen = self.student(crops, chosen, hidden, targets.grid is not None)
        losses, entropy = self.objective.losses(self.network, seen, targets, masks, part)
        zero = entropy.new_zeros(())
        reported = [losses.parts["dino"].detach(), entropy.detach()]
        reported += [losses.parts.get(name, zero).detach() for name in ("ibot", "gram")]
        tokens = seen.tokens[: n_global * (part.stop - part.start)]
        return _Found(losses.total, tokens), torch.stack(reported)

    def _spread(
        self, views: torch.Tensor, masks: PatchMasks | None, parts: list[slice]
    ) -> tuple[torch.Tensor, Callable[[slice, torch.Tensor], torch.Tensor]]:
        """KoLeo of the whole batch, and what to add to a part's loss for it."""
        weight, n_global = self.config.losses.koleo, self.config.crops.n_global
        found = [views.new_zeros(())]
        if weight and len(parts) > 1:

            def embed(part: slice) -> torch.Tensor:
                hidden = None if masks is None else take(masks.masks, n_global, part).to(self.device)
                with self.precision.autocast():
                    tokens: torch.Tensor = self.network([take(views, n_global, part)], hidden=hidden).tokens
                return tokens

            def whole(tokens: torch.Tensor) -> torch.Tensor:
                return weight * self.objective.spread(tokens)

            value, gradients = joint_gradients(parts, n_global, embed, whole)
            found[0] = value / weight
            return found[0], lambda part, tokens: batch_term(tokens, gradients[parts.index(part)], part, parts)

        def at_once(part: slice, tokens: torch.Tensor) -> torch.Tensor:
            value = self.objective.spread(tokens)
            found[0].copy_(value.detach())
            return weight * value

        return found[0], at_once

    def _update(self, values: StepValues) -> None:
        hold(self.optimiser, backbone=values.backbone_scale == 0.0, prototypes=values.prototypes_fixed)
        self.norms = clip_gradients(self.network, self.config.optimiser.clip)
        set_rates(self.optimiser, values.lr, values.weight_decay, values.backbone_scale)
        self.optimiser.step()
        update_teacher(self.teacher, self.network, values.teacher_momentum)

    @staticmethod
    @torch.no_grad()
    def _measures(reported: torch.Tensor, tokens: torch.Tensor, koleo: torch.Tensor) -> torch.Tensor:
        loss, entropy, ibot, gram = reported.unbind()
        return torch.stack([loss, entropy, loss - entropy, feature_spread(tokens), koleo, ibot, gram])

    def watched(self, views: torch.Tensor | None = None) -> dict[str, float]:
        """What the doctor reads beside `MEASURES`; every worker must call it at the same step.

        Args:
            views: some global crops, to see whether the teacher knows where a patch lies; None = not now.
        """
        centred = self.config.teacher.centring == "centre"
        row = self.watch.row(self.objective.centres["views"].value if centred else None)
        row |= {f"grad_norm_{part}": float(norm) for part, norm in self.norms.items()}
        patch = patch_size_of(self.teacher.backbone)
        whole = self.plan.strategy != "fsdp2"  # a part of a sharded network cannot be called by itself
        if views is not None and patch and whole:
            draw = torch.Generator().manual_seed(self.config.seed)
            found = position_sensitivity(self.teacher.backbone, views[:8], patch, draw)
            row["position_sensitivity"] = float(found)
        return row

    def state(self) -> dict[str, Any]:
        """Everything needed to go on exactly, on rank 0; collective. Tensors and plain values only.

        Nothing in it changes with later steps, so that it can be written while training goes on.
        """
        state = {
            "student": full_state(self.student),
            "teacher": full_state(self.teacher),
            "optimiser": full_optimiser_state(self.optimiser),
            "centres": _copied(self.objective.state()),
            "watch": self.watch.state(),
        }
        if self.gram is not None and self.gram.set:
            state["gram"] = full_state(self.gram)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take a state back; InputError if it is of another architecture."""
        try:
            load_full_state(self.student, state["student"])
            load_full_state(self.teacher, state["teacher"])
            load_full_optimiser_state(self.optimiser, state["optimiser"])
            self.objective.load_state(state["centres"])
            self.watch.load_state(state["watch"])
            if self.gram is not None and "gram" in state:
                load_full_state(self.gram, state["gram"])
                self.gram.set = True
        except (RuntimeError, ValueError, KeyError) as error:
            text = str(error).splitlines()[0]
            raise InputError(
                f"the checkpoint to resume from is of another architecture ({text}). Give another `out`."
            ) from None


@dataclass(frozen=True)
class _Found:
    """A part's loss, and its (n_global · b, D) class tokens of the global crops."""

    total: torch.Tensor
    tokens: torch.Tensor


def _copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies on the CPU."""
    return {name: value.to("cpu", copy=True) for name, value in tensors.items()}


def _network(config: PretrainConfig, backbone: nn.Module) -> Network:
    width, ibot = int(backbone.num_features), config.losses.ibot  # type: ignore[arg-type]
    head = DinoHead(width, config.head)
    own = DinoHead(width, ibot.head) if ibot.weight and ibot.head != "shared" else None
    return Network(backbone, head, own, masks=ibot.weight > 0.0, scored=is_scored(config))


def _choose_attention(config: PretrainConfig, backbone: nn.Module, device: torch.device, precision: Precision) -> None:
    """For the largest pass of a step, which is that of the global crops."""
    patch = patch_size_of(backbone)
    if not patch:
        return
    tokens = (config.crops.global_size // patch) ** 2 + int(getattr(backbone, "num_prefix_tokens", 0))
    images = config.crops.n_global * config.batch_size // (world() * config.parallel.accumulate)
    prefer_plain_attention(backbone, device, precision, images, tokens)


def _masks_of(masks: PatchMasks, n_views: int, part: slice) -> tuple[PatchMasks, torch.Tensor]:
    """Masks of images ``part`` of each view, and the places of their patches among the masked ones of the batch."""
    images, patches = len(masks.masks) // n_views, masks.masks[0].numel()
    image = masks.indices // patches % images
    rows = ((image >= part.start) & (image < part.stop)).nonzero().flatten()
    return PatchMasks.of(take(masks.masks, n_views, part)), rows


def _set_drop_path(backbone: nn.Module, rate: float) -> None:
    """Stochastic depth of the student only: from 0 at the first block to ``rate`` at the last."""
    from orthoray.models.timm_import import import_timm

    if rate == 0.0:
        return
    blocks = list(backbone.blocks)  # type: ignore[arg-type]
    drop_path = import_timm().layers.DropPath
    for index, block in enumerate(blocks):
        share = rate * index / max(1, len(blocks) - 1)
        block.drop_path1, block.drop_path2 = drop_path(share), drop_path(share)
