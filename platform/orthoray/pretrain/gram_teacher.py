"""The teacher of Gram anchoring: the teacher's backbone as it was at the last copy."""

from __future__ import annotations

import copy

import torch
from torch import nn

from orthoray.models.features import forward_tokens
from orthoray.pretrain.network import Network
from orthoray.pretrain.teacher import update_teacher


class GramTeacher(nn.Module):
    """Made with the teacher, so that both are spread over workers alike and memory does not grow midway.

    Call it before `parallelise`. Until the first `follow` it is not ``set``, and there is nothing to anchor to.

    Args:
        teacher: whose backbone is copied.
    """

    def __init__(self, teacher: Network) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(teacher.backbone).requires_grad_(False)
        self.set = False

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """(B, N, D) patch features of (B, C, G, G) global crops."""
        return forward_tokens(self.backbone, views)[1]

    def follow(self, teacher: nn.Module) -> None:
        """Become equal to the teacher as it is now, each worker its own part."""
        update_teacher(self, teacher, 0.0)
        self.set = True
