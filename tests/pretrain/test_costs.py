"""FLOPs of a step: the published table to all its digits, and torch's own count, operation by operation."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from orthoray.models.flops import VitShape
from orthoray.pretrain.config import HeadConfig
from orthoray.pretrain.costs import HeadShape, StepShape, counted_flops, forward_flops, masked_patches, meta_backbone
from orthoray.pretrain.head import DinoHead

SIZES = {"S": (12, 384), "B": (12, 768), "L": (24, 1024)}

TABLE = {  # GFLOP: F of a global crop, F of a local one, teacher, student, heads, total, DINO alone, drop path 0.3
    ("S", 16, 0, 224, 96): (9.20, 1.62, 18.4, 94.0, 11.9, 124.3, 113.8, 96.1),
    ("B", 16, 0, 224, 96): (35.13, 6.38, 70.3, 363.8, 12.3, 446.4, 435.6, 337.3),
    ("L", 16, 0, 224, 96): (123.11, 22.54, 246.2, 1279.6, 12.6, 1538.4, 1527.3, 1154.5),
    ("S", 16, 4, 224, 96): (9.40, 1.79, 18.8, 99.4, 11.9, 130.1, 119.6, 100.3),
    ("B", 16, 4, 224, 96): (35.86, 7.07, 71.7, 384.8, 12.3, 468.9, 458.0, 353.4),
    ("L", 16, 4, 224, 96): (125.68, 24.99, 251.4, 1353.7, 12.6, 1617.7, 1606.6, 1211.6),
    ("S", 14, 0, 224, 98): (12.25, 2.19, 24.5, 126.1, 15.1, 165.7, 152.0, 127.9),
    ("B", 14, 0, 224, 98): (46.32, 8.63, 92.6, 485.1, 15.6, 593.3, 579.2, 447.8),
    ("L", 14, 0, 224, 98): (162.02, 30.50, 324.0, 1704.2, 16.0, 2044.3, 2029.8, 1533.0),
    ("L", 16, 4, 256, 112): (164.74, 32.98, 329.5, 1779.9, 16.0, 2125.4, 2110.9, 1591.4),
    ("L", 16, 4, 512, 112): (727.19, 32.98, 1454.4, 5154.7, 59.5, 6668.5, 6610.5, 5122.1),
}
"""Two global and eight local crops in three channels, heads 2048-256-65536.

