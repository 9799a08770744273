"""Student, teacher and optimiser: one DINO step, and the state that a checkpoint holds."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from orthoray.errors import InputError
from orthoray.models.features import forward_tokens
from orthoray.models.precision import Precision
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.head import DinoHead
from orthoray.pretrain.objective import Centre, dino_loss, koleo_loss, teacher_targets
from orthoray.pretrain.schedules import cosine, linear, warmup_cosine

MEASURES = ("loss", "teacher_entropy", "student_teacher_kl", "feature_std")
"""What a step measures, in this order."""


class Network(nn.Module):
    """Backbone and head; forwards the crops size by size and scores all of their class tokens."""

    def __init__(self, backbone: nn.Module, head: DinoHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, crops: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B_i, 1, H_i, W_i) crops of one or two sizes → scores (ΣB_i, K) float32 and class tokens (ΣB_i, D)."""
        tokens = torch.cat([forward_tokens(self.backbone, size)[0] for size in crops])
        return self.head(tokens), tokens


@dataclass(frozen=True)
class StepValues:
    """The scheduled values of one step."""

    lr: float
    weight_decay: float
    teacher_momentum: float
    teacher_temp: float
    prototypes_fixed: bool
    backbone_fixed: bool


def step_values(config: PretrainConfig, lr: float, step: int, total: int) -> StepValues:
    """Evaluate all schedules at ``step`` of ``total``."""
    made, teacher = config.optimiser, config.teacher
    return StepValues(
        lr=warmup_cosine(lr, min(made.lr_end, lr), step, round(made.warmup * total), total),
        weight_decay=cosine(*made.weight_decay, step, total),
        teacher_momentum=cosine(*teacher.momentum, step, total),
        teacher_temp=linear(*teacher.temperature, step, round(teacher.temperature_warmup * total)),
        prototypes_fixed=step < made.freeze_last_layer * total,
        backbone_fixed=step < config.model.freeze_backbone_steps,
    )


class Learner:
    """Everything that learns. Student and teacher start equal, heads included; the teacher gets no gradient."""

    def __init__(self, config: PretrainConfig, backbone: nn.Module, device: torch.device, precision: Precision) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.precision = config, device, precision
        width = int(backbone.num_features)  # type: ignore[arg-type]
        network = Network(backbone, DinoHead(width, config.head)).to(device)
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        _set_drop_path(network.backbone, config.model.drop_path)
        self.network = network
        ids = [device.index] if device.type == "cuda" else None
        self.student = DistributedDataParallel(network, device_ids=ids, gradient_as_bucket_view=True)
        self.centre = Centre(config.head.prototypes, config.teacher.centre_momentum, device)
        self.optimiser = torch.optim.AdamW(parameter_groups(network), lr=0.0, betas=config.optimiser.betas, fused=True)

    def step(self, views: torch.Tensor, details: torch.Tensor | None, values: StepValues) -> torch.Tensor:
        """One optimisation step.

        Args:
            views: (2B, 1, G, G) normalised global crops, view after view.
            details: (n·B, 1, L, L) local crops, or None. The teacher never sees them.
            values: this step's scheduled values.

        Returns:
            `MEASURES` as a tensor (4,) on the device: three in nats, feature_std 0 (collapsed) … 1 (isotropic).
        """
        made = self.config
        n_global, n_views = made.crops.n_global, made.crops.n_global + made.crops.n_local
        with self.precision.autocast():
            with torch.no_grad():
                teacher_scores, teacher_tokens = self.teacher([views])
            scores, tokens = self.student([views] if details is None else [views, details])
        targets = teacher_targets(
            teacher_scores.float(), values.teacher_temp, made.teacher.centring, self.centre, n_global
        )
        self.centre.update(teacher_scores.float())
        loss = dino_loss(targets, scores.float(), made.teacher.student_temperature, n_global, n_views)
        total = loss
        if made.koleo_weight:
            spread = [koleo_loss(view) for view in tokens[: len(views)].chunk(n_global)]
            total = loss + made.koleo_weight * torch.stack(spread).mean()
        self._update(total, values)
        return self._measures(loss.detach(), targets, teacher_tokens.float())

    def _update(self, loss: torch.Tensor, values: StepValues) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if values.prototypes_fixed:
            self.network.head.prototypes.grad = None
        if values.backbone_fixed:
            for parameter in self.network.backbone.parameters():
                parameter.grad = None
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimiser.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = values.lr
            group["weight_decay"] = values.weight_decay if group["decays"] else 0.0
        self.optimiser.step()
        update_teacher(self.teacher, self.network, values.teacher_momentum)

    @staticmethod
    @torch.no_grad()
    def _measures(loss: torch.Tensor, targets: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        entropy = -(targets * targets.clamp_min(1e-12).log()).sum(dim=-1).mean()
        unit = nn.functional.normalize(tokens, dim=-1)
        spread = unit.std(dim=0, correction=0).pow(2).sum().sqrt()
        return torch.stack([loss, entropy, loss - entropy, spread])

    def state(self) -> dict[str, Any]:
        """Everything needed to go on exactly: tensors and plain values only."""
        return {
            "student": self.network.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "centre": self.centre.value,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take a state back; InputError if it is of another architecture."""
        try:
            self.network.load_state_dict(state["student"])
            self.teacher.load_state_dict(state["teacher"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            text = str(error).splitlines()[0]
            raise InputError(
                f"the checkpoint to resume from is of another architecture ({text}). Give another `out`."
            ) from None
        self.centre.value = state["centre"].to(self.device)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """θ_t ← m·θ_t + (1 − m)·θ_s for parameters and floating-point buffers, in place."""
    mine = [value for value in teacher.state_dict().values() if value.is_floating_point()]
    theirs = [value for value in student.state_dict().values() if value.is_floating_point()]
    torch._foreach_lerp_(mine, theirs, 1.0 - momentum)


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """AdamW groups: matrices decay, biases, norms, class token and position embedding do not."""
    decays: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        token = name.endswith(("pos_embed", "cls_token", "reg_token"))
        (free if parameter.ndim < 2 or token else decays).append(parameter)
    return [{"params": decays, "decays": True}, {"params": free, "decays": False}]


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
