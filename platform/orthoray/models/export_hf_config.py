"""A timm backbone under transformers' names, with the configuration that makes the same network there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orthoray.errors import InputError
from orthoray.models.export_hf_names import CONVNEXT, DINOV2, DINOV3, VIT, Tensors, rename

if TYPE_CHECKING:
    from orthoray.models.checkpoint import CheckpointCard


@dataclass(frozen=True)
class Copy:
    """``config.json``, tensors by transformers' names, number of tokens before the patches, options of loading."""

    config: dict[str, Any]
    tensors: Tensors
    prefix: int
    options: dict[str, Any] = field(default_factory=dict)


def transformers_copy(backbone: nn.Module, card: CheckpointCard) -> Copy:
    """The same network for transformers.

    Raises:
        InputError: transformers has no such network.
    """
    kind = type(backbone).__name__
    if kind == "ConvNeXt":
        return _convnext(backbone, card)
    if kind == "Eva":
        return _dinov3(backbone, card)
    if kind == "VisionTransformer":
        return _vit(backbone, card)
    raise _refused(backbone, "only ViT, DINOv3 and ConvNeXt are")


def _refused(backbone: nn.Module, why: str) -> InputError:
    return InputError(
        f"transformers has no network like this {type(backbone).__name__}: {why}. Use --format timm or onnx."
    )


def _require(backbone: nn.Module, facts: dict[str, bool]) -> None:
    """Refuse a network one of whose ``facts`` (what is needed → whether it is so) does not hold."""
    wrong = [what for what, holds in facts.items() if not holds]
    if wrong:
        raise _refused(backbone, f"it has {wrong[0]}")


def _sizes(model: Any, card: CheckpointCard) -> dict[str, Any]:
    return {
        "hidden_size": int(model.embed_dim),
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": int(model.blocks[0].attn.num_heads),
        "image_size": int(model.patch_embed.img_size[0]) if model.patch_embed.img_size else card.img_size,
        "patch_size": int(model.patch_embed.patch_size[0]),
        "num_channels": card.architecture.in_chans,
        "layer_norm_eps": float(model.norm.eps),
    }


def _plain(module: Any) -> bool:
    return module is None or isinstance(module, nn.Identity)


def _vit(model: Any, card: CheckpointCard) -> Copy:
    """ViTModel, or with layer scales or registers Dinov2Model and Dinov2WithRegistersModel."""
    block = model.blocks[0]
    registers, gated = int(model.num_reg_tokens), type(block.mlp).__name__ == "GluMlp"
    scaled = not _plain(block.ls1)
    _require(
        model,
        {
            "no class token": model.cls_token is not None,
            "no learned positions": model.pos_embed is not None,
            "a norm before its blocks": _plain(model.norm_pre),
            "norms of query and key": _plain(block.attn.q_norm),
            "query, key and value apart or without bias": getattr(block.attn.qkv, "bias", None) is not None,
            "another kind of MLP": gated or isinstance(getattr(block.mlp, "act", None), nn.GELU),
            "a gated MLP without layer scales": scaled or not gated,
        },
    )
    state = dict(model.state_dict())
    config = _sizes(model, card) | {"hidden_act": "gelu", "qkv_bias": True}
    if not scaled and not registers:
        config |= {"architectures": ["ViTModel"], "model_type": "vit", "intermediate_size": block.mlp.fc1.out_features}
        return Copy(config, rename(state, VIT), 1, {"add_pooling_layer": False})
    width = int(model.embed_dim)
    config |= {"mlp_ratio": _ratio(model, gated), "use_swiglu_ffn": gated}
    if not scaled:
        ones = torch.ones(width)
        state |= {f"blocks.{i}.ls{n}.gamma": ones.clone() for i in range(len(model.blocks)) for n in (1, 2)}
    if state["pos_embed"].shape[1] == model.patch_embed.num_patches:  # timm keeps no position of the class token here
        state["pos_embed"] = torch.cat((torch.zeros_like(state["cls_token"]), state["pos_embed"]), dim=1)
    if gated:
        state = {re.sub(r"\.mlp\.fc(\d)\.", r".mlp.gated\1.", name): tensor for name, tensor in state.items()}
    state["mask_token"] = torch.zeros(1, width)
    config["architectures"], config["model_type"] = ["Dinov2Model"], "dinov2"
    if registers:
        config |= {"architectures": ["Dinov2WithRegistersModel"], "model_type": "dinov2_with_registers"}
        config["num_register_tokens"] = registers
        _require(model, {"positions of its registers": bool(model.no_embed_class)})
    return Copy(config, rename(state, DINOV2), 1 + registers)


