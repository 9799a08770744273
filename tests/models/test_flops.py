import pytest
import torch
from tests.models.checkpoints import network
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from orthoray.models import create_backbone
from orthoray.models.flops import VitShape


@pytest.mark.parametrize(("side", "patch"), [(32, 8), (64, 16)])
def test_formula_agrees_with_counted_operations(side, patch):
    model = create_backbone(
        "vit_tiny_patch16_224", img_size=side, patch_size=patch, embed_dim=64, depth=3, num_heads=2
    ).eval()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.forward_features(torch.rand(1, 1, side, side))
    assert VitShape.of(model).forward_flops(side) == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("family", ["dinov3", "dinov3 plus", "dinov2 g"])
def test_formula_holds_for_registers_rope_and_gated_mlps(family):
    model = network(family)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.forward_features(torch.rand(1, 1, 64, 64))
    assert VitShape.of(model).forward_flops(64) == pytest.approx(counter.get_total_flops(), rel=0.01)
