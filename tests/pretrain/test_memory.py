"""The estimate of memory against what autograd really keeps, and its arithmetic."""

import pytest
import torch
from tests.pretrain.two_workers import learner_for

from orthoray.models import create_backbone
from orthoray.models.features import forward_tokens
from orthoray.pretrain.costs import HeadShape
from orthoray.pretrain.memory import CHUNKED_SCORES, GIB, USABLE, BlockShape, Crops, Memory, step_memory

CROPS = Crops(2, 224, 8, 96)
HEAD = HeadShape(384, 2048, 256, 65536)


def kept(backbone, images, low):
    """Bytes that autograd keeps of a forward pass, weights and their copies in bf16 left out."""
    given = {tensor.untyped_storage()._cdata for tensor in (*backbone.parameters(), *backbone.buffers(), images)}
    weights = {tuple(parameter.shape) for parameter in backbone.parameters()}
    weights |= {shape[::-1] for shape in weights}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in given and tuple(tensor.shape) not in weights:
            seen[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.autocast("cpu", torch.bfloat16, enabled=low), hooks:
        forward_tokens(backbone, images)[0].sum()
    return sum(storage.nbytes() for storage in seen.values())


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_small_plus_patch16_dinov3",
    ],
)
def test_a_block_keeps_what_the_formula_says(name, precision):
    """The difference between three blocks and one, so that what lies around the blocks drops out."""
    side = 98 if "patch14" in name else 96
    images = torch.rand(4, 1, side, side)
    found = []
    for depth in (1, 3):
        backbone = create_backbone(name, img_size=side, depth=depth).train()
        found.append(kept(backbone, images, precision == "bf16"))
    shape = BlockShape.of(backbone)
    tokens = 4 * shape.tokens(side)
    assert found[1] - found[0] == pytest.approx(2 * tokens * shape.kept_bytes(precision), rel=0.04)


def test_the_sizes_are_read_from_a_backbone():
    dinov3 = BlockShape.of(create_backbone("vit_small_patch16_dinov3", img_size=96, depth=2))
    assert dinov3 == BlockShape(2, 384, 1536, 16, 5, layer_scale=True, rotary=True)
    plain = BlockShape.of(create_backbone("vit_tiny_patch16_224", img_size=96, depth=2))
    assert plain == BlockShape(2, 192, 768, 16, 1)
    assert (plain.tokens(224), plain.tokens(96)) == (197, 37)
    assert BlockShape.of(create_backbone("vit_small_plus_patch16_dinov3", img_size=96, depth=2)).gated
    assert BlockShape.of(create_backbone("vit_giant_patch14_reg4_dinov2", img_size=98, depth=1, embed_dim=96)).gated
    assert BlockShape.of(create_backbone("convnext_atto")) is None


def test_a_plain_block_in_bf16_keeps_36_bytes_of_a_token_and_feature():
    assert BlockShape(1, 100, 400, 16, 1).kept_bytes("bf16") == 3600
    assert BlockShape(1, 100, 400, 16, 1).kept_bytes("fp32") == 6400


def test_states_are_those_of_the_learner(config_of):
    learner = learner_for(config_of())
    learner.step(torch.randn(16, 1, 32, 32), torch.randn(16, 1, 16, 16), _values())
    backbone = sum(parameter.numel() for parameter in learner.network.backbone.parameters())
    everything = sum(parameter.numel() for parameter in learner.network.parameters())
    moments = [state[name] for state in learner.optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
    shape = BlockShape.of(learner.network.backbone)
    memory = step_memory(shape, Crops(2, 32, 2, 16), HeadShape(32, 32, 16, 64), backbone, precision="fp32")
    assert memory.parameters == memory.gradients == memory.teacher == 4 * everything
    assert memory.moments == sum(moment.nbytes for moment in moments)
    assert memory.copies == memory.scores == 0


def _values():
    from tests.pretrain.two_workers import values

    return values()


def large(**changes):
    shape = BlockShape(24, 1024, 4096, 16, 5, layer_scale=True, rotary=True)
    return step_memory(shape, CROPS, HeadShape(1024, 2048, 256, 65536), 303_000_000, **changes)


def test_what_saves_memory_is_seen_to():
    plain = large()
    assert large(recomputed=1.0).per_image < 0.35 * plain.per_image
    assert large(chunked=True).per_image < plain.per_image
    assert large(chunked=True).scores == CHUNKED_SCORES
    assert large(sharded_over=4).moments == plain.moments / 4
    assert large(trained=10_000_000).moments == 8e7
    assert large(precision="fp32").per_image > 1.7 * plain.per_image
    own = large(patch_head=HEAD, shared_head=False)
    assert own.parameters - plain.parameters == 4 * HEAD.parameters()
    assert large(patch_head=HEAD).parameters == plain.parameters


def test_the_largest_batch_is_the_last_that_fits():
    memory = Memory(1e9, 1e9, 2e9, 1e9, 5e8, 0.0, 3e7)
    most = memory.largest_batch(24.0)
    assert memory.needed(most) <= 24.0 * GIB * USABLE < memory.needed(most + 1)
    assert memory.largest_batch(1.0) == 0
