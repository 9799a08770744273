"""How much arithmetic a ViT and a DINO step cost, and how much a device can do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

GPU_PEAK_BF16 = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
}
"""Dense bf16 (V100, T4: fp16) peak in FLOP/s by name, from the makers' data sheets; SXM parts where they differ."""


@dataclass(frozen=True)
class VitShape:
    """The sizes that decide a ViT's cost; ``mlp_width`` of a gated MLP is that of a plain one of the same cost."""

    depth: int
    width: int
    patch: int
    prefix_tokens: int
    mlp_width: int
    in_chans: int = 1

    @classmethod
    def of(cls, backbone: nn.Module) -> VitShape | None:
        """Read the sizes of a timm ViT; None for another kind of network."""
        model: Any = backbone
        if not hasattr(model, "blocks") or not hasattr(model, "patch_embed"):
            return None
        first = model.blocks[0]
        return cls(
            depth=len(model.blocks),
            width=int(model.embed_dim),
            patch=int(model.patch_embed.patch_size[0]),
            prefix_tokens=int(model.num_prefix_tokens),
            mlp_width=_linear_weights(first.mlp) // (2 * int(model.embed_dim)),
            in_chans=int(model.patch_embed.proj.in_channels),
        )

    def forward_flops(self, side: int) -> float:
        """FLOPs (two per multiply-add, matrix products only) of one forward pass of a ``side`` × ``side`` image.

        ``L·(8ND² + 4N²D + 4NDM) + 2(side/P)²·C·P²·D`` with N tokens, width D and MLP width M.
        """
        patches = (side // self.patch) ** 2
        tokens = patches + self.prefix_tokens
        block = 8 * tokens * self.width**2 + 4 * tokens**2 * self.width + 4 * tokens * self.width * self.mlp_width
        return float(self.depth * block + 2 * patches * self.in_chans * self.patch**2 * self.width)


def _linear_weights(module: nn.Module) -> int:
    """Number of weights in the linear layers of a module."""
    layers: list[Any] = [layer for layer in module.modules() if hasattr(layer, "in_features")]
    return sum(int(layer.in_features) * int(layer.out_features) for layer in layers if hasattr(layer, "out_features"))


def dino_flops_per_image(
    shape: VitShape, global_side: int, n_global: int, local_side: int, n_local: int, head_flops: float
) -> float:
    """FLOPs of one image in a DINO step: the teacher forwards the global crops, the student all of them thrice.

    ``head_flops``: forward cost of one class token in the projection head.
    """
    views = n_global * shape.forward_flops(global_side)
    student = views + n_local * shape.forward_flops(local_side) if n_local else views
    heads = (n_global + 3 * (n_global + n_local)) * head_flops
    return views + 3 * student + heads


def peak_flops(device: torch.device, dtype: torch.dtype, processes: int = 1) -> float:
    """Peak FLOP/s for model FLOPs utilisation (MFU).

    GPUs: the data-sheet figure for bf16 by name (0.0 for fp32, whose peak depends on TF32 settings);
    unknown GPU: 0.0, and MFU is then shown as 0 rather than guessed. CPU: the best of a few matrix products measured
    here in about 0.3 s: what this processor attains, not what its maker states.

    Args:
        device: where training runs.
        dtype: type of the matrix products.
        processes: training processes that share this processor (CPU only); each gets its part.
    """
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = [peak for part, peak in GPU_PEAK_BF16.items() if part in name]
        return known[0] if known and dtype == torch.bfloat16 else 0.0
    return _measured_gemm(dtype) / max(1, processes)


def _measured_gemm(dtype: torch.dtype, side: int = 1024, seconds: float = 0.3) -> float:
    import torch

    left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    left @ right
    best, stop = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        left @ right
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best
