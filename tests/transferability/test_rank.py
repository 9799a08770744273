"""`orthoray rank` for real: Ray, a cache of cells, weights that are missing, the page."""

import json
import re

import pandas as pd
import pytest
import torch

from orthoray.cli import main
from orthoray.errors import InputError
from orthoray.features.candidate_settings import Candidate
from orthoray.features.candidates import missing_weights, prepare
from orthoray.models import create_backbone
from orthoray.transferability.config import RankConfig, candidates_of

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}


def config(tmp_path, datasets, checkpoints, **changes):
    values = {
        "out": str(tmp_path / "rank"),
        "candidates": [
            {"name": "one", "checkpoint": checkpoints[0], "imagenet_top1": 70.0},
            {"name": "two", "checkpoint": checkpoints[1], "imagenet_top1": 80.0},
            {"name": "three", "backbone": "vit_tiny_patch16_224", "img_size": 32, "kwargs": TINY},
        ],
        "targets": [{"dataset": datasets[0], "task": "xr_tkr"}, {"dataset": datasets[1], "task": "mr_acl"}],
        "bootstraps": 5,
        "allow_random": True,
        **changes,
    }
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


@pytest.fixture
def made(tmp_path, dataset_folder, tiny_checkpoint):
    datasets = [
        dataset_folder(tmp_path / "d0", patients=24, dataset_id="d0"),
        dataset_folder(tmp_path / "d1", patients=24, dataset_id="d1", seed=1),
    ]
    return datasets, [tiny_checkpoint(tmp_path / "c0", seed=0), tiny_checkpoint(tmp_path / "c1", seed=1)]


def run(arguments):
    with pytest.raises(SystemExit) as done:
        main(["rank", *arguments])
    return done.value.code


@pytest.mark.ray
@pytest.mark.slow
def test_from_checkpoints_to_a_page_and_again_without_work(tmp_path, made, ray_session, capsys):
    arguments = config(tmp_path, *made)
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "6 cells, 0 of them done before" in out
    folder = tmp_path / "rank"
    board = pd.read_parquet(folder / "leaderboard.parquet")
    assert len(board) == 3 * 2 * 11
    assert set(board["candidate"]) == {"one", "two", "three (random weights)"}
    assert (board["samples"] == 24).all()
    assert board.loc[board["problem"] == "", "value"].notna().all()
    page = (folder / "rank.html").read_text()
    assert "three (random weights)" in page
    assert "Random weights." in page
    assert page.count("<svg") == 3
    assert not re.search(r"(src|href)=\"?http", page)
    assert all((folder / "figures" / f"{name}.svg").is_file() for name in ("heat", "bump", "pareto"))
    with pytest.raises(SystemExit) as done:
        main(["report", str(folder), "--out", str(tmp_path / "page")])
    assert done.value.code == 0
    assert (tmp_path / "page" / "rank.html").read_text() == page

    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.json") if "cells" in str(file)}
    lost = sorted(before)[0]
    lost.unlink()
    assert run(arguments) == 0
    assert "6 cells, 5 of them done before" in capsys.readouterr().out
    after = {file: file.stat().st_mtime_ns for file in before}
    assert {file for file in before if before[file] != after[file]} == {lost}
    again = pd.read_parquet(folder / "leaderboard.parquet")
    pd.testing.assert_frame_equal(board.drop(columns="seconds"), again.drop(columns="seconds"))


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_finds_the_features_of_a_ranking_in_their_common_store(tmp_path, made, ray_session):
    datasets, checkpoints = made
    store = str(tmp_path / "store")
    assert run(config(tmp_path, *made, features={"store": store}, estimators=["logme"], bootstraps=0, subsets=0)) == 0
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*") if file.is_file()}
    models = [{"name": "one", "kind": "checkpoint", "checkpoint": checkpoints[0]}]
    values = {
        "out": str(tmp_path / "study"),
        "datasets": datasets[:1],
        "tasks": ["xr_tkr"],
        "models": models,
        "folds": 3,
    }
    given = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    with pytest.raises(SystemExit) as done:
        main(["study", *given, f"features.store={store}"])
    assert done.value.code == 0
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*") if file.is_file()}
    thumbnails = {file for file in after if file.parent.name.startswith("pixels-")}  # leak checks look at them
    assert {file.name.rpartition(".")[2] for file in thumbnails} == {"json", "parquet"}
    assert {file: time for file, time in after.items() if file not in thumbnails} == before


@pytest.mark.ray
@pytest.mark.slow
def test_numbers_do_not_depend_on_how_many_work(tmp_path, made, ray_session):
    boards = []
    for cpus in (0.5, 2.0):
        arguments = config(tmp_path, *made, out=str(tmp_path / f"with-{cpus}"), cpus=cpus, estimators=["logme", "itm"])
        assert run(arguments) == 0
        boards.append(pd.read_parquet(tmp_path / f"with-{cpus}" / "leaderboard.parquet").drop(columns="seconds"))
    pd.testing.assert_frame_equal(*boards, check_exact=True)


