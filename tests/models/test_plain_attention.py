"""Which attention trains on a processor, and that both are the same function."""

import copy

import pytest
import torch

from orthoray.models.backbone import create_backbone
from orthoray.models.features import forward_tokens
from orthoray.models.plain_attention import BYTES_PER_PAIR, MOST_BYTES, prefer_plain_attention
from orthoray.models.precision import Precision

CPU = torch.device("cpu")
BF16, FP32 = Precision("bf16", "cpu", "test"), Precision("fp32", "cpu", "test")
BACKBONES = {
    "vit_tiny_patch16_224": {"depth": 2, "img_size": 64},
    "vit_small_patch16_dinov3": {"depth": 2},
    "vit_small_patch14_reg4_dinov2": {"depth": 2, "img_size": 56, "patch_size": 14},
}


def fused(backbone):
    return [module.fused_attn for module in backbone.modules() if hasattr(module, "fused_attn")]


@pytest.mark.parametrize("name", BACKBONES)
def test_plain_products_compute_the_same_tokens_and_gradients(name):
    torch.manual_seed(0)
    backbone = create_backbone(name, in_chans=1, **BACKBONES[name]).double()  # so that what differs is not rounding
    other = copy.deepcopy(backbone)
    assert prefer_plain_attention(other, CPU, BF16, images=2, tokens=20)
    assert fused(backbone) == [True, True]
    assert fused(other) == [False, False]
    side = 56 if "patch14" in name else 64
    images = torch.randn(2, 1, side, side, dtype=torch.float64)
    found = []
    for network in (backbone, other):
        token, patches = forward_tokens(network, images)
        (token.square().sum() + patches.sum()).backward()
        found.append([token, patches, *(parameter.grad for parameter in network.parameters())])
    for one, two in zip(*found, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(two, one, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("device", "precision", "images"),
    [
        ("cpu", FP32, 2),
        ("cuda", Precision("bf16", "cuda", "test"), 2),
        ("cpu", BF16, MOST_BYTES // (BYTES_PER_PAIR * 2 * 3 * 197**2) + 1),  # two blocks of three heads
    ],
)
def test_the_fused_kernel_stays_where_it_is_better(device, precision, images):
    backbone = create_backbone("vit_tiny_patch16_224", in_chans=1, depth=2)
    assert not prefer_plain_attention(backbone, torch.device(device), precision, images, tokens=197)
    assert fused(backbone) == [True, True]


def test_a_network_without_attention_stays_as_it_is():
    backbone = create_backbone("convnext_atto", in_chans=1)
    assert not prefer_plain_attention(backbone, CPU, BF16, images=2, tokens=49)
