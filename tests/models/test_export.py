"""Exports load in the other library and compute the same, or nothing is written."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tests.models.checkpoints import FAMILIES, FIXED, checkpoint, network
from tests.models.foreign import GOLDEN

from orthoray.errors import InputError, RunError
from orthoray.models import Normalisation, create_backbone, forward_tokens, import_timm, normalise
from orthoray.models.export import export_checkpoint

IN_TRANSFORMERS = {
    "vit": "transformers ViT",
    "dinov2": "transformers DINOv2",
    "dinov2 g": None,
    "dinov2 with registers": "transformers DINOv2 with registers",
    "vit with registers": "transformers DINOv2 with registers",
    "dinov3": None,
    "dinov3 with biases": "transformers DINOv3",
    "dinov3 plus": None,
    "convnext": "transformers DINOv3 ConvNeXt",
}


def levels(family, batch=2):
    side = 64 if family == "convnext" else 32
    return torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(9))


def tokens(model, family, rule=FIXED):
    with torch.inference_mode():
        return forward_tokens(model, normalise(levels(family), rule))


@pytest.mark.parametrize("family", FAMILIES)
def test_timm_loads_the_folder_and_gives_the_same_tokens(family, tmp_path):
    model = checkpoint(tmp_path / "c", family, initial_weights="w.pth", initial_licence="dinov3-license")
    proof = export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"))
    assert proof.difference <= 1e-6
    again = import_timm().create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    for found, wanted in zip(tokens(again, family), tokens(model, family), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    with torch.inference_mode():  # also its plain call: the class token
        pooled = again(normalise(levels(family), FIXED))
    torch.testing.assert_close(pooled, tokens(model, family)[0], rtol=0, atol=1e-5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == [0.4]
    assert config["pretrained_cfg"]["license"] == "dinov3-license"
    loaded = create_backbone(FAMILIES[family][0], str(tmp_path / "out"), **FAMILIES[family][1])  # and so do we
    torch.testing.assert_close(tokens(loaded.eval(), family)[0], tokens(model, family)[0], rtol=0, atol=1e-6)


def test_a_network_without_rope_stays_without_in_timm(tmp_path):
    model = checkpoint(tmp_path / "c", "dinov3", rope="off")
    export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"))
    again = import_timm().create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert again.rope is None
    torch.testing.assert_close(tokens(again, "dinov3")[0], tokens(model, "dinov3")[0])
    with pytest.raises(InputError, match="no RoPE of DINOv3's kind"):
        export_checkpoint(str(tmp_path / "c"), "hf", str(tmp_path / "hf"))


def test_rounded_periods_are_told_and_their_effect_measured(tmp_path):
    checkpoint(tmp_path / "c", "dinov3", rope="bf16")
    proof = export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"))
    assert proof.difference <= 1e-6
    assert "changes the features by up to" in proof.notes[0]
    assert proof.notes[0] in (tmp_path / "out" / "README.md").read_text()


def names_of(case):
    """Leaves of the names in transformers' files, block by block one kind: what must be written."""
    return {name.replace(".1.", ".0.") for name in GOLDEN[case]["saved"]}


