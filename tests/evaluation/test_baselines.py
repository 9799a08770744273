"""General backbones: named where their weights are missing, columns of the table where they are given."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tests.evaluation.conftest import study_config

from orthoray import storage
from orthoray.errors import InputError
from orthoray.evaluation.baselines import missing_line, with_baselines
from orthoray.evaluation.preflight import plan_study
from orthoray.evaluation.splitfiles import write_study_splits
from orthoray.evaluation.study import plan_lines, run_study
from orthoray.features.encoders import content_hash
from orthoray.models import create_backbone

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
TINY = {
    "name": "DINOv2",
    "backbone": "vit_tiny_patch16_224",
    "img_size": 32,
    "kwargs": SIZES,
    "published": "its authors",
}
OTHER = {**TINY, "name": "IN-ViT"}


@pytest.fixture
def weights_of(tmp_path):
    """Return a function: seed → a file of random weights."""

    def make(seed):
        torch.manual_seed(seed)
        backbone = create_backbone("vit_tiny_patch16_224", **SIZES)
        file = tmp_path / f"weights{seed}.safetensors"
        save_file({name: value.contiguous() for name, value in backbone.state_dict().items()}, str(file))
        return str(file)

    return make


@pytest.fixture
def weights(weights_of):
    return weights_of(3)


def test_the_three_are_asked_for_and_named(tmp_path):
    config, missing = with_baselines(study_config(tmp_path), str(tmp_path / "baselines"))
    assert list(missing) == ["IN-ViT", "DINOv2", "DINOv3"]
    assert "dinov2" in missing["DINOv2"]
    assert [model.name for model in config.all_models()] == ["pixels", "untrained", "pretrained"]
    assert "IN-ViT, DINOv2, DINOv3. Set baselines.weights.IN-ViT=FILE" in missing_line(missing)
    assert missing_line({}) == ""
    assert with_baselines(study_config(tmp_path, baselines={"candidates": []}), "nowhere")[1] == {}
    assert not (tmp_path / "baselines").exists()


def test_weights_make_a_model_that_is_not_the_candidate(tmp_path, weights):
    baselines = {"candidates": [TINY, OTHER], "weights": {"DINOv2": weights}}
    plain = study_config(tmp_path, pretrain_run=None, models=[{"name": "own", "kind": "checkpoint", "checkpoint": "x"}])
    config, missing = with_baselines(
        plain.model_copy(update={"baselines": study_config(tmp_path, baselines=baselines).baselines}),
        str(tmp_path / "b"),
    )
    assert [model.name for model in config.all_models()] == ["DINOv2", "own"]
    assert config.tested() == plain.tested() == "own"
    assert missing == {"IN-ViT": "its authors"}
    assert (tmp_path / "b" / "DINOv2" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("baselines", "told"),
    [
        ({"weights": {"DINOv1": "x"}}, r"no baseline 'DINOv1'\. Did you mean 'DINOv"),
        (
            {"weights": {"DINOv2": "/no/such/file.pth"}},
            r"DINOv2: no file /no/such/file\.pth; published: .*leave it out",
        ),
        ({"candidates": [{**TINY, "name": "pixels"}]}, "'pixels' is also the name of a model"),
        ({"candidates": "baseline"}, "Did you mean 'baselines'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, baselines, told):
    with pytest.raises(InputError, match=told):
        with_baselines(study_config(tmp_path, baselines=baselines), str(tmp_path / "b"))
    assert not (tmp_path / "b").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_with_one_baseline_given_and_one_missing(ray_session, cohort_of, weights, capsys):
    from orthoray.report.build import build_report

    folder = cohort_of(18)
    baselines = {"candidates": [TINY, OTHER], "weights": {"DINOv2": weights}}
    config = study_config(folder, tasks=["mr_acl"], protocols=["lp"], resamples=100, baselines=baselines)
    plan_lines(config)
    assert not (folder / "out").exists()  # a dry run writes nothing
    out = run_study(config)
    assert "not in the table, as no weights are given: IN-ViT." in capsys.readouterr().out
    assert set(pd.read_parquet(f"{out}/results.parquet")["model"]) == {"pixels", "untrained", "pretrained", "DINOv2"}
    assert "DINOv2" in set(pd.read_parquet(f"{out}/comparisons.parquet")["baseline"])
    facts = storage.read_json(f"{out}/study.json")
    assert (facts["missing_models"], facts["candidate"]) == ({"IN-ViT": "its authors"}, "pretrained")
    assert "IN-ViT: no weights were given" in build_report(out).read_text(encoding="utf-8")
    times = {file: file.stat().st_mtime_ns for file in (folder / "out" / "parts").rglob("*.parquet")}
    run_study(config)
    assert times == {file: file.stat().st_mtime_ns for file in (folder / "out" / "parts").rglob("*.parquet")}


def test_other_weights_make_another_checkpoint_and_the_same_ones_the_same(tmp_path, weights_of):
    def made(file, folder="b"):
        baselines = {"candidates": [TINY], "weights": {"DINOv2": file}}
        config, _ = with_baselines(study_config(tmp_path, baselines=baselines), str(tmp_path / folder))
        return content_hash(str(next(m.checkpoint for m in config.all_models() if m.name == "DINOv2")))

    one, two = weights_of(3), weights_of(4)
    first = made(one)
    assert made(one) == made(one, "elsewhere") == first
    assert made(two) == made(two, "elsewhere") != first
    Path(two).replace(one)  # in its place, under the former name
    assert made(one) != first


@pytest.mark.slow
def test_splits_of_another_study_are_told_before_a_baseline_is_written(cohort_of, weights_of):
    folder = cohort_of(18)
    baselines = {"candidates": [TINY], "weights": {"DINOv2": weights_of(3)}}
    config = study_config(folder, tasks=["mr_acl"], baselines=baselines)
    write_study_splits(config.out, plan_study(config))
    with pytest.raises(InputError, match="Splits are never changed"):
        run_study(config.model_copy(update={"folds": 2}))
    assert not (folder / "out" / "baselines").exists()
