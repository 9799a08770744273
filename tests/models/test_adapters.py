"""Adapters: nothing changes at the start, only what was chosen learns, and what was learnt folds back exactly."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from orthoray.errors import InputError
from orthoray.models import create_backbone, forward_tokens
from orthoray.models.adapters import AplaLinear, LoraLinear, apply_adapter, blocks_of, merge_adapter

SIZES = {"img_size": 28, "patch_size": 7, "embed_dim": 32, "depth": 3, "num_heads": 2}
VITS = {
    "vit": ("vit_tiny_patch16_224", SIZES),
    "dinov2": ("vit_small_patch14_reg4_dinov2", SIZES),
    "dinov3": ("vit_small_patch16_dinov3", SIZES),
    "dinov3 with biases": ("vit_small_patch16_dinov3_qkvb", SIZES),
    "dinov3 with a gated MLP": ("vit_small_plus_patch16_dinov3", SIZES),
    "query, key, value apart": ("eva02_tiny_patch14_224", {**SIZES, "qkv_fused": False}),
}
CONVNEXT = ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)})


def options(kind, **changes):
    made = {"rank": 4, "alpha": 8.0, "targets": ["q", "v"], "fraction": 1.0, "unfreeze": 0, "norms": False, "seed": 0}
    return SimpleNamespace(**{"kind": kind, **made, **changes})


KINDS = {
    "lora": options("lora"),
    "lora everywhere": options("lora", targets=["qkv", "proj", "mlp"], rank=3),
    "explora": options("lora", unfreeze=1, norms=True),
    "apla": options("apla"),
    "apla in part": options("apla", fraction=0.25),
    "last_k": options("last_k", unfreeze=2),
}

CASES = [(vit, kind) for vit in ("vit", "dinov3 with biases") for kind in KINDS]
CASES += [(vit, kind) for vit in VITS for kind in ("lora everywhere", "apla in part") if (vit, kind) not in CASES]


def made(name, sizes):
    torch.manual_seed(0)
    model = create_backbone(name, **sizes)
    with torch.no_grad():  # away from zeros and ones, so that every tensor matters
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def images(batch=3):
    return torch.rand(batch, 1, 28, 28, generator=torch.Generator().manual_seed(5))


def features(model):
    with torch.no_grad():
        return torch.cat([part.flatten(1) for part in forward_tokens(model.eval(), images())], dim=1)


def learn(model, steps=3):
    """Move all that learns, along real gradients."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(steps):
        model.train()(images()).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize(("vit", "kind"), CASES)
def test_features_are_the_same_at_the_start_and_after_merging(vit, kind):
    plain = made(*VITS[vit])
    model = apply_adapter(copy.deepcopy(plain), KINDS[kind])
    torch.testing.assert_close(features(model), features(plain), atol=1e-5, rtol=1e-5)
    assert plain.state_dict().keys() <= model.state_dict().keys()

    learn(model)
    learnt = features(model)
    assert (learnt - features(plain)).abs().max() > 1e-2
    merged = merge_adapter(copy.deepcopy(model))
    torch.testing.assert_close(features(merged), learnt, atol=1e-5, rtol=1e-5)

    assert repr(merged) == repr(plain)
    switches = [[getattr(block.attn, "qkv_bias_separate", None) for block in net.blocks] for net in (merged, plain)]
    assert switches[0] == switches[1]
    assert all(parameter.requires_grad for parameter in merged.parameters())
    fresh = made(*VITS[vit])
    fresh.load_state_dict(merged.state_dict(), strict=True)
    torch.testing.assert_close(features(fresh), learnt, atol=1e-5, rtol=1e-5)


def changed_by(kind, vit="vit", **changes):
    """The plain backbone and the change of each of its tensors by learning with an adapter."""
    plain = made(*VITS[vit])
    model = apply_adapter(copy.deepcopy(plain), options(kind, **changes))
    frozen = {name: value.detach().clone() for name, value in model.named_parameters() if not value.requires_grad}
    learn(model)
    for name, value in model.named_parameters():
        assert name not in frozen or torch.equal(value, frozen[name]), name
    merged = merge_adapter(model).state_dict()
    return {name: merged[name] - value for name, value in plain.state_dict().items()}


def moved(change):
    return {name for name, value in change.items() if value.abs().max() > 0}


def test_lora_changes_each_of_its_parts_by_its_rank_and_nothing_else():
    change = changed_by("lora", rank=2, targets=["q", "v"])
    assert moved(change) == {f"blocks.{block}.attn.qkv.weight" for block in range(3)}
    for name in moved(change):
        query, key, value = change[name].double().chunk(3)
        ranks = [int(torch.linalg.matrix_rank(part, tol=1e-5)) for part in (query, value)]
        assert ranks == [2, 2]
        assert not key.any()


