"""What a step costs per image: arithmetic, by the formula of a ViT and its heads or counted operation by operation.

FLOPs are those of matrix products, two per multiply-add. *Nominal* is what the objective asks for, whatever a run does
to fit into memory: one forward pass of the teacher, three of the student. *Executed* is what is really computed: with
what is computed again to save memory, without gradients that nobody needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from orthoray.models.backbone import create_backbone
from orthoray.models.features import forward_tokens
from orthoray.models.flops import VitShape


@dataclass(frozen=True)
class HeadShape:
    """The sizes of a projection head: ``layers`` linear layers from D over h … h to b, then K prototypes."""

    width: int
    hidden: int
    bottleneck: int
    prototypes: int
    layers: int = 3

    def forward_flops(self) -> float:
        """FLOPs of one token: 2·(D·h + (layers - 2)·h² + h·b + b·K), with one layer 2·(D·b + b·K)."""
        return 2.0 * self._weights() + self.score_flops()

    def score_flops(self) -> float:
        """FLOPs of one bottleneck's scores against all prototypes: 2·b·K."""
        return 2.0 * self.bottleneck * self.prototypes

    def parameters(self) -> int:
        """Weights, biases and prototypes."""
        return self._weights() + self.hidden * (self.layers - 1) + self.bottleneck * (1 + self.prototypes)

    def _weights(self) -> int:
        if self.layers == 1:
            return self.width * self.bottleneck
        return self.width * self.hidden + (self.layers - 2) * self.hidden**2 + self.hidden * self.bottleneck


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of one image in one step: nominal ones by where they arise, and all that are executed."""

    teacher: float = 0.0
    student: float = 0.0
    heads: float = 0.0
    executed: float = 0.0

    @property
    def nominal(self) -> float:
        """All that the objective asks for."""
        return self.teacher + self.student + self.heads


@dataclass(frozen=True)
class StepShape:
    """The sizes that decide what an image costs in a step.

    Attributes:
        global_flops: forward pass of the backbone on one global crop, FLOPs.
        local_flops: the same on one local crop; 0 without any.
        n_global: global crops, which the teacher sees too.
        n_local: local crops.
        head: of the class tokens.
        patch_head: of the masked patches (iBOT); None = no such loss.
        masked: masked patches of an image, expected, over all global crops.
        global_adapted: forward pass of the backbone with its adapter; None = without any.
        global_learning: forward and backward pass of the student as they are executed; None = three forward passes.
        local_learning: the same on one local crop.
        gram: share of the run in which a Gram teacher sees the global crops too.
        score_passes: how often the teacher's scores are computed.
        spread_first: the student's global crops are forwarded once more beforehand, for a loss of the whole batch.
        scored: heads score in that pass too.
    """

    global_flops: float
    local_flops: float
    n_global: int
    n_local: int
    head: HeadShape
    patch_head: HeadShape | None = None
    masked: float = 0.0
    global_adapted: float | None = None
    global_learning: float | None = None
    local_learning: float | None = None
    gram: float = 0.0
    score_passes: int = 1
    spread_first: bool = False
    scored: bool = True

    def flops(self) -> StepFlops:
        """FLOPs per image: teacher G·F(g), student 3·(G·F(g) + n·F(l)), heads (3·(G + n) + G)·H + 4·m·H'.

        A Gram teacher costs as much as the teacher. F: forward pass of the backbone, H and H' of a head for one token,
        m masked patches. Executed ones differ in the student's passes and in scores that are computed again.
        """
        views, details = self.n_global * self.global_flops, self.n_local * self.local_flops
        teacher, student = views * (1.0 + self.gram), 3.0 * (views + details)
        tokens = 3 * (self.n_global + self.n_local) + self.n_global
        heads = tokens * self.head.forward_flops()
        again = self.n_global * self.head.score_flops()
        if self.patch_head is not None:
            heads += 4.0 * self.masked * self.patch_head.forward_flops()
            again += self.masked * self.patch_head.score_flops()
        once = views if self.global_adapted is None else self.n_global * self.global_adapted
        executed = once * (1.0 + self.gram) + self._learning(student) + heads + (self.score_passes - 1) * again
        if self.spread_first:
            unscored = 0.0 if self.scored else self.head.score_flops()
            executed += once + self.n_global * (self.head.forward_flops() - unscored)
        return StepFlops(teacher, student, heads, executed)

    def _learning(self, nominal: float) -> float:
        if self.global_learning is None:
            return nominal
        return self.n_global * self.global_learning + self.n_local * (self.local_learning or 0.0)

    def without_patches(self) -> StepShape:
        """The same step without the loss on masked patches."""
        return replace(self, patch_head=None, masked=0.0)


def masked_patches(side: int, patch: int, n_global: int, probability: float = 0.5, ratio: float = 0.3) -> float:
    """Expected masked patches of an image: each global crop is masked with ``probability``, ``ratio`` of it on average.

    The defaults are those of iBOT and DINOv2, where the ratio is drawn uniformly from 0.1 to 0.5.
    """
    return n_global * probability * ratio * (side // patch) ** 2


def meta_backbone(name: str, in_chans: int = 1, **kwargs: Any) -> nn.Module:
    """A backbone without memory for its weights, for counting; InputError as `create_backbone`."""
    with torch.device("meta"):
        return create_backbone(name, in_chans=in_chans, **kwargs).eval()


def counted_flops(backbone: nn.Module, side: int, in_chans: int = 1) -> float:
    """FLOPs of one forward pass of a ``side`` × ``side`` image by a backbone on the meta device, counted by torch."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.forward_features(torch.empty(1, in_chans, side, side, device="meta"))  # type: ignore[operator]
    return float(counter.get_total_flops())


def forward_flops(backbone: nn.Module, side: int, in_chans: int = 1) -> tuple[float, bool]:
    """FLOPs of one forward pass of a backbone on the meta device, and whether the ViT's formula gives them too.

    The count is what is returned; convolutional networks, for one, are not what the formula describes.
    """
    counted = counted_flops(backbone, side, in_chans)
    try:
        shape = VitShape.of(backbone)
    except AttributeError:  # another kind of MLP
        shape = None
    return counted, shape is not None and shape.forward_flops(side) == counted


def learning_flops(backbone: nn.Module, side: int, in_chans: int = 1) -> float | None:
    """FLOPs of a forward and backward pass of a ``side`` × ``side`` image, counted by torch; None for a convolutional
    network, in whose backward pass torch counts grouped convolutions as if they were not.

    Args:
        backbone: on the meta device, with its adapter, and its blocks recomputed as they will be.
        side: in pixels.
        in_chans: channels of the image.
    """
    if any(getattr(module, "groups", 1) > 1 for module in backbone.modules()):
        return None
    image = torch.empty(1, in_chans, side, side, device="meta")
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        torch.autograd.backward(forward_tokens(backbone, image)[0].sum())
    return float(counter.get_total_flops())
