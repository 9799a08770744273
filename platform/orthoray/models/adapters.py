"""Adapters: ways to let only a small part of a pretrained backbone learn, and to fold what was learnt back into it.

- ``lora``: low-rank updates of chosen projections (Hu et al., arXiv:2106.09685); with ``unfreeze`` the last blocks
  learn whole, which is ExPLoRA (Khanna et al., arXiv:2406.10973).
- ``apla``: only the projection after attention learns, or some of its outputs drawn by lot (Sorkhei et al.,
  arXiv:2503.11335; for self-supervision arXiv:2503.18873).
- ``last_k``: only the last blocks and the final norm learn.

An adapted backbone keeps the names of the tensors that it had, beside a few new ones, and computes the same features
before its first step. `merge_adapter` gives back the plain architecture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from orthoray.errors import InputError
from orthoray.models.features import norm_after_pooling

HEAD_ONLY = ("head.", "fc_norm.", "attn_pool.")
"""Parameters that timm uses after `forward_features` alone; save a ConvNeXt's `norm_after_pooling`, nothing that is
trained here goes through them."""


class AdapterOptions(Protocol):
    """What `apply_adapter` reads; see `orthoray.models.adapter_settings.AdapterConfig`."""

    @property
    def kind(self) -> str:
        """``none``, ``lora``, ``apla`` or ``last_k``."""

    @property
    def rank(self) -> int:
        """Of each low-rank update."""

    @property
    def alpha(self) -> float:
        """The update is scaled by alpha / rank."""

    @property
    def targets(self) -> Sequence[str]:
        """Projections for LoRA: of ``q k v qkv proj mlp``."""

    @property
    def fraction(self) -> float:
        """Share of APLA's outputs that learn."""

    @property
    def unfreeze(self) -> int:
        """Last blocks that learn whole."""

    @property
    def norms(self) -> bool:
        """The norms of all blocks learn too."""

    @property
    def seed(self) -> int:
        """Of the lot of APLA's outputs."""


class LoraLinear(nn.Linear):
    """``y = W·x + b + (alpha/rank)·B·A·x`` with W and b fixed, and B = 0 at the start.

    A projection that computes query, key and value at once is adapted part by part: every part that learns has an A and
    a B of its own rank, as if the three were separate layers.

    Args:
        base: the layer to adapt; its weight (O, I) and bias (O,) are kept, not copied.
        rank: rank of each update.
        alpha: scale of the update times ``rank``.
        learns: for each of the equal parts that the O outputs fall into, whether it learns.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, learns: tuple[bool, ...] = (True,)) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.learns, self.scale = learns, alpha / rank
        parts, outputs = sum(learns), base.out_features // len(learns)
        self.lora_a = nn.Parameter(base.weight.new_empty(parts * rank, base.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(parts, outputs, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name that nn.Linear gives it)
        """(…, I) → (…, O)."""
        low = functional.linear(input, self.lora_a)
        return functional.linear(input, self.weight, self.bias) + functional.linear(low, self._up()) * self.scale

    def _up(self) -> torch.Tensor:
        """All B in one matrix (O, parts · rank), block by block; no columns for a part that does not learn."""
        own = iter(self.lora_b)
        nothing = self.lora_b.new_zeros(self.lora_b.shape[1], 0)
        blocks = [next(own) if learns else nothing for learns in self.learns]
        up: torch.Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
        return up

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer that computes the same."""
        return _linear(self.weight + self.scale * (self._up() @ self.lora_a), self.bias)


