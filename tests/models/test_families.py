"""The backbones that are meant to be trained here: one channel, any crop size, gradients, attention."""

import math

import pytest
import torch
from tests.models.checkpoints import FAMILIES, checkpoint, network

from orthoray.errors import InputError
from orthoray.models import attention_map, create_backbone, forward_tokens, load_checkpoint
from orthoray.models.adapters import apply_adapter
from orthoray.models.backbone import size_options
from orthoray.models.rope import rope_of

NAMES = [
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch14_reg4_dinov2",
    "vit_large_patch14_reg4_dinov2",
    "vit_giant_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_small_patch16_dinov3_qkvb",
    "vit_small_plus_patch16_dinov3",
    "vit_base_patch16_dinov3",
    "vit_large_patch16_dinov3",
    "convnext_tiny",
    "convnext_base",
    "convnext_large",
]


def shallow(name):
    """The named backbone in its true width with one block (of each stage)."""
    torch.manual_seed(0)
    return create_backbone(name, **({"depths": (1, 1, 1, 1)} if name.startswith("convnext") else {"depth": 1}))


class Options:
    kind = "none"


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_large_and_small_crops_and_gradients_to_all_that_learns(name):
    model = apply_adapter(shallow(name).train(), Options())
    stride = 32 if name.startswith("convnext") else model.patch_embed.patch_size[0]
    width = model.num_features
    total = torch.zeros(())
    for side in (224, 98 if stride == 14 else 96):
        token, patches = forward_tokens(model, torch.randn(1, 1, side, side))
        assert token.shape == (1, width)
        assert patches.shape == (1, (side // stride) ** 2, width)
        assert token.isfinite().all()
        total = total + token.square().mean() + (patches * torch.randn(width)).mean()
    total.backward()
    assert {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None} == set()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (128, 64)])
def test_crops_need_be_neither_square_nor_of_the_size_the_model_was_made_for(family, size):
    model, stride = network(family), 32 if family == "convnext" else 8
    with torch.inference_mode():
        one = forward_tokens(model, torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(1)))
        assert one[1].shape[1] == size[0] // stride * (size[1] // stride)
        assert all(part.isfinite().all() for part in one)


@pytest.mark.parametrize(("name", "patches"), [("vit_tiny_patch16_224", 36), ("convnext_atto", 9)])
def test_a_backbone_is_made_for_a_size_whether_it_depends_on_it_or_not(name, patches):
    model = create_backbone(name, **size_options(name, 96)).eval()
    with torch.inference_mode():
        assert forward_tokens(model, torch.zeros(1, 1, 96, 96))[1].shape[1] == patches
    if name.startswith("vit"):
        assert model.pos_embed.shape[1] == 1 + patches


def test_high_resolution_with_rope():
    with torch.inference_mode():
        assert (
            forward_tokens(shallow("vit_small_patch16_dinov3").eval(), torch.randn(1, 1, 512, 512))[1].shape[1] == 1024
        )


def turned(heads, size, prefix, periods):
    """Meta's RoPE written out: (N, d) → turned but for the prefix; angles 2π·coordinate/period, halves rotated."""
    rows, columns = size
    found = heads.clone()
    for place in range(rows * columns):
        at = ((place // columns + 0.5) / rows * 2 - 1, (place % columns + 0.5) / columns * 2 - 1)
        angles = torch.tensor([2 * math.pi * c / p for c in at for p in periods], dtype=torch.float64).repeat(2)
        x = heads[prefix + place]
        half = torch.cat((-x[len(x) // 2 :], x[: len(x) // 2]))
        found[prefix + place] = x * angles.cos() + half * angles.sin()
    return found


@pytest.mark.parametrize("family", ["dinov3", "dinov3 with biases", "dinov3 plus"])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_attention_with_rope_is_what_the_formula_says_at_any_size(family, size):
    model, seen = network(family), []
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(4))
    found = attention_map(model, x, block=1)
    hook = model.blocks[1].attn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model.forward_features(x)
    hook.remove()
    attention, grid, prefix = model.blocks[1].attn, (size[0] // 8, size[1] // 8), model.num_prefix_tokens
    width = model.embed_dim // 2
    periods = [100.0 ** (4 * i / width) for i in range(width // 4)]
    with torch.inference_mode():
        projected = (seen[0][0] @ attention.qkv.weight.T).double()
        if attention.q_bias is not None:
            zero = torch.zeros_like(attention.q_bias)
            projected = projected + torch.cat((attention.q_bias, zero, attention.v_bias)).double()
    for head in range(2):
        query, key = (
            turned(projected[:, part * 2 * width + head * width :][:, :width], grid, prefix, periods) for part in (0, 1)
        )
        weights = torch.softmax(query[0] @ key.T / width**0.5, dim=0)[prefix:].reshape(grid)
        torch.testing.assert_close(found[0, head].double(), weights, rtol=1e-4, atol=1e-6)


def test_attention_without_rope_and_with_separate_projections():
    sizes = {**FAMILIES["vit"][1], "qkv_fused": False}
    torch.manual_seed(0)
    apart = create_backbone("eva02_tiny_patch14_224", **sizes).eval()
    assert attention_map(apart, torch.randn(2, 1, 32, 48)).shape == (2, 2, 4, 6)
    blind = network("dinov3", rope="off")
    found = attention_map(blind, torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(found, found[:, :, :1, :1].expand_as(found))  # a flat image: all patches alike


def test_what_has_no_attention_says_so():
    with pytest.raises(InputError, match="no class token that attends"):
        attention_map(network("convnext"), torch.ones(1, 1, 64, 64))


def test_a_convnext_s_tokens_are_normalised_after_pooling():
    model = network("convnext")
    x = torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        token, patches = forward_tokens(model, x)
        torch.testing.assert_close(token, model(x))  # timm's own pooled features
        maps, norm = model.forward_features(x), model.head.norm
        place = torch.nn.functional.layer_norm(maps[:, :, 1, 2], (32,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(patches[:, 3 + 2], place)


@pytest.mark.parametrize("rope", ["on", "bf16", "off"])
def test_a_checkpoint_keeps_how_positions_are_turned(rope, tmp_path):
    model = checkpoint(tmp_path / "c", "dinov3", rope=rope)
    again, card = load_checkpoint(str(tmp_path / "c"))
    assert card.architecture.rope == rope_of(again) == rope
    x = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(forward_tokens(again, x)[0], forward_tokens(model, x)[0])
        straight = forward_tokens(network("dinov3"), x)[0]
    assert ((straight - forward_tokens(model, x)[0]).abs().max() > 1e-5) == (rope != "on")


def test_rope_can_only_be_changed_where_there_is_one():
    with pytest.raises(InputError, match="needs a DINOv3 backbone"):
        create_backbone("vit_tiny_patch16_224", rope="bf16")
    with pytest.raises(InputError, match="cannot be made with"):
        create_backbone("vit_tiny_patch16_224", rope="off")
