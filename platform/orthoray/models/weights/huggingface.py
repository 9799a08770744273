"""How transformers names the tensors of ViT, DINOv2 (with registers), DINOv3 and DINOv3 ConvNeXt, against timm.

transformers 5 renamed some of them and reads both; both are read here, and the former names are written.
"""

from __future__ import annotations

_BLOCKS = (r"^(encoder\.layer|model\.layer|layers|layer)\.(\d+)\.", r"blocks.\2.")
_HEADS = (r"\.attention\.(attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.", r".attn.\2.")
_PART = tuple(
    (rf"\.attn\.({long}|{short}_proj)\.", f".attn.{short}.")
    for short, long in zip("qkv", ("query", "key", "value"), strict=True)
)
_SHARED = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    _BLOCKS,
    _HEADS,
    *_PART,
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
)

VIT = (
    *_SHARED,
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.(weights_out|down_proj)\.", ".mlp.fc2."),
    (r"\.mlp\.gate_proj\.", ".mlp.w1."),
    (r"\.mlp\.up_proj\.", ".mlp.w2."),
)
"""ViTModel, Dinov2Model and Dinov2WithRegistersModel, whose gated MLP alone has a gate and an up projection."""

DINOV3 = (
    *_SHARED,
    (r"\.mlp\.gate_proj\.", ".mlp.w1."),
    (r"\.mlp\.up_proj\.", ".mlp.up."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
"""DINOv3ViTModel; ``up`` is the first layer of a plain MLP and the value of a gated one."""

CONVNEXT = (
    (r"^model\.", ""),
    (r"^stages\.0\.downsample_layers\.", "stem."),
    (r"^stages\.(\d+)\.downsample_layers\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.layers\.", r"stages.\1.blocks."),
    (r"\.depthwise_conv\.", ".conv_dw."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.pointwise_conv([12])\.", r".mlp.fc\1."),
    (r"^layer_norm\.", "head.norm."),
)
"""DINOv3ConvNextModel."""
