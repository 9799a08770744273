"""Where weights come from, what is refused, and that every tensor is accounted for."""

import csv
import functools
import http.server
import io
import json
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from tests.models.checkpoints import FAMILIES, checkpoint, network

from orthoray import storage
from orthoray.errors import InputError
from orthoray.models import create_backbone, forward_tokens, import_timm
from orthoray.models.audit import AuditRow, LoadAudit
from orthoray.models.backbone import create_audited

NAME, SIZES = FAMILIES["dinov2 with registers"]


def tensors(**changes):
    return {name: value.clone() for name, value in network("dinov2 with registers", **changes).state_dict().items()}


def made(weights, **changes):
    return create_audited(NAME, str(weights), **{**SIZES, **changes})


def same(model, other):
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        for one, two in zip(forward_tokens(model.eval(), x), forward_tokens(other.eval(), x), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


@pytest.fixture
def folder(tmp_path):
    save_file(tensors(), tmp_path / "model.safetensors")
    return tmp_path


def test_a_file_a_url_and_a_folder_give_the_same_network(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/model.safetensors"
        storage.write_bytes("memory://weights/model.safetensors", save(tensors()))
        torch.save(tensors(), folder / "w.pth")
        places = [folder / "model.safetensors", folder, folder / "w.pth", "memory://weights", url]
        for place in places:
            model, audit = made(place)
            same(model, network("dinov2 with registers"))
            assert audit.counts == {"same": len(tensors())}
        with pytest.raises(InputError, match="no such weights file"):
            made(f"{url}.gone")
        server.shutdown()


def test_a_folder_of_several_files_is_read_whole(tmp_path):
    parts = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(tensors())}
    for file in set(parts.values()):
        save_file({name: value for name, value in tensors().items() if parts[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    same(made(tmp_path)[0], network("dinov2 with registers"))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"names files that are missing: model-00002-of-00002\.safetensors"):
        made(tmp_path)


def test_a_checkpoint_of_ours_starts_another_run(tmp_path):
    model = checkpoint(tmp_path / "run" / "checkpoint", "dinov2 with registers", initial_licence="dinov3-license")
    again, audit = made(tmp_path / "run" / "checkpoint")
    same(again, model)
    assert audit.licence == "dinov3-license"
    with pytest.raises(InputError, match="Give its folder `checkpoint`"):
        made(tmp_path / "run")


def test_the_licence_of_a_folder_is_read_from_its_readme(folder):
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: dinov3-license\n---\n# x\n")
    assert made(folder)[1].licence == "dinov3-license"


def test_half_precision_weights_fill_a_float32_network(tmp_path):
    save_file({name: value.bfloat16() for name, value in tensors().items()}, tmp_path / "w.safetensors")
    model, _ = made(tmp_path / "w.safetensors")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    wanted = tensors()["blocks.0.attn.qkv.weight"].bfloat16().float()
    torch.testing.assert_close(model.state_dict()["blocks.0.attn.qkv.weight"], wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "damaged or not a weights file"),
        (lambda file: file.write_bytes(b""), "damaged or not a weights file"),
        (lambda file: file.write_text("<html>404</html>"), "damaged or not a weights file"),
        (lambda file: file.unlink(), "a folder without weights"),
    ],
)
def test_damaged_files_are_named(damage, message, folder):
    damage(folder / "model.safetensors")
    with pytest.raises(InputError, match=message):
        made(folder)


@pytest.mark.parametrize("cut", [0, 10, 5000])
def test_a_torch_file_that_was_cut_off_is_damaged(cut, tmp_path):
    torch.save(tensors(), tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:cut])
    with pytest.raises(InputError, match=r"w\.pth: "):
        made(tmp_path / "w.pth")


def test_what_is_no_state_dict_is_refused(tmp_path):
    torch.save(torch.ones(3), tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds no tensors by name"):
        made(tmp_path / "w.pth")

    class Thing:
        pass

    torch.save({"model": Thing()}, tmp_path / "x.pth", pickle_module=__import__("cloudpickle"))
    with pytest.raises(InputError, match="Save its state dict alone"):
        made(tmp_path / "x.pth")


def test_values_that_are_not_finite_are_refused(folder):
    state = tensors()
    state["blocks.1.mlp.fc2.weight"][3, 4] = float("nan")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"not finite in blocks\.1\.mlp\.fc2\.weight"):
        made(folder)


