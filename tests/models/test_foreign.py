"""Weights of other projects: every layout fills timm's model, which then computes what the project's own code does."""

import pytest
import torch
from safetensors.torch import save_file
from tests.models.foreign import GOLDEN, features_of, image, saved_by_transformers, state_of

from orthoray.errors import InputError
from orthoray.models import create_backbone, forward_tokens
from orthoray.models.backbone import create_audited
from orthoray.models.rope import rope_of

FROM_TRANSFORMERS = [case for case in GOLDEN if "saved" in GOLDEN[case]]


def write(path, state):
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, path)
    return str(path)


def loaded(case, file, **changes):
    options = {"rope": GOLDEN[case].get("rope", "on"), **GOLDEN[case]["kwargs"], **changes}
    return create_audited(GOLDEN[case]["backbone"], file, in_chans=3, **options)


def assert_golden(model, case):
    with torch.inference_mode():
        token, patches = forward_tokens(model.eval(), image(GOLDEN[case]["side"]))
    for found, wanted in zip((token, patches.mean(dim=1), patches[:, -1]), features_of(case), strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("case", GOLDEN)
def test_features_are_those_of_the_project_s_own_code(case, tmp_path):
    prefix = GOLDEN[case].get("prefix", "")
    model, audit = loaded(case, write(tmp_path / "w.safetensors", {prefix + n: t for n, t in state_of(case).items()}))
    assert_golden(model, case)
    assert audit.share == 1.0
    assert audit.leftovers == []
    told = {name for row in audit.rows for name in row.file.split(" + ") if name}
    assert told == {prefix + name for name in state_of(case)}  # nothing in the file goes unmentioned


@pytest.mark.parametrize("case", FROM_TRANSFORMERS)
def test_files_of_transformers_in_either_naming(case, tmp_path):
    model, audit = loaded(case, write(tmp_path / "w.safetensors", saved_by_transformers(case)))
    assert_golden(model, case)
    assert audit.share == 1.0


WRAPPED = {
    "a training checkpoint of DINOv2": (
        "dinov2 in chunks",
        {"teacher": "backbone."},
        {"dino_head.mlp.0.weight": (4, 4)},
    ),
    "student and teacher of DINO": ("dinov2", {"student": "module.backbone.", "teacher": "backbone."}, {}),
    "an averaged model beside the plain one": ("dinov3", {"model": "", "model_ema": ""}, {"head.weight": (3, 16)}),
    "the release of OrthoFoundation, whole": ("orthofoundation release", {"": "module.backbone.backbone."}, {}),
    "MoCo v3": (
        "transformers ViT",
        {"state_dict": "module.base_encoder."},
        {"module.momentum_encoder.x": (2, 2), "module.predictor.0.weight": (2, 2)},
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_right_network_is_found_in_a_training_checkpoint(name, tmp_path):
    case, places, others = WRAPPED[name]
    content = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    for container, prefix in places.items():
        wanted = container in ("teacher", "model_ema") or len(places) == 1
        state = {prefix + n: (t if wanted else torch.zeros_like(t)) for n, t in state_of(case).items()}
        state |= {n: torch.ones(shape) for n, shape in others.items()}
        content |= {container: state} if container else state
    torch.save(content, tmp_path / "w.pth")
    model, audit = loaded(case, str(tmp_path / "w.pth"))
    assert_golden(model, case)
    notes = {row.file: row.note for row in audit.rows if row.how == "unused"}
    assert all(notes.values())
    assert not any("exp_avg" in name for name in notes)
    for other in others:
        assert any(name.endswith(other) for name in notes)


def test_arguments_in_the_file_of_mae_are_no_obstacle(tmp_path):
    import argparse

    state = state_of("transformers DINOv2") | {"decoder_embed.weight": torch.ones(2, 2)}
    torch.save({"model": state, "args": argparse.Namespace(lr=1e-3), "epoch": 1}, tmp_path / "w.pth")
    assert_golden(loaded("transformers DINOv2", str(tmp_path / "w.pth"))[0], "transformers DINOv2")


def test_two_equal_backbones_are_not_chosen_between(tmp_path):
    state = {f"{side}.{n}": t for side in ("left", "right") for n, t in state_of("dinov2").items()}
    with pytest.raises(InputError, match=r"several backbones \('left\.…', 'right\.…'\)"):
        loaded("dinov2", write(tmp_path / "w.safetensors", state))


def test_the_periods_of_rope_are_taken_from_the_file_and_kept(tmp_path):
    state = state_of("dinov3 plus")
    width = {"num_heads": 1}  # head width 16: four periods, two of which bfloat16 rounds
    exact = 100.0 ** (torch.arange(4) / 4)
    for name, periods, expected in (("f", exact, "on"), ("b", exact.bfloat16().float(), "bf16")):
        file = write(tmp_path / f"{name}.safetensors", state | {"rope_embed.periods": periods})
        model, audit = loaded("dinov3 plus", file, **width)
        assert rope_of(model) == expected
        torch.testing.assert_close(model.rope.periods, periods, rtol=1e-6, atol=0)
        assert next(row for row in audit.rows if row.model == "rope.periods").how in ("same", "renamed")
    again = create_backbone(GOLDEN["dinov3 plus"]["backbone"], rope="bf16", **GOLDEN["dinov3 plus"]["kwargs"] | width)
    torch.testing.assert_close(again.rope.periods, model.rope.periods, rtol=0, atol=0)
    asked, audit = loaded("dinov3 plus", str(tmp_path / "f.safetensors"), rope="bf16", **width)
    assert rope_of(asked) == "bf16"
    assert "float32 in the file, rounded as asked for" in {row.note for row in audit.rows}
    other = write(tmp_path / "o.safetensors", state | {"rope_embed.periods": 50.0 ** (torch.arange(4) / 4)})
    with pytest.raises(InputError, match="another base or head width"):
        loaded("dinov3 plus", other, **width)


def test_a_network_with_rope_is_not_loaded_into_one_without(tmp_path):
    file = write(tmp_path / "w.safetensors", state_of("dinov3"))
    with pytest.raises(InputError, match="knows positions by RoPE"):
        loaded("dinov3", file, use_rot_pos_emb=False)
    model, audit = loaded("dinov3", file, rope="off")
    assert model.rope is None
    assert rope_of(model) == "off"
    assert "rope: off" in {row.note for row in audit.rows}


def test_biases_are_never_dropped_in_silence(tmp_path):
    kwargs, state = GOLDEN["dinov3"]["kwargs"], state_of("dinov3")
    file = write(tmp_path / "w.safetensors", state)
    with pytest.raises(InputError, match="use vit_small_patch16_dinov3_qkvb"):
        create_backbone("vit_small_patch16_dinov3", file, in_chans=3, **kwargs)
    zeros = {n: torch.zeros_like(t) if n.endswith("qkv.bias") else t for n, t in state.items()}
    model, audit = create_audited("vit_small_patch16_dinov3", write(tmp_path / "z.safetensors", zeros), 3, **kwargs)
    assert {row.note for row in audit.rows if row.file.endswith("qkv.bias")} == {"zero, of no effect"}
    plain = write(tmp_path / "p.safetensors", model.state_dict())
    with pytest.raises(InputError, match=r"use vit_small_patch16_dinov3\."):
        create_backbone("vit_small_patch16_dinov3_qkvb", plain, in_chans=3, **kwargs)


def test_a_key_with_a_bias_is_refused_and_one_that_is_masked_is_not(tmp_path):
    state = state_of("dinov3")
    masks = {n: t for n, t in state.items() if n.endswith("bias_mask")}
    unset = {n: torch.full_like(t, float("nan")) for n, t in masks.items()}
    assert_golden(loaded("dinov3", write(tmp_path / "n.safetensors", state | unset))[0], "dinov3")
    bare = {n: t for n, t in state.items() if n not in masks}
    with pytest.raises(InputError, match=r"blocks\.0\.attn\.qkv\.bias\[key\]"):
        loaded("dinov3", write(tmp_path / "b.safetensors", bare))


def test_weights_of_dinov3_carry_its_licence(tmp_path):
    named = loaded("dinov3", write(tmp_path / "w.safetensors", state_of("dinov3")))[1]
    assert named.licence == "dinov3-license"
    assert "DINOv3 License" in named.summary()
    assert loaded("dinov2", write(tmp_path / "v.safetensors", state_of("dinov2")))[1].licence is None
