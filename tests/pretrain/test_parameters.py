"""Groups of parameters: golden layers, factors and decay for three architectures; what is held stays."""

import copy

import pytest
import torch
from torch import nn

from orthoray.models import create_backbone, import_timm
from orthoray.models.adapter_settings import AdapterConfig
from orthoray.models.adapters import apply_adapter
from orthoray.pretrain.clipping import clip_gradients
from orthoray.pretrain.parameters import hold, parameter_groups, parts_of, set_rates

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
FAMILIES = {
    "vit_small_patch16_224": VIT,
    "vit_small_patch16_dinov3": VIT,
    "convnext_atto": {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 32)},
}

BLOCK = {
    "norm1.weight": False,
    "norm1.bias": False,
    "attn.qkv.weight": True,
    "attn.qkv.bias": False,
    "attn.proj.weight": True,
    "attn.proj.bias": False,
    "norm2.weight": False,
    "norm2.bias": False,
    "mlp.fc1.weight": True,
    "mlp.fc1.bias": False,
    "mlp.fc2.weight": True,
    "mlp.fc2.bias": False,
}
"""Tensors of a ViT's block, and whether they decay."""

CONV_BLOCK = {
    "gamma": False,
    "conv_dw.weight": True,
    "conv_dw.bias": False,
    "norm.weight": False,
    "norm.bias": False,
    "mlp.fc1.weight": True,
    "mlp.fc1.bias": False,
    "mlp.fc2.weight": True,
    "mlp.fc2.bias": False,
}


def golden(family):
    """Tensor → (power of the layer decay, is it the patch embedding, decays), written out by hand."""
    if family == "convnext_atto":
        stem = {"stem.0.weight": True, "stem.0.bias": False, "stem.1.weight": False, "stem.1.bias": False}
        found = {name: (6, True, decays) for name, decays in stem.items()}
        powers = {"0.blocks.0": 5, "1.blocks.0": 4, "1.blocks.1": 3, "2.blocks.0": 2, "3.blocks.0": 1}
        for place, power in powers.items():
            found |= {f"stages.{place}.{name}": (power, False, decays) for name, decays in CONV_BLOCK.items()}
        down = {"0.weight": False, "0.bias": False, "1.weight": True, "1.bias": False}
        for stage, power in ((1, 4), (2, 2), (3, 1)):
            found |= {f"stages.{stage}.downsample.{name}": (power, False, decays) for name, decays in down.items()}
        return found | {f"head.norm.{name}": (0, False, False) for name in ("weight", "bias")}  # after the pooling
    found = {"cls_token": (3, False, False), "norm.weight": (0, False, False), "norm.bias": (0, False, False)}
    found |= {"patch_embed.proj.weight": (3, True, True), "patch_embed.proj.bias": (3, True, False)}
    block = dict(BLOCK)
    if family == "vit_small_patch16_dinov3":
        found["reg_token"] = (3, False, False)
        del block["attn.qkv.bias"]
        block |= {"gamma_1": False, "gamma_2": False}
    else:
        found["pos_embed"] = (3, False, False)
    for index, power in ((0, 2), (1, 1)):
        found |= {f"blocks.{index}.{name}": (power, False, decays) for name, decays in block.items()}
    return found


class Head(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, 4))
        self.prototypes = nn.Parameter(torch.randn(16, 4))

    def forward(self, x):
        return self.mlp(x) @ self.prototypes.t()


class Network(nn.Module):
    def __init__(self, backbone, heads):
        super().__init__()
        self.backbone, self.heads = backbone, nn.ModuleDict(heads)
        self.mask_token = nn.Parameter(torch.zeros(1, 32))

    def forward(self, x):
        tokens = self.backbone(x) + self.mask_token
        return {name: head(tokens) for name, head in self.heads.items()}


def network(family="vit_small_patch16_224", **adapter):
    torch.manual_seed(0)
    backbone = apply_adapter(create_backbone(family, **FAMILIES[family]), AdapterConfig(**adapter))
    return Network(backbone, {"dino": Head(), "ibot": Head()})


