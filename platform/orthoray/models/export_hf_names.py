"""transformers' names for the tensors of a timm backbone: those before version 5, which it still reads and writes."""

from __future__ import annotations

import re

import torch

Tensors = dict[str, torch.Tensor]

_TOKENS = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^reg_token$", "embeddings.register_tokens"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
)
_ENCODER = (
    *_TOKENS,
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.([qkv])\.", r".attention.attention.\1."),
    (r"attention\.q\.", "attention.query."),
    (r"attention\.k\.", "attention.key."),
    (r"attention\.v\.", "attention.value."),
    (r"^norm\.", "layernorm."),
)
VIT = (
    *_ENCODER,
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
DINOV2 = (
    *_ENCODER,
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.gated1\.", ".mlp.weights_in."),
    (r"\.mlp\.gated2\.", ".mlp.weights_out."),
)
DINOV3 = (
    *_TOKENS,
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^blocks\.", "layer."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.([qkv])\.", r".attention.\1_proj."),
    (r"\.gamma_([12])$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.fc1_g\.", ".mlp.gate_proj."),
    (r"\.mlp\.(fc1_x|fc1)\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
)
CONVNEXT = (
    (r"^stem\.", "stages.0.downsample_layers."),
    (r"\.downsample\.", ".downsample_layers."),
    (r"\.blocks\.", ".layers."),
    (r"\.conv_dw\.", ".depthwise_conv."),
    (r"\.norm\.", ".layer_norm."),
    (r"\.mlp\.fc([12])\.", r".pointwise_conv\1."),
    (r"^head\.layer_norm\.", "layer_norm."),
)


def rename(state: Tensors, rules: tuple[tuple[str, str], ...]) -> Tensors:
    """Query, key and value apart, then ``rules`` one after another on each name."""
    found: Tensors = {}
    for name, tensor in _apart(state).items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    return found


def _apart(state: Tensors) -> Tensors:
    found: Tensors = {}
    for name, tensor in state.items():
        stem, fused, leaf = name.rpartition(".attn.qkv.")
        if fused:
            found |= {f"{stem}.attn.{part}.{leaf}": piece for part, piece in zip("qkv", tensor.chunk(3), strict=True)}
        elif name.endswith((".attn.q_bias", ".attn.v_bias")):
            found[name.replace("_bias", ".bias")] = tensor
        else:
            found[name] = tensor
    return found