@pytest.mark.parametrize("family", IN_TRANSFORMERS)
def test_transformers_names_and_sizes(family, tmp_path):
    model = checkpoint(tmp_path / "c", family)
    proof = export_checkpoint(str(tmp_path / "c"), "hf", str(tmp_path / "out"))
    assert proof.difference <= 1e-4
    written = load_file(tmp_path / "out" / "model.safetensors")
    if IN_TRANSFORMERS[family]:
        assert {name.replace(".1.", ".0.") for name in written} == names_of(IN_TRANSFORMERS[family])
    again = create_backbone(FAMILIES[family][0], str(tmp_path / "out"), **FAMILIES[family][1]).eval()
    for found, wanted in zip(tokens(again, family), tokens(model, family), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", IN_TRANSFORMERS)
def test_transformers_computes_the_same(family, tmp_path):
    import_timm()
    transformers = pytest.importorskip("transformers")
    model = checkpoint(tmp_path / "c", family)
    proof = export_checkpoint(str(tmp_path / "c"), "hf", str(tmp_path / "out"))
    assert proof.by.startswith("transformers")
    theirs = transformers.AutoModel.from_pretrained(str(tmp_path / "out")).eval()
    with torch.inference_mode():
        states = theirs(pixel_values=normalise(levels(family), FIXED)).last_hidden_state
    token, patches = tokens(model, family)
    torch.testing.assert_close(states[:, 0], token, rtol=0, atol=1e-4)
    torch.testing.assert_close(states[:, -patches.shape[1] :], patches, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["vit", "dinov2 with registers", "dinov3", "convnext"])
def test_onnx_takes_grey_levels_in_any_batch(family, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    rule = Normalisation(kind="per_image") if family == "vit" else FIXED
    model = checkpoint(tmp_path / "c", family, rope="bf16" if family == "dinov3" else "on", normalisation=rule)
    assert export_checkpoint(str(tmp_path / "c"), "onnx", str(tmp_path / "out")).difference <= 1e-3
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    for batch in (1, 5):
        images = levels(family, batch)
        found = session.run(["class_token", "patch_tokens"], {"image": images.numpy()})
        with torch.inference_mode():
            wanted = forward_tokens(model, normalise(images, rule))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(torch.from_numpy(one), other, rtol=0, atol=1e-3)


def test_onnx_of_another_size_resamples_positions_once(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    checkpoint(tmp_path / "c", "vit")
    assert export_checkpoint(str(tmp_path / "c"), "onnx", str(tmp_path / "out"), size=48).difference <= 1e-3
    with pytest.raises(InputError, match="not a multiple of the patch size 8"):
        export_checkpoint(str(tmp_path / "c"), "onnx", str(tmp_path / "other"), size=50)


def test_onnx_of_many_weights_has_them_in_a_file_beside(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    from orthoray.models import export_onnx

    monkeypatch.setattr(export_onnx, "ONE_FILE", 0)
    checkpoint(tmp_path / "c", "vit")
    export_checkpoint(str(tmp_path / "c"), "onnx", str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.onnx.data").exists()
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"))  # also from where it was moved to
    assert session.run(None, {"image": levels("vit").numpy()})[0].shape == (2, 32)


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    from importlib import util

    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else found(name, *rest))
    checkpoint(tmp_path / "c", "vit")
    with pytest.raises(InputError, match=r"needs .*onnxruntime.*orthoray\[export\]"):
        export_checkpoint(str(tmp_path / "c"), "onnx", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["timm", "hf"])
def test_a_copy_that_computes_something_else_is_not_left_behind(kind, tmp_path, monkeypatch):
    """The weights are swapped behind the writer's back."""
    from orthoray.models import export_hf, export_timm

    checkpoint(tmp_path / "c", "dinov2")
    module = export_timm if kind == "timm" else export_hf
    save = module.save_file
    changed = "blocks.0.mlp.fc1.weight" if kind == "timm" else "encoder.layer.0.mlp.fc1.weight"
    monkeypatch.setattr(module, "save_file", lambda t, *rest, **o: save({**t, changed: t[changed] * 1.01}, *rest, **o))
    with pytest.raises(RunError, match=r"computes something else.*differ by"):
        export_checkpoint(str(tmp_path / "c"), kind, str(tmp_path / "deep" / "out"))
    assert {path.name for path in tmp_path.iterdir()} == {"c"}


def test_what_is_there_is_not_replaced_unless_asked(tmp_path):
    checkpoint(tmp_path / "c", "vit")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"))
    export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"), overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "card.json",
        "config.json",
        "model.safetensors",
    }


def test_export_to_another_filesystem(tmp_path):
    import fsspec

    checkpoint(tmp_path / "c", "vit")
    export_checkpoint(str(tmp_path / "c"), "timm", "memory://exports/vit")
    found = fsspec.filesystem("memory").find("/exports")
    assert sorted(found) == [
        f"/exports/vit/{n}" for n in ("README.md", "card.json", "config.json", "model.safetensors")
    ]


def test_wrong_formats_and_networks_are_refused(tmp_path):
    checkpoint(tmp_path / "c", "vit")
    with pytest.raises(InputError, match="Formats: timm, hf, onnx"):
        export_checkpoint(str(tmp_path / "c"), "tf", str(tmp_path / "out"))
    with pytest.raises(InputError, match="--size is for --format onnx"):
        export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"), size=64)
    with pytest.raises(InputError, match="not a checkpoint"):
        export_checkpoint(str(tmp_path), "timm", str(tmp_path / "out"))


def test_registers_with_positions_do_not_fit_transformers():
    from orthoray.models.checkpoint import Architecture, Provenance, card_for
    from orthoray.models.export_hf_config import transformers_copy

    model = network("vit with registers", no_embed_class=False)
    card = card_for(model, Architecture(name="vit_tiny_patch16_224"), 32, FIXED, Provenance())
    with pytest.raises(InputError, match="positions of its registers"):
        transformers_copy(model, card)