def by_name(groups):
    return {name: group for group in groups for name in group["names"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_factors_and_decay_are_the_golden_ones(family):
    groups = by_name(parameter_groups(network(family), layer_decay=0.9, patch_embed_factor=0.2))
    expected = golden(family)
    inside = {name.removeprefix("backbone."): group for name, group in groups.items() if group["part"] == "backbone"}
    assert inside.keys() == expected.keys()
    for name, (power, patch, decays) in expected.items():
        assert inside[name]["lr_scale"] == pytest.approx(0.9**power * (0.2 if patch else 1.0)), name
        assert inside[name]["decays"] is decays, name
        assert inside[name]["prototypes"] is False


@pytest.mark.parametrize("family", FAMILIES)
def test_the_factors_are_timm_s_one_layer_down(family):
    """timm counts no heads after the backbone when it has no classifier, so all its factors are one power higher."""
    import_timm()
    from timm.optim import param_groups_layer_decay

    made = network(family)
    ours = by_name(parameter_groups(made, layer_decay=0.8))
    names = {id(parameter): f"backbone.{name}" for name, parameter in made.backbone.named_parameters()}
    compared = 0
    for group in param_groups_layer_decay(made.backbone, layer_decay=0.8):
        for name in (names[id(parameter)] for parameter in group["params"]):
            if "norm." in name and not name.startswith(("backbone.blocks", "backbone.stages")):
                continue  # the last norm, which we count to what follows the blocks
            if family == "convnext_atto":  # there timm counts the unused norm of the classifier as a layer
                assert ours[name]["lr_scale"] == pytest.approx(group["lr_scale"]), name
            else:
                assert ours[name]["lr_scale"] == pytest.approx(0.8 * group["lr_scale"]), name
            compared += 1
    assert compared > 20


def test_heads_and_the_network_s_own_tensors_learn_at_the_full_rate():
    groups = by_name(parameter_groups(network(), layer_decay=0.5, patch_embed_factor=0.2))
    outside = {name: group for name, group in groups.items() if group["part"] != "backbone"}
    assert {group["lr_scale"] for group in outside.values()} == {1.0}
    assert {name for name, group in outside.items() if group["prototypes"]} == {
        "heads.dino.prototypes",
        "heads.ibot.prototypes",
    }
    assert outside["heads.dino.prototypes"]["decays"]
    assert outside["heads.ibot.mlp.0.weight"]["part"] == "heads.ibot"
    assert (outside["mask_token"]["part"], outside["mask_token"]["decays"]) == ("network", False)


@pytest.mark.parametrize("adapter", [{}, {"kind": "lora", "unfreeze": 1}, {"kind": "apla", "fraction": 0.5}])
def test_all_that_learns_is_in_one_group_and_nothing_else(adapter):
    made = network(**adapter)
    groups = parameter_groups(made, layer_decay=0.9)
    listed = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in listed} == {id(p) for p in made.parameters() if p.requires_grad}
    assert len({id(p) for p in listed}) == len(listed)
    named = dict(made.named_parameters())
    assert all(named[n] is p for group in groups for n, p in zip(group["names"], group["params"], strict=True))


def test_groups_that_are_treated_alike_are_one():
    flat = parameter_groups(network())
    assert len(flat) == 2 + 2 * 3 + 1  # backbone: decays or not; each head: decays, not, prototypes; mask token


def trained(made, **held):
    optimiser = torch.optim.AdamW(parameter_groups(made, 0.9, 0.2), lr=0.0, fused=True)
    before = copy.deepcopy(made.state_dict())
    sum(scores.square().mean() for scores in made(torch.rand(2, 1, 32, 32)).values()).backward()
    hold(optimiser, **held)
    set_rates(optimiser, 1e-2, 0.4)
    optimiser.step()
    after = made.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    return optimiser, moved


def test_what_is_held_stays_and_gets_no_moments():
    made = network()
    optimiser, moved = trained(made, backbone=True, prototypes=True)
    names = {name for name, _ in made.named_parameters()}
    held = {name for name in names if name.startswith("backbone.") or name.endswith("prototypes")}
    assert moved == names - held
    with_moments = {
        name
        for name, group in by_name(optimiser.param_groups).items()
        if dict(made.named_parameters())[name] in optimiser.state
    }
    assert with_moments == names - held


def test_rates_are_scaled_group_by_group_and_the_backbone_ramps():
    made = network()
    optimiser, moved = trained(made, backbone=False, prototypes=False)
    assert moved >= {name for name, _ in made.named_parameters() if name.endswith("weight")}
    set_rates(optimiser, 1e-3, 0.04, backbone_scale=0.25)
    groups = by_name(optimiser.param_groups)
    assert groups["backbone.patch_embed.proj.weight"]["lr"] == pytest.approx(1e-3 * 0.25 * 0.2 * 0.9**3)
    assert groups["backbone.norm.weight"]["lr"] == pytest.approx(1e-3 * 0.25)
    assert groups["heads.dino.mlp.0.weight"]["lr"] == pytest.approx(1e-3)
    assert groups["backbone.norm.weight"]["weight_decay"] == 0.0
    assert groups["backbone.blocks.0.mlp.fc1.weight"]["weight_decay"] == 0.04
    assert all(group["fused"] for group in optimiser.param_groups)


def with_gradients():
    made = network()
    sum(scores.square().mean() * 50 for scores in made(torch.rand(2, 1, 32, 32)).values()).backward()
    return made


def test_each_part_is_clipped_by_its_own_norm():
    made, expected = with_gradients(), with_gradients()
    parts = {**parts_of(expected), "network": None}
    norms = clip_gradients(made, 0.3)
    assert norms.keys() == parts.keys() == {"backbone", "heads.dino", "heads.ibot", "network"}
    for name, part in parts.items():
        mine = [expected.mask_token] if part is None else list(part.parameters())
        norm = nn.utils.clip_grad_norm_(mine, 0.3)
        assert float(norms[name]) == pytest.approx(float(norm), rel=1e-5)
    named = dict(expected.named_parameters())
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name].grad)


def test_small_gradients_stay_and_bad_ones_spoil_their_own_part_alone():
    made, same = with_gradients(), with_gradients()
    clip_gradients(made, 1e6)
    named = dict(same.named_parameters())
    assert all(torch.equal(parameter.grad, named[name].grad) for name, parameter in made.named_parameters())
    made.heads["dino"].mlp[0].bias.grad[0] = float("nan")
    norms = clip_gradients(made, 0.3)
    bad = {name for name, norm in norms.items() if not torch.isfinite(norm)}
    assert bad == {"heads.dino"}
    spoilt = {name for name, p in made.named_parameters() if not torch.isfinite(p.grad).all()}
    assert spoilt == {name for name in named if name.startswith("heads.dino.")}


def test_parts_without_gradients_are_left_out():
    made = with_gradients()
    for parameter in made.backbone.parameters():
        parameter.grad = None
    assert clip_gradients(made, 1.0).keys() == {"heads.dino", "heads.ibot", "network"}
    made.zero_grad(set_to_none=True)
    assert clip_gradients(made, 1.0) == {}