The source prints 12.4 for the heads of B/16, where its own total leaves 12.3.
"""


def vit(size, patch, registers):
    depth, width = SIZES[size]
    return VitShape(depth, width, patch, 1 + registers, 4 * width, in_chans=3)


def step_of(size, patch, registers, side, local_side, dropped=0.0):
    shape = vit(size, patch, registers)
    head = HeadShape(shape.width, 2048, 256, 65536)
    flops = shape.forward_flops(side), shape.forward_flops(local_side)
    return StepShape(*flops, 2, 8, head, head, masked_patches(side, patch, 2), dropped)


@pytest.mark.parametrize("key", TABLE, ids=str)
def test_the_published_table_is_met_to_all_its_digits(key):
    step = step_of(*key)
    flops = step.flops()
    found = [step.global_flops, step.local_flops, flops.teacher, flops.student, flops.heads, flops.nominal]
    found += [step.without_patches().flops().nominal, step_of(*key, dropped=0.3).flops().executed]
    digits = [2, 2, *[1] * 6]
    assert [round(value / 1e9, places) for value, places in zip(found, digits, strict=True)] == list(TABLE[key])


NAMES = {
    ("S", 16, 0): "vit_small_patch16_224",
    ("B", 16, 0): "vit_base_patch16_224",
    ("L", 16, 0): "vit_large_patch16_224",
    ("S", 16, 4): "vit_small_patch16_dinov3",
    ("B", 16, 4): "vit_base_patch16_dinov3",
    ("L", 16, 4): "vit_large_patch16_dinov3",
    ("S", 14, 0): "vit_small_patch14_dinov2",
    ("B", 14, 0): "vit_base_patch14_dinov2",
    ("L", 14, 0): "vit_large_patch14_dinov2",
    ("S", 14, 4): "vit_small_patch14_reg4_dinov2",
    ("B", 14, 4): "vit_base_patch14_reg4_dinov2",
    ("L", 14, 4): "vit_large_patch14_reg4_dinov2",
}


@pytest.mark.parametrize("key", NAMES, ids=str)
def test_the_formula_is_torch_s_count_to_all_digits(key):
    patch = key[1]
    for side in (6 * patch, 7 * patch, 14 * patch, 16 * patch, 32 * patch):
        backbone = meta_backbone(NAMES[key], in_chans=3, img_size=side)
        assert VitShape.of(backbone).forward_flops(side) == vit(*key).forward_flops(side)
        assert forward_flops(backbone, side, in_chans=3) == (vit(*key).forward_flops(side), True)


def test_a_gated_mlp_is_counted_rightly_whether_or_not_the_formula_knows_it():
    """An eighth of ViT-g/14: SwiGLU of 4,096 hidden units, of whose first layer there are two."""
    backbone = meta_backbone("vit_giant_patch14_reg4_dinov2", img_size=112, depth=5)
    tokens, width, hidden = 64 + 5, 1536, 4096
    block = 8 * tokens * width**2 + 4 * tokens**2 * width + 2 * tokens * width * 3 * hidden
    assert forward_flops(backbone, 112)[0] == 5 * block + 2 * 64 * 14 * 14 * width


def test_what_the_formula_does_not_describe_is_counted():
    counted, by_formula = forward_flops(meta_backbone("convnext_atto"), 112)
    assert counted > 1e7
    assert not by_formula


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_a_head_costs_what_torch_counts_and_has_its_parameters(layers):
    config = HeadConfig(prototypes=96, hidden_dim=40, bottleneck_dim=16, layers=layers)
    head, shape = DinoHead(24, config), HeadShape(24, 40, 16, 96, layers)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head(torch.rand(5, 24))
    assert counter.get_total_flops() == 5 * shape.forward_flops() == 5 * head.flops()
    assert shape.parameters() == sum(parameter.numel() for parameter in head.parameters())


def test_a_real_step_costs_what_is_computed(config_of):
    """Forward passes of student and teacher counted as they happen; backward passes twice the student's."""
    from tests.pretrain.two_workers import BATCH, crops, learner_for, values
    from torch.nn.attention import SDPBackend, sdpa_kernel

    learner = learner_for(config_of())
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        learner.step(*crops(0), values())
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    backbone = meta_backbone("vit_tiny_patch16_224", **sizes)
    flops = [counted_flops(backbone, side) for side in (32, 16)]
    step = StepShape(*flops, 2, 2, HeadShape(32, 32, 16, 64))
    embeddings = 2 * 64 * 32 * (2 * 16 + 2 * 4)  # no gradient of the pixels is computed
    assert counter.get_total_flops() == BATCH * (step.flops().nominal - embeddings)


def test_masked_patches_are_those_of_the_reference():
    assert masked_patches(224, 16, 2) == pytest.approx(2 * 0.5 * 0.3 * 196)
    assert masked_patches(224, 14, 2, probability=1.0, ratio=0.5) == pytest.approx(256)


def test_recomputation_and_a_gram_teacher_are_counted():
    step = StepShape(10.0, 1.0, 2, 8, HeadShape(4, 4, 4, 4), recomputed=0.5, dropped=0.25, gram=0.5)
    flops = step.flops()
    assert (flops.teacher, flops.student, flops.skipped) == (30.0, 84.0, 21.0)
    assert flops.executed == flops.nominal - 21.0
    assert flops.recomputed == 28.0 * 0.75 * 0.5
    assert flops.hardware == flops.executed + flops.recomputed