@given(drop=st.integers(0, 400), total=st.integers(1, 400))
def test_loading_needs_99_percent_of_the_tensors(drop, total):
    drop = min(drop, total)
    rows = [AuditRow("", f"m{i}", (1,), "missing") for i in range(drop)]
    rows += [AuditRow(f"f{i}", f"m{i}", (1,), "same") for i in range(drop, total)]
    audit = LoadAudit("w", "vit", "ViT", "", tuple(rows))
    assert audit.share == (total - drop) / total
    if 100 * (total - drop) >= 99 * total:
        assert audit.check() is audit
    else:
        with pytest.raises(InputError, match=f"only {total - drop} of {total} tensors fit"):
            audit.check()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_tensor_too_many_too_few_or_of_another_shape_never_goes_unnoticed(data, tmp_path_factory):
    state = tensors()
    name = data.draw(st.sampled_from(sorted(state)))
    fault = data.draw(st.sampled_from(["missing", "shape", "more"]))
    if fault == "missing":
        del state[name]
    elif fault == "shape":
        state[name] = torch.ones(*state[name].shape[:-1], state[name].shape[-1] + 1)
    else:
        state["blocks.0.attn.extra.weight"] = torch.ones(3)
    file = tmp_path_factory.mktemp("w") / "w.safetensors"
    save_file(state, file)
    with pytest.raises(InputError, match=r"only 3\d of 3\d tensors|no place in this architecture"):
        made(file)


def test_more_blocks_than_the_model_has_are_not_dropped(tmp_path):
    save_file(tensors(depth=3), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"no place in this architecture.*blocks\.2\."):
        made(tmp_path / "w.safetensors")


def test_positions_are_resampled_to_the_grid_and_it_is_said(tmp_path):
    save_file(tensors(), tmp_path / "w.safetensors")
    model, audit = made(tmp_path / "w.safetensors", img_size=64)
    changed = [row for row in audit.rows if row.how == "interpolated"]
    assert [(row.model, row.note) for row in changed] == [("pos_embed", "4 × 4 to 8 × 8 patches")]
    assert "interpolated: pos_embed (4 × 4 to 8 × 8 patches)" in audit.summary()
    small, x = network("dinov2 with registers"), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():  # timm does the same at each step with the small grid
        torch.testing.assert_close(forward_tokens(model.eval(), x)[0], forward_tokens(small, x)[0])


