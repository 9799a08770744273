"""Which network of a weights file is the backbone, in whose layout, and what its tensors are called here.

The common names are timm's for a plain ViT (``blocks.0.attn.qkv.weight``) with a few for what others keep apart:
``attn.q``, ``attn.k``, ``attn.v`` (projections one by one), ``mlp.w1`` (gate) and ``mlp.w2`` (value) or ``mlp.w12``
(both) of a gated MLP, ``rope.periods``. A ConvNeXt keeps timm's own names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orthoray.errors import InputError
from orthoray.models.weights import huggingface

Rules = tuple[tuple[re.Pattern[str], str], ...]


@dataclass(frozen=True)
class Layout:
    """A way to name tensors.

    ``anchors``: names that tell it, the longest first; what precedes them is the network's prefix. ``rules`` rewrite
    names, one after another. ``but``: a name that starts like this tells that it is another layout after all.
    """

    name: str
    anchors: tuple[str, ...]
    rules: Rules
    but: str | None = None

    def prefix_of(self, name: str) -> str | None:
        """What precedes the anchor in ``name``; None if it is no anchor."""
        for anchor in self.anchors:
            if name == anchor or name.endswith("." + anchor):
                return name[: len(name) - len(anchor)]
        return None

    def rename(self, name: str) -> str:
        """The common name of a tensor of this layout."""
        for pattern, replacement in self.rules:
            name = pattern.sub(replacement, name)
        return name


def _rules(*pairs: tuple[str, str]) -> Rules:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


VIT = _rules(
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # blocks in chunks keep their number: blocks.0.11.norm1
    (r"^(register_tokens|storage_tokens)$", "reg_token"),
    (r"^rope_embed\.periods$", "rope.periods"),
    (r"\.gamma_([12])$", r".ls\1.gamma"),
    (r"\.attn\.([qkv])_(proj\.)?(weight|bias)$", r".attn.\1.\3"),
    (r"\.mlp\.fc1_g\.", ".mlp.w1."),
    (r"\.mlp\.fc1_x\.", ".mlp.w2."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
"""timm's ViT and Eva; Meta's DINO, DINOv2 and DINOv3; MAE and MoCo v3."""

CONVNEXT = _rules(
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
    (r"\.grn\.gamma$", ".mlp.grn.weight"),
    (r"\.grn\.beta$", ".mlp.grn.bias"),
    (r"^norm\.", "head.norm."),
)
"""Meta's ConvNeXt, ConvNeXt V2 and DINOv3 ConvNeXt."""

LAYOUTS = (
    Layout("ViT", ("patch_embed.proj.weight",), VIT),
    Layout("Meta's ConvNeXt", ("downsample_layers.0.0.weight",), CONVNEXT),
    Layout("timm's ConvNeXt", ("stem.0.weight",), ()),
    Layout("transformers' ViT", ("embeddings.patch_embeddings.projection.weight",), _rules(*huggingface.VIT)),
    Layout("transformers' DINOv3", ("embeddings.patch_embeddings.weight",), _rules(*huggingface.DINOV3), "encoder."),
    Layout(
        "transformers' DINOv3 ConvNeXt",
        ("model.stages.0.downsample_layers.0.weight", "stages.0.downsample_layers.0.weight"),
        _rules(*huggingface.CONVNEXT),
    ),
)

PREFERRED = ("teacher", "ema", "model_ema", "state_dict_ema", "base_encoder")
"""Parts of a name that mark the network to take where a training checkpoint holds several: the mean of the student, and
of MoCo v3 the encoder that its authors evaluate."""

LAST = ("student", "momentum_encoder")


@dataclass(frozen=True)
class Network:
    """One network in a file: the prefix of its names and its layout."""

    prefix: str
    layout: Layout

    @property
    def rank(self) -> int:
        """0 = to be preferred, 2 = only if there is no other."""
        words = self.prefix.split(".")
        return 0 if any(word in PREFERRED for word in words) else 2 if any(word in LAST for word in words) else 1


def find_network(names: Iterable[str]) -> Network | None:
    """The backbone among the tensors of a file; None if no layout is recognised.

    Raises:
        InputError: several networks that are equally good.
    """
    given = list(names)
    places = [(layout.prefix_of(name), layout) for layout in LAYOUTS for name in given]
    found = [Network(prefix, layout) for prefix, layout in places if prefix is not None]
    found = [network for network in found if not _excluded(network, given)]
    if not found:
        return None
    best = [network for network in found if network.rank == min(other.rank for other in found)]
    if len(best) > 1:
        listed = ", ".join(f"'{network.prefix}…'" for network in best)
        raise InputError(f"it holds several backbones ({listed}). Save the one that you want as a file of its own.")
    return best[0]


def _excluded(network: Network, names: list[str]) -> bool:
    mark = network.layout.but
    return mark is not None and any(name.startswith(network.prefix + mark) for name in names)


IGNORED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^mask_token$|^embeddings\.mask_token$"), "only masked-patch pretraining uses it"),
    (re.compile(r"^(head|head_dist|classifier|fc|lm_head|predictor|pooler|projectors?)\."), "a head"),
    (re.compile(r"^decoder_|^decoder\."), "a decoder"),
    (re.compile(r"^local_cls_norm\."), "only for local crops in DINOv3's pretraining"),
    (re.compile(r"^norms\.3\."), "the same as norm"),
    (re.compile(r"\.bias_mask$"), "applied to the bias"),
    (re.compile(r"\.relative_position_index$|num_batches_tracked$"), "no weight"),
)
"""Names, within a backbone's own prefix, of what a backbone does not need, and why."""


def excuse(name: str) -> str | None:
    """Why a tensor that was not used is of no use to a backbone; None if there is no such reason."""
    return next((reason for pattern, reason in IGNORED if pattern.search(name)), None)
