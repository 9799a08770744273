"""Features of the last blocks: what is in them, by hooks on the blocks themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orthoray.features.blocks import LAST, blocks_spec, count_blocks
from orthoray.features.encoders import checkpoint_spec, pixel_spec
from orthoray.models import create_backbone
from orthoray.models.features import forward_blocks, forward_tokens

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 5, "num_heads": 2}
FAMILIES = {
    "vit": ("vit_tiny_patch16_224", SIZES),
    "dinov2 with registers": ("vit_small_patch14_reg4_dinov2", SIZES),
    "dinov3": ("vit_small_patch16_dinov3", SIZES),
    "without a class token": ("vit_tiny_patch16_224", SIZES | {"class_token": False, "global_pool": "avg"}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_of_the_last_blocks_after_the_final_norm(family):
    name, sizes = FAMILIES[family]
    torch.manual_seed(0)
    network = create_backbone(name, **sizes).eval()
    with torch.no_grad():  # or every norm is the same
        for part in network.parameters():
            part.add_(0.05 * torch.randn_like(part))
    seen = []
    hooks = [block.register_forward_hook(lambda _m, _i, out: seen.append(out)) for block in network.blocks]
    x = torch.randn(3, 1, 32, 32)
    with torch.inference_mode():
        cls, patches = forward_tokens(network, x)
        for hook in hooks:
            hook.remove()
        tokens, mean = forward_blocks(network, x, LAST)
        after = [network.norm(out) for out in seen[-LAST:]]
    prefix = network.num_prefix_tokens
    wanted = torch.stack([out[:, 0] if prefix else out.mean(dim=1) for out in after], dim=1)
    assert len(seen) == 5
    torch.testing.assert_close(tokens, wanted)
    torch.testing.assert_close(mean, after[-1][:, prefix:].mean(dim=1))
    torch.testing.assert_close(tokens[:, -1], cls)
    torch.testing.assert_close(mean, patches.mean(dim=1))


def test_a_row_is_four_class_tokens_and_the_mean_patch_token(tiny_checkpoint, tmp_path):
    spec = checkpoint_spec(tiny_checkpoint(tmp_path / "a", depth=6))
    several = blocks_spec(spec)
    assert several.key("d", None) != spec.key("d", None)
    assert blocks_spec(checkpoint_spec(spec.checkpoint, pooling="cls")) == several  # pooling is part of it
    images = [np.random.default_rng(k).integers(0, 256, (40, 36)).astype(np.uint8) for k in range(3)]
    rows, plain = several.build(1, "cpu").encode(images), spec.build(1, "cpu").encode(images)
    assert rows.shape == (3, (LAST + 1) * 32)
    np.testing.assert_allclose(rows[:, -64:], plain, atol=1e-5)  # the last block's class token, then the mean patch


def test_blocks_are_counted_without_reading_the_weights(tiny_checkpoint, tmp_path):
    assert [count_blocks(tiny_checkpoint(tmp_path / str(depth), depth=depth)) for depth in (2, 4, 7)] == [2, 4, 7]
    assert pixel_spec().layers == "last"
