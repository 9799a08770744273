"""A network that is blind to positions, or computes something else than its source, is found out."""

import pytest
import torch
from tests.models.checkpoints import FAMILIES, network
from torch import nn

from orthoray.errors import InputError
from orthoray.models import create_backbone, forward_tokens
from orthoray.models.checks import (
    deviation,
    position_sensitivity,
    require_position,
    same_features,
    shuffled_patch_check,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_shuffled_patches_change_the_class_token(family):
    assert shuffled_patch_check(network(family)) > 2e-3


@pytest.mark.parametrize("family", ["dinov3", "dinov3 with biases", "dinov3 plus"])
def test_a_network_whose_rope_is_off_is_blind_to_positions(family):
    blind = network(family, rope="off")
    assert shuffled_patch_check(blind) < 1e-5
    with pytest.raises(InputError, match=r"w\.pth: the class token does not notice"):
        require_position(blind, "w.pth")
    assert require_position(network(family)) > 2e-3


def test_a_vit_that_lost_its_positions_is_blind():
    model = network("vit")
    with torch.no_grad():
        model.pos_embed.zero_()
    with pytest.raises(InputError, match="position embedding is lost"):
        require_position(model)


def test_the_check_shuffles_whole_patches_and_leaves_the_network_as_it_was():
    """A mean of patch contents must not change; a mode and gradients must not either."""

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 1, 8, 8))
            self.patch_embed = nn.Module()
            self.patch_embed.patch_size, self.patch_embed.img_size = (8, 8), (32, 32)
            self.num_prefix_tokens = 1

        def forward_features(self, x):
            patches = nn.functional.conv2d(x, self.kernel, stride=8).square().flatten(2).transpose(1, 2)
            return torch.cat((patches.mean(dim=1, keepdim=True), patches), dim=1)

    mean = Mean().train()
    assert shuffled_patch_check(mean) < 1e-6
    assert mean.training
    assert mean.kernel.grad is None


@pytest.mark.parametrize("family", ["vit", "dinov3"])
def test_features_are_compared_with_the_source_s(family):
    model, colour = network(family), network(family, in_chans=3)
    with torch.no_grad():
        model.load_state_dict(
            colour.state_dict() | {"patch_embed.proj.weight": colour.patch_embed.proj.weight.sum(1, True)}
        )
    x = torch.randn(2, 1, 32, 32)
    assert same_features(model, lambda images: forward_tokens(colour, images.expand(-1, 3, -1, -1)), x) <= 1e-4
    assert same_features(model, lambda images: forward_tokens(colour, images.expand(-1, 3, -1, -1))[0], x) <= 1e-4
    with torch.no_grad():
        colour.blocks[1].mlp.fc2.weight[3, 3] += 0.05
    with pytest.raises(InputError, match=r"differs from the source network's by .* 1e-04 are allowed"):
        same_features(model, lambda images: forward_tokens(colour, images.expand(-1, 3, -1, -1)), x)


def test_a_source_with_other_tokens_is_another_network():
    model, x = network("dinov3"), torch.randn(1, 1, 32, 32)
    with pytest.raises(InputError, match="patch tokens differs"):
        same_features(model, lambda images: (forward_tokens(model, images)[0], torch.zeros(1, 3, 32)), x)


def test_deviation_is_in_multiples_of_the_size():
    wanted = torch.tensor([3.0, 4.0]) * 7
    assert deviation(wanted + torch.tensor([0.0, 0.5]), wanted) == pytest.approx(0.5 / (7 * 12.5**0.5))
    assert deviation(torch.full((2,), float("nan")), wanted) != deviation(wanted, wanted)


def test_a_network_from_scratch_with_tiny_layer_scales_is_as_good_as_blind():
    torch.manual_seed(0)
    name, sizes = FAMILIES["dinov3"]
    assert shuffled_patch_check(create_backbone(name, **sizes).eval()) < 1e-3


def backbone_of(name="vit_tiny_patch16_224", side=64, **kwargs):
    torch.manual_seed(0)
    return create_backbone(name, img_size=side, **kwargs).eval()


def test_a_backbone_without_positions_is_blind_and_no_other():
    images = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    backbone, draw = backbone_of(depth=3), torch.Generator().manual_seed(2)
    assert 1e-3 < float(position_sensitivity(backbone, images, 16, draw)) < 1.0
    nn.init.zeros_(backbone.pos_embed)
    assert float(position_sensitivity(backbone, images, 16, draw)) < 1e-5


def test_a_shuffled_patch_holds_the_same_pixels():
    """An embedding of means, position by position, sees every tile once and in another place."""

    class Tiles(nn.Module):
        num_prefix_tokens = 1

        def forward_features(self, x):
            means = nn.functional.avg_pool2d(x, (8, 8)).flatten(1)
            self.seen = means
            return torch.stack([means, means], dim=1)

    images = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    model = Tiles()
    before = nn.functional.avg_pool2d(images, 8).flatten(1)
    position_sensitivity(model, images, 8, torch.Generator().manual_seed(0))
    assert not torch.equal(model.seen, before)
    torch.testing.assert_close(model.seen.sort(dim=1).values, before.sort(dim=1).values)
