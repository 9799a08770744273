import pytest
import torch
from safetensors.torch import save_file

from orthoray.errors import InputError
from orthoray.models import Normalisation, attention_map, create_backbone, load_checkpoint
from orthoray.models.features import forward_tokens, normalise

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def small(**kwargs):
    torch.manual_seed(0)
    return create_backbone("vit_tiny_patch16_224", **{**SMALL, **kwargs})


def test_three_channel_weights_fold_exactly_for_grey_input(tmp_path):
    colour = small(in_chans=3).eval()
    file = tmp_path / "w.safetensors"
    save_file(colour.state_dict(), file)
    grey = create_backbone("vit_tiny_patch16_224", str(file), in_chans=1, **SMALL).eval()
    x = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        expected = forward_tokens(colour, x.expand(-1, 3, -1, -1))
        found = forward_tokens(grey, x)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=1e-5)


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(small(depth=1).state_dict(), file)
    with pytest.raises(InputError, match=r"only \d+ of \d+ tensors fit.*blocks\.1"):
        create_backbone("vit_tiny_patch16_224", str(file), **SMALL)


def test_pickled_code_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    torch.save({"x": Evil()}, tmp_path / "w.pt")
    with pytest.raises(InputError):
        create_backbone("vit_tiny_patch16_224", str(tmp_path / "w.pt"), **SMALL)
    assert not (tmp_path / "pwned").exists()


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'vit_tiny_patch16_224'"):
        create_backbone("vit_tiny_patch16_24")


def test_position_reaches_the_tokens_from_the_start():
    model = small(start="sincos").eval()
    flat = torch.zeros(1, 1, 32, 32)
    with torch.inference_mode():
        patches = forward_tokens(model, flat)[1][0]
    distance = torch.cdist(patches, patches) + torch.eye(len(patches)) * 1e3
    assert distance.min() > 0.1  # all patches of a blank image differ by their place


def test_per_image_normalisation_cancels_exposure_and_window():
    x = torch.rand(3, 1, 16, 16) * 0.5
    rule = Normalisation(kind="per_image", floor=0.0)
    torch.testing.assert_close(normalise(x, rule), normalise(0.3 + 1.3 * x, rule), atol=1e-4, rtol=1e-4)
    fixed = normalise(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), Normalisation(mean=0.5, std=0.25))
    torch.testing.assert_close(fixed, torch.full((1, 1, 2, 2), 2.0))


def test_attention_of_the_class_token_is_what_unfused_attention_computes():
    model = small().eval()
    x = torch.rand(2, 1, 32, 32)
    found = attention_map(model, x)
    block = model.blocks[-1]
    with torch.inference_mode():
        tokens = model.blocks[0](model._pos_embed(model.patch_embed(x)))
        qkv = block.attn.qkv(block.norm1(tokens)).reshape(2, 17, 3, 2, 16).permute(2, 0, 3, 1, 4).double()
        weights = torch.softmax(qkv[0] @ qkv[1].transpose(-1, -2) / 4.0, dim=-1)[:, :, 0, 1:]
    torch.testing.assert_close(found.double().flatten(2), weights, atol=1e-4, rtol=1e-3)
    assert found.shape == (2, 2, 4, 4)


def test_checkpoint_round_trip_and_damage(tmp_path):
    from orthoray.models import Provenance, save_checkpoint
    from orthoray.models.checkpoint import Architecture, card_for

    model = small().eval()
    card = card_for(model, Architecture(name="vit_tiny_patch16_224", kwargs=SMALL), 32, Normalisation(), Provenance())
    uri = str(tmp_path / "checkpoint")
    save_checkpoint(uri, model, card)
    again, found = load_checkpoint(uri)
    assert found == card
    x = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(again.forward_features(x), model.forward_features(x))
    save_file(small(depth=1).state_dict(), f"{uri}/model.safetensors")
    with pytest.raises(InputError, match="another architecture"):
        load_checkpoint(uri)
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(str(tmp_path))
