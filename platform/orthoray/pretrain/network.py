"""What is trained: a backbone with its heads, forwarded once for all crops of a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from orthoray.errors import InputError
from orthoray.models.features import forward_tokens
from orthoray.pretrain.head import DinoHead


class Seen(NamedTuple):
    """What a network makes of the crops of a step.

    Attributes:
        scores: (ΣB_i, K) of the class tokens, float32; (ΣB_i, d) bottlenecks where the network is not ``scored``.
        tokens: (ΣB_i, D) class tokens.
        patches: (M, K) or (M, d) of the chosen patches, None without any.
        grid: (B, N, D) patch features of the global crops, None unless asked for.
    """

    scores: torch.Tensor
    tokens: torch.Tensor
    patches: torch.Tensor | None
    grid: torch.Tensor | None


class Network(nn.Module):
    """Backbone and heads.

    Args:
        backbone: a timm network.
        head: of the class tokens.
        patch_head: of masked patches; None = the same head. Only used where patches are chosen.
        masks: a mask token is learnt.
        scored: heads score against all prototypes; False = bottlenecks, for losses that go chunk by chunk.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: DinoHead,
        patch_head: DinoHead | None = None,
        *,
        masks: bool = False,
        scored: bool = True,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.scored = backbone, head, scored
        if patch_head is not None:
            self.patch_head = patch_head
        if masks:
            if not hasattr(backbone, "blocks"):
                raise InputError("losses.ibot hides patches: it needs a ViT, this backbone is none. Set weight: 0.")
            self.mask_token = nn.Parameter(torch.zeros(int(backbone.num_features)))  # type: ignore[arg-type]

    def of_patches(self) -> DinoHead:
        """The head of masked patches."""
        return self.patch_head if hasattr(self, "patch_head") else self.head

    def forward(
        self,
        crops: list[torch.Tensor],
        chosen: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
        grid: bool = False,
    ) -> Seen:
        """Forward the crops size by size.

        Args:
            crops: (B_i, C, H_i, W_i) crops of one or two sizes, the global ones first.
            chosen: (M,) places of patches among all of the global crops, which go through the patch head.
            hidden: (B_0, h, w) bool, patches of the global crops that the mask token stands for.
            grid: give the patch features of the global crops.
        """
        with self._hiding(hidden):
            first, patches = forward_tokens(self.backbone, crops[0])
        tokens = torch.cat([first, *[forward_tokens(self.backbone, size)[0] for size in crops[1:]]])
        picked = None if chosen is None else patches.flatten(0, 1)[chosen]
        if picked is not None and not hasattr(self, "patch_head"):
            both = self.head(torch.cat([tokens, picked]), self.scored)
            scores, of_patches = both[: len(tokens)], both[len(tokens) :]
        else:
            scores = self.head(tokens, self.scored)
            of_patches = None if picked is None else self.patch_head(picked, self.scored)
        return Seen(scores, tokens, of_patches, patches if grid else None)

    @contextmanager
    def _hiding(self, hidden: torch.Tensor | None) -> Iterator[None]:
        """In here the patch embedding gives the mask token for hidden patches; positions are added afterwards."""
        if hidden is None:
            yield
            return

        def replaced(_module: nn.Module, _inputs: Any, found: torch.Tensor) -> torch.Tensor:
            where = hidden if found.ndim == 4 else hidden.flatten(1)
            return torch.where(where.unsqueeze(-1), self.mask_token.to(found.dtype), found)

        handle = self.backbone.get_submodule("patch_embed").register_forward_hook(replaced)
        try:
            yield
        finally:
            handle.remove()