def test_lora_targets_are_the_projections_that_are_named():
    change = changed_by("lora", targets=["qkv", "proj", "mlp"], unfreeze=1)
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    below = {f"blocks.{block}.{layer}.weight" for block in range(2) for layer in layers}
    whole = {name for name in change if name.startswith(("blocks.2.", "norm."))}
    assert moved(change) == below | whole
    assert all(part.any() for part in change["blocks.0.attn.qkv.weight"].chunk(3))


def test_lora_is_the_sum_of_the_layer_and_a_scaled_low_rank_product():
    torch.manual_seed(1)
    base = nn.Linear(6, 9)
    layer = LoraLinear(base, rank=2, alpha=3.0, learns=(True, False, True))
    nn.init.normal_(layer.lora_b)
    x = torch.randn(5, 4, 6)
    update = torch.zeros(9, 6)
    update[:3] = layer.lora_b[0] @ layer.lora_a[:2]
    update[6:] = layer.lora_b[1] @ layer.lora_a[2:]
    expected = x @ (base.weight + 1.5 * update).t() + base.bias
    torch.testing.assert_close(layer(x), expected)
    assert layer.weight is base.weight
    torch.testing.assert_close(layer.merged()(x), expected)


def test_apla_changes_the_chosen_outputs_of_attention_s_projection_alone():
    change = changed_by("apla", fraction=0.25)
    assert moved(change) == {f"blocks.{block}.attn.proj.{leaf}" for block in range(3) for leaf in ("weight", "bias")}
    rows = []
    for block in range(3):
        weight, bias = (change[f"blocks.{block}.attn.proj.{leaf}"] for leaf in ("weight", "bias"))
        rows.append(tuple(weight.abs().amax(1).nonzero().flatten().tolist()))
        assert set(bias.nonzero().flatten().tolist()) <= set(rows[-1])
        assert len(rows[-1]) == 8
    assert len(set(rows)) == 3  # each block has its own lot
    again = apply_adapter(made(*VITS["vit"]), options("apla", fraction=0.25))
    assert [tuple(block.attn.proj.apla_rows.tolist()) for block in again.blocks] == rows
    other = apply_adapter(made(*VITS["vit"]), options("apla", fraction=0.25, seed=1))
    assert [tuple(block.attn.proj.apla_rows.tolist()) for block in other.blocks] != rows


def test_whole_apla_adds_no_tensor():
    model = apply_adapter(made(*VITS["vit"]), options("apla"))
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns == {f"blocks.{block}.attn.proj.{leaf}" for block in range(3) for leaf in ("weight", "bias")}
    assert not any(isinstance(module, AplaLinear) for module in model.modules())


def test_numbers_of_parameters_that_learn():
    width, depth, norm = 32, 3, 64
    block = 12 * width**2 + 13 * width
    expected = {
        "lora": depth * 2 * 2 * 4 * width,
        "lora everywhere": depth * 3 * (3 * 2 + 2 + 5 + 5) * width,
        "explora": (depth - 1) * (2 * 2 * 4 * width + 2 * norm) + block + norm,
        "apla": depth * (width**2 + width),
        "apla in part": depth * 8 * (width + 1),
        "last_k": 2 * block + norm,
    }
    found = {}
    for name, kind in KINDS.items():
        model = apply_adapter(made(*VITS["vit"]), kind)
        found[name] = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert found == expected


@pytest.mark.parametrize("family", [*VITS.values(), CONVNEXT, ("vit_base_patch16_siglip_224", SIZES)])
def test_all_that_may_learn_gets_a_gradient(family):
    """Else distributed training waits for one; timm's classifier norms and poolings take no part."""
    side = 64 if family is CONVNEXT else 28
    model = apply_adapter(made(*family), options("none")).train()
    sum(part.square().mean() for part in forward_tokens(model, torch.rand(2, 1, side, side))).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert all(name.startswith(("head.", "fc_norm.", "attn_pool.")) for name in without)


def test_blocks_of_a_convnext_are_those_of_all_stages():
    model = made(*CONVNEXT)
    assert len(blocks_of(model)) == 5
    apply_adapter(model, options("last_k", unfreeze=1))
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns
    assert all(name.startswith(("stages.3.blocks.0.", "head.norm.")) for name in learns)


def test_what_cannot_be_adapted_is_refused_by_key():
    with pytest.raises(InputError, match="unfreeze: 4 blocks are to learn, the backbone has 3"):
        apply_adapter(made(*VITS["vit"]), options("lora", unfreeze=4))
    with pytest.raises(InputError, match=r"adapter\.rank: 33 is more than the width of attn\.qkv"):
        apply_adapter(made(*VITS["vit"]), options("lora", rank=33))
    with pytest.raises(InputError, match="use last_k"):
        apply_adapter(made(*CONVNEXT), options("apla"))
    with pytest.raises(InputError, match="not made of blocks"):
        blocks_of(nn.Linear(2, 2))
    adapted = apply_adapter(made(*VITS["vit"]), options("lora"))
    with pytest.raises(ValueError, match="adapted already"):
        apply_adapter(adapted, options("lora"))
