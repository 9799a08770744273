"""What is wrong is refused with a remedy; what is merely absent is said on the page."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from orthoray import storage
from orthoray.errors import InputError
from orthoray.report import build_report


def rewrite(study, **changes):
    file = Path(study) / "study.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_not_a_study_folder(tmp_path, made):
    with pytest.raises(InputError, match="no such folder"):
        build_report(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"study.json is missing.*This is a pretraining run"):
        build_report(f"{made.root}/run")
    with pytest.raises(InputError, match="This is a dataset"):
        build_report(f"{made.root}/dataset")


@pytest.mark.parametrize("name", ["results.parquet", "predictions.parquet"])
def test_tables_missing_or_damaged(fresh, name):
    file = Path(fresh.study) / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        build_report(fresh.study)
    file.unlink()
    with pytest.raises(InputError, match="Run `orthoray study` again"):
        build_report(fresh.study)
    assert not (Path(fresh.study) / "report.html").exists()


def test_unfinished_study_is_refused(fresh):
    rewrite(fresh.study, status="running")
    with pytest.raises(InputError, match=r"not finished.*Run `orthoray study` again"):
        build_report(fresh.study)


def test_tables_that_do_not_fit_each_other_are_refused(made, fresh, save):
    facts = {**fresh.facts, "tasks": {k: v for k, v in fresh.facts["tasks"].items() if k != "xr_kl"}}
    storage.write_json(f"{fresh.study}/study.json", facts)
    with pytest.raises(InputError, match="'xr_kl' is not in study"):
        build_report(fresh.study)
    part = made.predictions[(made.predictions["model"] != "pixels") | (made.predictions["task"] != "xr_kl")]
    save(fresh.study, fresh.facts, part)
    with pytest.raises(InputError, match="model 'pixels' has no results on task"):
        build_report(fresh.study)


def test_absent_dataset_run_and_checkpoint_become_notes(fresh):
    models = [
        {**model, "checkpoint": "gone/checkpoint", "pretrain_run": "gone"} if model["kind"] == "checkpoint" else model
        for model in fresh.facts["models"]
    ]
    rewrite(fresh.study, models=models, datasets=[{"uri": "gone/data", "dataset_id": "0" * 40}])
    page = build_report(fresh.study).read_text()
    assert "The pretraining run is no longer where the study read it." in page
    assert "The dataset is not where the study read it" in page
    assert "No images can be shown" in page
    assert "Attention maps are therefore not shown" in page
    assert "Card not found any more" in page
    assert "0" * 13 not in page
    assert "<img" not in page
    assert "On 2 of 3 tasks" in page


def test_another_dataset_at_the_old_place_is_not_shown(fresh):
    rewrite(fresh.study, datasets=[{**fresh.facts["datasets"][0], "dataset_id": "f" * 16}])
    page = build_report(fresh.study).read_text()
    assert "The folder now holds another dataset (d5a7c0ffee12…)" in page
    assert "<img" not in page


def test_overwritten_checkpoint_is_not_shown(fresh):
    models = [{**model, "content": "0" * 32} for model in fresh.facts["models"]]
    rewrite(fresh.study, models=models)
    assert "The checkpoint has been overwritten since the study" in build_report(fresh.study).read_text()


def test_study_without_pretraining(made, fresh, save):
    models = [model for model in fresh.facts["models"] if model["kind"] == "pixels"]
    save(fresh.study, {**fresh.facts, "models": models}, made.predictions[made.predictions["model"] == "pixels"])
    page = build_report(fresh.study).read_text()
    assert "names no pretraining run" in page
    assert "The study holds a single model" in page
    assert "The model has no network" in page


def test_history_with_a_torn_last_line_and_a_resumed_step(tmp_path, fresh):
    run = tmp_path / "run"
    shutil.copytree(Path(fresh.facts["models"][2]["pretrain_run"]), run)
    lines = (run / "history.jsonl").read_text().splitlines()
    lines += [json.dumps({**json.loads(lines[-1]), "images_seen": 77_777}), '{"step": 410, "lo']
    (run / "history.jsonl").write_text("\n".join(lines))
    rewrite(fresh.study, models=[{**model, "pretrain_run": str(run)} for model in fresh.facts["models"]])
    page = build_report(fresh.study).read_text()
    assert "40 log entries, 77,777 images seen in 400 steps" in page


def test_failed_write_leaves_the_old_page(fresh, monkeypatch):
    page = build_report(fresh.study)
    before = page.read_bytes()

    def broken(*_):
        raise OSError(28, "No space left on device")

    rewrite(fresh.study, name="changed")
    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="No space"):
        build_report(fresh.study)
    assert page.read_bytes() == before
    assert [file.name for file in page.parent.iterdir() if file.name.endswith(".tmp")] == []


def test_out_folder_and_remote_uri(made, tmp_path):
    assert build_report(made.study, str(tmp_path / "new" / "folder")) == tmp_path / "new" / "folder" / "report.html"
    assert build_report(made.study, "memory://report-test") == "memory://report-test/report.html"
    assert storage.read_bytes("memory://report-test/report.html").startswith(b"<!DOCTYPE html>")