def test_missing_weights_are_told_with_place_and_remedy_and_nothing_is_written(tmp_path, made, capsys):
    datasets, checkpoints = made
    candidates = [
        {"name": "moco", "backbone": "vit_tiny_patch16_224", "weights": "/nowhere.pth", "published": "its authors"},
        {"name": "gone", "checkpoint": str(tmp_path / "none")},
    ]
    arguments = config(tmp_path, datasets, checkpoints, candidates=candidates, allow_random=False)
    assert run(arguments) == 2
    told = capsys.readouterr().err
    assert "moco: no file /nowhere.pth; published: its authors; set candidates[0].weights" in told
    assert "gone: no checkpoint at" in told
    assert "--allow-random" in told
    assert not (tmp_path / "rank").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"primary": "log_me"}, "logme"),
        ({"estimators": ["logme", "logme"]}, "twice"),
        ({"candidates": "papers"}, "Did you mean 'paper'"),
        ({"targets": []}, "targets"),
        ({"results": ["/nowhere"]}, "results.parquet"),
        ({"bogus": 1}, "bogus"),
    ],
)
def test_bad_settings_end_with_2(tmp_path, made, capsys, changes, says):
    assert run(config(tmp_path, *made, **changes)) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "rank").exists()


def test_the_lists_of_candidates_are_whole():
    target = [{"dataset": "d", "task": "t"}]
    full = candidates_of(RankConfig(out="o", candidates="paper", targets=target))
    tiny = candidates_of(RankConfig(out="o", candidates="paper_tiny", targets=target))
    assert [c.name for c in full[:10]] == [c.name for c in tiny]
    assert all(c.published for c in full)
    twice = RankConfig(out="o", candidates=[full[0], full[0]], targets=target)
    with pytest.raises(InputError, match="twice"):
        candidates_of(twice)


LAYOUTS = {
    "MoCo v3": (
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 8, "depth": 2},
        lambda own: {
            "state_dict": {
                **{f"module.base_encoder.{k}": v for k, v in own.items()},
                **{f"module.momentum_encoder.{k}": v + 1 for k, v in own.items()},
                "module.base_encoder.head.0.weight": torch.zeros(4, 192),
                "module.predictor.0.weight": torch.zeros(4, 4),
            }
        },
    ),
    "SimMIM": (
        "beit_base_patch16_224",
        {
            **TINY,
            "use_rel_pos_bias": False,
            "use_shared_rel_pos_bias": True,
            "global_pool": "token",
        },
        lambda own: {
            "model": {
                **{f"encoder.{k}": v for k, v in own.items()},
                "encoder.mask_token": torch.zeros(1, 1, 32),
                "encoder.rel_pos_bias.relative_position_index": torch.zeros(17, 17, dtype=torch.int64),
                "decoder.0.weight": torch.zeros(3, 32, 1, 1),
                "decoder.0.bias": torch.zeros(3),
            }
        },
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_other_layouts_give_the_same_features(tmp_path, layout):
    name, kwargs, wrap = LAYOUTS[layout]
    torch.manual_seed(3)
    source = create_backbone(name, in_chans=3, **kwargs).eval()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    file = tmp_path / "weights.pth"
    torch.save(wrap(source.state_dict()), file)
    candidate = Candidate(name="it", backbone=name, kwargs=kwargs, img_size=32, weights=str(file))
    assert missing_weights([candidate]) == {}
    ready = prepare(candidate, str(tmp_path / "c"), random=False)
    from orthoray.models import load_checkpoint

    mine, _ = load_checkpoint(ready.checkpoint)
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            mine.forward_features(grey), source.forward_features(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4
        )
    assert not ready.random


def test_random_weights_follow_the_name_alone(tmp_path):
    candidate = Candidate(name="it", backbone="vit_tiny_patch16_224", kwargs=TINY, img_size=32)
    torch.manual_seed(1)
    first = prepare(candidate, str(tmp_path / "a"), random=True)
    torch.manual_seed(2)
    prepare(candidate, str(tmp_path / "b"), random=True)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert first.label == "it (random weights)"
    assert first.gflops > 0


def test_a_ranking_is_planned(capsys):
    with pytest.raises(SystemExit) as done:
        main(["plan", "rank_paper", "candidates=paper", "--images", "1000000", "--price-gpu-hour", "2", "--json"])
    assert done.value.code == 0
    plan = json.loads(capsys.readouterr().out)
    by_name = {need["name"]: need for need in plan["candidates"]}
    assert by_name["DINOv3-L"]["parameters"] == pytest.approx(303e6, rel=0.02)
    hours = by_name["DINO-B"]["gpu_hours"]
    assert hours == pytest.approx(1e6 * by_name["DINO-B"]["gflops"] * 1e9 / (67e12 * 0.4) / 3600)
    assert by_name["DINO-B"]["cost"] == pytest.approx(2 * hours)