class AplaLinear(nn.Linear):
    """A fixed projection of which some outputs learn: their rows of weight and bias are parameters of their own.

    Args:
        base: the layer to adapt; its weight (O, I) and bias (O,) are kept, not copied.
        rows: (r,) indices of the outputs that learn.
    """

    apla_rows: torch.Tensor

    def __init__(self, base: nn.Linear, rows: torch.Tensor) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.register_buffer("apla_rows", rows.to(base.weight.device))
        self.apla_weight = nn.Parameter(base.weight.detach()[self.apla_rows].clone())
        self.apla_bias = None if base.bias is None else nn.Parameter(base.bias.detach()[self.apla_rows].clone())

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name that nn.Linear gives it)
        """(…, I) → (…, O)."""
        return functional.linear(input, *self._whole())

    def _whole(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight = self.weight.index_copy(0, self.apla_rows, self.apla_weight)
        bias = None if self.apla_bias is None else self.bias.index_copy(0, self.apla_rows, self.apla_bias)
        return weight, bias

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer that computes the same."""
        return _linear(*self._whole())


def apply_adapter(backbone: nn.Module, options: AdapterOptions) -> nn.Module:
    """Choose what of ``backbone`` learns, in place; give it back.

    Call it when the weights are loaded and before the teacher is copied, so that both have the same tensors. Also for
    kind ``none``: parameters that `forward_features` never uses (`HEAD_ONLY`) are fixed, since a gradient that never
    comes would keep distributed training waiting.

    Raises:
        InputError: more blocks are to learn than there are, or the adapter does not suit this architecture.
        ValueError: the backbone is adapted already.
    """
    if any(isinstance(module, LoraLinear | AplaLinear) for module in backbone.modules()):
        raise ValueError("the backbone is adapted already; merge_adapter first")
    if options.kind != "none":
        blocks = blocks_of(backbone)
        if options.unfreeze > len(blocks):
            raise InputError(
                f"adapter.unfreeze: {options.unfreeze} blocks are to learn, the backbone has {len(blocks)}."
            )
        backbone.requires_grad_(False)
        below, above = blocks[: len(blocks) - options.unfreeze], blocks[len(blocks) - options.unfreeze :]
        if options.kind == "lora":
            _add_lora(below, options)
        elif options.kind == "apla":
            _add_apla(below, options)
        if options.norms:
            for block in below:
                _unfreeze_norms(block)
        for block in above:
            block.requires_grad_(True)
        if above or options.norms:
            _final_norm(backbone).requires_grad_(True)
    norm = norm_after_pooling(backbone)
    used = set() if norm is None else set(norm.parameters())
    for name, parameter in backbone.named_parameters():
        if name.startswith(HEAD_ONLY) and parameter not in used:
            parameter.requires_grad_(False)
    return backbone


def merge_adapter(backbone: nn.Module) -> nn.Module:
    """Fold all updates into the weights, in place: the plain architecture again, with its own names; all may learn."""
    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLinear | AplaLinear):
            _put(backbone, name, module.merged())
    for module in backbone.modules():
        if hasattr(module, "adapter_separated_bias"):
            del module.adapter_separated_bias
            module.qkv_bias_separate = False  # type: ignore[assignment]
    return backbone.requires_grad_(True)


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a timm ViT, Eva (DINOv3) or ConvNeXt, from input to output.

    Raises:
        InputError: an architecture without such blocks.
    """
    model: Any = backbone
    if hasattr(model, "blocks"):
        return list(model.blocks)
    stages = list(getattr(model, "stages", []))
    if not stages or not all(hasattr(stage, "blocks") for stage in stages):
        raise InputError(f"model.backbone: {type(backbone).__name__} is not made of blocks; use a ViT or a ConvNeXt.")
    return [block for stage in stages for block in stage.blocks]


def _add_lora(blocks: list[nn.Module], options: AdapterOptions) -> None:
    targets = set(options.targets)
    chosen = tuple(bool({part, "qkv"} & targets) for part in "qkv")
    for block in blocks:
        attention = _attention(block)
        layers: dict[str, tuple[bool, ...]] = {}
        if any(chosen):
            fused = getattr(attention, "qkv", None) is not None
            separate = {f"attn.{part}_proj": (True,) for part, on in zip("qkv", chosen, strict=True) if on}
            layers.update({"attn.qkv": chosen} if fused else separate)
            _separate_bias(attention)
        if "proj" in targets:
            layers["attn.proj"] = (True,)
        if "mlp" in targets:
            inner = block.get_submodule("mlp").named_modules()
            layers.update({f"mlp.{name}": (True,) for name, layer in inner if isinstance(layer, nn.Linear)})
        for name, learns in layers.items():
            base = block.get_submodule(name)
            assert isinstance(base, nn.Linear)
            if options.rank > min(base.in_features, base.out_features):
                raise InputError(f"adapter.rank: {options.rank} is more than the width of {name}.")
            _put(block, name, LoraLinear(base, options.rank, options.alpha, learns))


def _add_apla(blocks: list[nn.Module], options: AdapterOptions) -> None:
    for index, block in enumerate(blocks):
        base = _attention(block).get_submodule("proj")
        assert isinstance(base, nn.Linear)
        if options.fraction == 1.0:
            base.requires_grad_(True)
            continue
        lot = torch.Generator().manual_seed(options.seed * 1009 + index)
        count = max(1, round(options.fraction * base.out_features))
        rows = torch.randperm(base.out_features, generator=lot)[:count].sort().values
        _put(block, "attn.proj", AplaLinear(base, rows))


def _attention(block: nn.Module) -> nn.Module:
    attention: nn.Module | None = getattr(block, "attn", None)
    if attention is None:
        raise InputError("adapter.kind: lora and apla adapt attention, which this backbone has not; use last_k.")
    return attention


def _separate_bias(attention: Any) -> None:
    """Make timm's Eva add its query and value bias after the layer is called, not within, past the layer's forward."""
    if getattr(attention, "q_bias", None) is not None and not attention.qkv_bias_separate:
        attention.qkv_bias_separate = True
        attention.adapter_separated_bias = True


def _unfreeze_norms(block: nn.Module) -> None:
    for module in block.modules():
        if "norm" in type(module).__name__.lower():
            module.requires_grad_(True)


def _final_norm(backbone: nn.Module) -> nn.Module:
    return norm_after_pooling(backbone) or backbone.get_submodule("norm" if hasattr(backbone, "blocks") else "norm_pre")


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    made = nn.Linear(inputs, outputs, bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach().clone())
    made.bias = None if bias is None else nn.Parameter(bias.detach().clone())  # type: ignore[assignment]
    return made


def _put(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    module.train(root.get_submodule(name).training)
    setattr(root.get_submodule(parent), leaf, module)