def _ratio(model: Any, gated: bool) -> int | float:
    """The ``mlp_ratio`` of transformers; of a gated MLP it makes two thirds, in multiples of 8."""
    width, inner = int(model.embed_dim), int(model.blocks[0].mlp.fc2.in_features)
    if not gated:
        return inner // width if inner % width == 0 else inner / width
    fitting = [ratio for ratio in range(1, 17) if (int(width * ratio * 2 / 3) + 7) // 8 * 8 == inner]
    if not fitting:
        raise _refused(model, f"its gated MLP has {inner} hidden units, which no whole mlp_ratio gives")
    return min(fitting, key=lambda ratio: abs(ratio - 4))


def _dinov3(model: Any, card: CheckpointCard) -> Copy:
    block, rope = model.blocks[0], model.rope
    attention, gated = block.attn, hasattr(block.mlp, "fc1_g")
    _require(
        model,
        {
            "no class token": model.cls_token is not None,
            "no RoPE of DINOv3's kind (rope: off)": hasattr(rope, "periods") and bool(attention.rotate_half),
            "learned positions": model.pos_embed is None,
            "norms within its attention": _plain(attention.q_norm) and _plain(getattr(attention, "norm", None)),
            "norms within its MLP": _plain(getattr(block.mlp, "norm", None)),
            "a norm before its blocks": _plain(model.norm_pre),
            "no layer scales": getattr(block, "gamma_1", None) is not None,
            "query, key and value apart": getattr(attention, "qkv", None) is not None,
            "RoPE that is normalised otherwise": rope is not None and rope.normalize_coords == "separate",
        },
    )
    state = dict(model.state_dict())
    biased, width = attention.q_bias is not None, int(model.embed_dim)
    state["mask_token"] = torch.zeros(1, 1, width)
    if model.reg_token is None:
        state["reg_token"] = torch.zeros(1, 0, width)
    config = _sizes(model, card) | {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        "hidden_act": "silu" if gated else "gelu",
        "intermediate_size": int(block.mlp.fc2.in_features),
        "num_register_tokens": state["reg_token"].shape[1],
        "use_gated_mlp": gated,
        "query_bias": biased,
        "key_bias": False,
        "value_bias": biased,
        "proj_bias": True,
        "mlp_bias": True,
        "rope_theta": float(rope.temperature),
        "pos_embed_shift": rope.shift_coords,
        "pos_embed_jitter": rope.jitter_coords,
        "pos_embed_rescale": rope.rescale_coords,
    }
    return Copy(config, rename(state, DINOV3), 1 + state["reg_token"].shape[1])


def _convnext(model: Any, card: CheckpointCard) -> Copy:
    blocks = [block for stage in model.stages for block in stage.blocks]
    _require(
        model,
        {
            "its norm before the pooling": _plain(model.norm_pre),
            "response norms (ConvNeXt V2)": _plain(getattr(blocks[0].mlp, "grn", None)),
            "no layer scales": all(block.gamma is not None for block in blocks),
            "another stem": tuple(model.stem[0].kernel_size) == (4, 4),
            "other kernels": all(tuple(block.conv_dw.kernel_size) == (7, 7) for block in blocks),
        },
    )
    state = rename(dict(model.state_dict()), CONVNEXT)
    flat = {
        name: tensor[:, :, 0, 0] if ".pointwise_" in name and tensor.ndim == 4 else tensor
        for name, tensor in state.items()
    }
    config = {
        "architectures": ["DINOv3ConvNextModel"],
        "model_type": "dinov3_convnext",
        "num_channels": card.architecture.in_chans,
        "hidden_sizes": [int(stage.blocks[0].conv_dw.in_channels) for stage in model.stages],
        "depths": [len(stage.blocks) for stage in model.stages],
        "hidden_act": "gelu",
        "layer_norm_eps": float(model.head.norm.eps),
        "image_size": card.img_size,
    }
    return Copy(config, flat, 1)
