"""Networks over the slices of a study: gated-attention MIL and a small transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from orthoray.evaluation.bags import Batch
from orthoray.evaluation.frozen_settings import MilConfig, TransformerConfig
from orthoray.evaluation.protocol import PLANES


class GatedAttention(nn.Module):
    """Multiple-instance learning by gated attention (Ilse, Tomczak and Welling, arXiv:1802.04712, eqs. 8 and 9).

    Each slice becomes h; a study is Σ a h with a = softmax(wᵀ(tanh(V h) ⊙ sigmoid(U h))). The order of the slices has
    no influence. w starts at zero, so a study starts as the mean of its slices.
    """

    def __init__(self, dim: int, n_classes: int, config: MilConfig) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(dim, config.hidden), nn.ReLU(), nn.Dropout(config.dropout))
        self.v, self.u = nn.Linear(config.hidden, config.hidden), nn.Linear(config.hidden, config.hidden)
        self.w = nn.Linear(config.hidden, 1, bias=False)
        nn.init.zeros_(self.w.weight)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.hidden, n_classes))

    def forward(self, batch: Batch) -> Tensor:
        """`Batch` → (B, K) logits."""
        h = self.embed(batch.x)
        logits: Tensor = self.head(torch.einsum("bl,blh->bh", self._weights(h, batch.there), h))
        return logits

    def attention(self, batch: Batch) -> Tensor:
        """(B, L) weights of the slices, which sum to 1 over those that are there."""
        return self._weights(self.embed(batch.x), batch.there)

    def _weights(self, h: Tensor, there: Tensor) -> Tensor:
        scores = self.w(self.v(h).tanh() * self.u(h).sigmoid())[..., 0]
        return torch.softmax(scores.masked_fill(~there, -torch.inf), dim=1)


class SliceTransformer(nn.Module):
    """A transformer over slices: a token is the slice's features, its plane, and where in its series it lies.

    The position is a sine-cosine code (Vaswani et al., arXiv:1706.03762, §3.5) of 100 times the relative position. A
    class token gathers the study.
    """

    def __init__(self, dim: int, n_classes: int, config: TransformerConfig) -> None:
        super().__init__()
        width = config.hidden
        self.project, self.plane = nn.Linear(dim, width), nn.Embedding(len(PLANES), width)
        self.start = nn.Parameter(0.02 * torch.randn(1, 1, width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, n_classes)
        nn.init.normal_(self.plane.weight, std=0.02)
        frequency = torch.exp(-math.log(10_000.0) * torch.arange(width // 2) / (width // 2))
        self.register_buffer("frequency", frequency, persistent=False)
        self.frequency: Tensor

    def forward(self, batch: Batch) -> Tensor:
        """`Batch` → (B, K) logits."""
        angle = 100.0 * batch.position[..., None] * self.frequency
        place = torch.cat([angle.sin(), angle.cos()], dim=-1)
        tokens = self.project(batch.x) + self.plane(batch.plane) + place
        tokens = torch.cat([self.start.expand(len(tokens), -1, -1), tokens], dim=1)
        missing = nn.functional.pad(~batch.there, (1, 0), value=False)
        logits: Tensor = self.head(self.encoder(tokens, src_key_padding_mask=missing)[:, 0])
        return logits