def test_a_kernel_of_another_patch_size_is_resampled(tmp_path):
    save_file(tensors(), tmp_path / "w.safetensors")
    model, audit = made(tmp_path / "w.safetensors", patch_size=16, img_size=64)
    assert [row.note for row in audit.rows if row.how == "interpolated"] == ["kernel 8 × 8 to 16 × 16"]
    large = torch.ones(1, 1, 64, 64)
    with torch.inference_mode():  # an enlarged image has the embedding of the small one, a flat one surely
        wanted = network("dinov2 with registers").patch_embed.proj(large[..., :32, :32])[0, :, 0, 0]
        found = model.patch_embed.proj(large)[0, :, 0, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_the_audit_as_table_and_csv(tmp_path):
    state = {f"backbone.{name}": value for name, value in tensors(in_chans=3).items()}
    save_file(state | {"head.mlp.weight": torch.ones(2, 3)}, tmp_path / "w.safetensors")
    audit = made(tmp_path / "w.safetensors", img_size=40)[1]
    rows = list(csv.DictReader(io.StringIO(audit.csv())))
    by_model = {row["model"]: row for row in rows if row["model"]}
    assert len(by_model) == len(tensors()) == 35
    assert by_model["patch_embed.proj.weight"] == {
        "how": "folded",
        "model": "patch_embed.proj.weight",
        "shape": "32x1x8x8",
        "file": "backbone.patch_embed.proj.weight",
        "note": "3 channels to 1, by their sum",
    }
    assert by_model["norm.weight"]["how"] == "renamed"
    assert [(row["file"], row["note"]) for row in rows if row["how"] == "unused"] == [
        ("head.mlp.weight", "another part of the file")
    ]
    table = audit.table().splitlines()
    assert len(table) == len(rows)
    assert any(line.startswith("interpolated pos_embed") and "(4 × 4 to 5 × 5 patches)" in line for line in table)
    assert audit.summary().startswith(f"{tmp_path / 'w.safetensors'}: 35 of 35 tensors (100.0%; ")


def in_cache(folder, repository, content):
    """A file as the Hub's client keeps it."""
    base = folder / f"models--{repository.replace('/', '--')}"
    snapshot = base / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("0" * 40)
    save_file(content, snapshot / "model.safetensors")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_tag_of_timm_comes_from_the_cache_without_network(offline):
    torch.manual_seed(1)
    full = import_timm().create_model("vit_tiny_patch16_224", num_classes=3)
    in_cache(offline, "timm/vit_tiny_patch16_224.augreg_in21k", full.state_dict())
    model, audit = create_audited("vit_tiny_patch16_224", "timm:augreg_in21k")
    assert audit.share == 1.0
    assert audit.licence == "apache-2.0"
    assert audit.origin.startswith("timm:augreg_in21k")
    assert {row.note for row in audit.rows if row.how == "unused"} == {"a head"}
    x = torch.rand(1, 1, 224, 224)
    with torch.inference_mode():
        wanted = full.eval().forward_features(x.expand(-1, 3, -1, -1))[:, 0]
        torch.testing.assert_close(forward_tokens(model.eval(), x)[0], wanted, rtol=1e-4, atol=1e-4)


def test_without_network_a_tag_says_what_to_download_and_where_to_put_it(offline):
    with pytest.raises(InputError) as caught:
        create_backbone("vit_small_patch16_dinov3", "timm:lvd1689m")
    with pytest.raises(InputError, match=r"timm/vit_small_patch16_dinov3\.lvd1689m"):  # its default tag
        create_backbone("vit_small_patch16_dinov3", "timm:")
    for part in (
        "https://huggingface.co/timm/vit_small_patch16_dinov3.lvd1689m/resolve/main/model.safetensors",
        "give its path as weights",
        f"models--timm--vit_small_patch16_dinov3.lvd1689m into {offline}",
    ):
        assert part in str(caught.value)


@pytest.mark.slow
def test_an_unknown_tag_names_the_known_ones():
    with pytest.raises(InputError, match=r"Did you mean 'lvd1689m'.*Tags: .*lvd1689m"):
        create_backbone("vit_large_patch16_dinov3", "timm:lvd1698m")
    with pytest.raises(InputError, match="no such weights"):
        create_backbone("convnext_zepto_rms", "timm:none")


def test_a_layout_that_only_timm_knows_goes_through_timm_s_filter(tmp_path):
    """OpenAI's CLIP: the image tower of a file that holds a text tower too."""
    torch.manual_seed(0)
    name = "vit_base_patch16_clip_224"
    wanted = create_backbone(name, in_chans=3, **SIZES).eval()
    back = [
        ("blocks.", "transformer.resblocks."),
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        ("norm.", "ln_post."),
    ]
    back += [
        ("attn.qkv.", "attn.in_proj_"),
        ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    ]
    back += [("norm1", "ln_1"), ("norm2", "ln_2")]
    state = {"visual.class_embedding": wanted.cls_token.detach()[0, 0].clone()}
    state["visual.positional_embedding"] = wanted.pos_embed.detach()[0].clone()
    for key, value in wanted.state_dict().items():
        if key not in ("cls_token", "pos_embed"):
            for ours, theirs in back:
                key = key.replace(ours, theirs)
            state[f"visual.{key}"] = value.clone()
    state["visual.proj"], state["token_embedding.weight"] = torch.ones(32, 8), torch.ones(5, 5)
    save_file(state, tmp_path / "w.safetensors")
    model, audit = create_audited(name, str(tmp_path / "w.safetensors"), in_chans=3, **SIZES)
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(forward_tokens(model.eval(), x)[0], forward_tokens(wanted, x)[0])
    rows = {row.model: row.file for row in audit.rows}
    assert rows["blocks.0.attn.qkv.weight"] == "visual.transformer.resblocks.0.attn.in_proj_weight"
    assert "timm's filter leaves it out" in {row.note for row in audit.rows if row.file == "token_embedding.weight"}


def test_a_network_without_a_filter_in_timm_takes_its_own_names(tmp_path):
    torch.manual_seed(0)
    wanted = create_backbone("resnet18", in_chans=3)
    save_file(wanted.state_dict(), tmp_path / "w.safetensors")
    model, audit = create_audited("resnet18", str(tmp_path / "w.safetensors"))
    assert audit.share == 1.0
    torch.testing.assert_close(
        model.state_dict()["layer1.0.conv1.weight"], wanted.state_dict()["layer1.0.conv1.weight"]
    )
