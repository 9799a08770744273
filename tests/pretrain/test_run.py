"""Whole runs as a user starts them: outputs, refusals, a killed worker, Ctrl-C, and resumes that change nothing."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from tests.pretrain.commands import EVERY, STEPS, Command, committed, contents, mlflow_run, run, same, weights
from tests.pretrain.labelled import write_labelled

from orthoray.config import load_config
from orthoray.errors import InputError
from orthoray.models import create_backbone, load_checkpoint
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.monitor import read_history
from orthoray.pretrain.probe_runner import read_probes
from orthoray.pretrain.run import pretrain

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]
FIELDS = {
    *("step", "images_seen", "seconds", "loss", "teacher_entropy", "student_teacher_kl", "feature_std"),
    *("lr", "weight_decay", "teacher_momentum", "teacher_temp", "images_per_second", "data_wait"),
    *("mfu", "mfu_executed"),
    *(
        "grad_norm_backbone",
        "grad_norm_head",
        "prototypes_used",
        "assignment_perplexity",
        "score_spread",
        "centre_norm",
    ),
    *("rankme", "rankme_centred", "rankme_rows"),
}
SOMETIMES = {"position_sensitivity"}


def test_a_finished_run_leaves_everything_it_promises(whole, folder):
    config = load_config(PretrainConfig, whole / "config.yaml")
    given = load_config(PretrainConfig, folder / "config.yaml", [f"out={whole}"])
    assert config == given
    found = json.loads((whole / "run.json").read_text())
    assert (found["status"], found["steps"], found["dataset_ids"]) == ("finished", STEPS, ["ds-tiny"])

    torch.manual_seed(0)
    fresh = create_backbone("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
    before, final = weights(whole / "initial"), weights(whole / "checkpoint")
    assert same(before, fresh.state_dict())
    assert not same(before, final)
    backbone, card = load_checkpoint(str(whole / "checkpoint"))
    assert same(backbone.state_dict(), final)
    assert (card.img_size, card.patch_size, card.feature_dim) == (32, 8, 32)
    origin = card.provenance
    assert (origin.steps, origin.images_seen, origin.dataset_ids, origin.seed) == (STEPS, 8 * STEPS, ["ds-tiny"], 0)
    assert load_config(PretrainConfig, whole / "checkpoint" / "config.yaml") == given
    state = torch.load(whole / "checkpoint" / "trainer" / "state.pt", weights_only=True)
    assert state["step"] == STEPS
    assert {"student", "teacher", "optimiser", "centres"} <= state.keys()
    assert same({f"backbone.{key}": value for key, value in final.items()}, only(state["teacher"], "backbone."))
    assert not same(only(state["student"], "backbone."), only(state["teacher"], "backbone."))

    history = read_history(str(whole))
    assert {frozenset(row.keys() - SOMETIMES) for row in history} == {frozenset(FIELDS)}
    assert history[0]["position_sensitivity"] > 1e-3
    assert [row["step"] for row in history] == list(range(1, STEPS + 1))
    assert [row["images_seen"] for row in history] == [8 * row["step"] for row in history]
    seconds = [row["seconds"] for row in history]
    assert seconds == sorted(seconds)
    peak = 5e-4 * 8 / 256
    assert history[0]["lr"] == pytest.approx(peak / 40)
    assert max(row["lr"] for row in history) == pytest.approx(peak)
    assert all(0 <= row["data_wait"] <= 1 and row["mfu"] > 0 for row in history)

    tracked, logged = mlflow_run(whole)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["head.prototypes"] == "64"
    assert tracked.data.params["resources.precision"] == "fp32"
    assert [(item.step, item.value) for item in logged] == [(row["step"], row["loss"]) for row in history]
    assert set(tracked.data.metrics) == FIELDS - {"step"} | SOMETIMES
    assert (folder / "mlflow.db").is_file()


def only(state, prefix):
    return {key: value for key, value in state.items() if key.startswith(prefix)}


def test_the_same_command_again_does_nothing_and_another_configuration_is_refused(whole, folder):
    before = contents(whole)
    status, shown = run(folder, "config.yaml", "out=whole")
    assert (status, "has finished already" in shown) == (0, True), shown
    assert contents(whole) == before
    # where it runs and how often it saves may differ
    status, shown = run(folder, "config.yaml", "out=whole", "checkpoint.every_steps=7", "resources.threads=2")
    assert status == 0, shown
    changes = ("out=whole", "head.prototypes=32", "optimiser.lr=1e-3", "seed=1")
    status, shown = run(folder, "config.yaml", *changes)
    assert status == 2, shown
    assert "these keys differ: head.prototypes, optimiser.lr, seed." in shown
    assert contents(whole) == before


def test_a_killed_worker_and_ctrl_c_lose_little_and_change_nothing(whole, folder):
    out = folder / "disturbed"
    with Command(folder, "config.yaml", "out=disturbed") as command:
        safe = command.until(lambda: committed(out), "first checkpoint")
        command.worker().kill()
        shown = command.until(lambda: re.search(r"going on at step (\d+)", command.shown), "restart after the kill")
        first = int(shown[1])
        rows = len(mlflow_run(out)[1])
        command.until(lambda: len(mlflow_run(out)[1]) > rows, "step after the restart")
        command.interrupt()
        assert command.finish() == 1, command.shown
        assert "give the same command again to go on" in command.shown
        assert "Traceback" not in command.shown
    assert not (out / "checkpoint").exists()
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    assert mlflow_run(out)[0].info.status == "KILLED"
    reached, kept = read_history(str(out))[-1]["step"], committed(out)
    assert EVERY <= safe <= first <= kept <= reached < STEPS

    status, shown = run(folder, "config.yaml", "out=disturbed")
    assert status == 0, shown
    assert [int(step) for step in re.findall(r"going on at step (\d+)", shown)] == [kept]
    tracked, logged = mlflow_run(out)  # the same MLflow run holds all three attempts
    assert tracked.info.status == "FINISHED"
    steps = [item.step for item in logged]
    later = [*range(first + 1, reached + 1), *range(kept + 1, STEPS + 1)]  # what the second and third attempt logged
    assert steps[-len(later) :] == later
    earliest = steps[: -len(later)]
    assert earliest == list(range(1, len(earliest) + 1))
    assert 0 <= len(earliest) - first < EVERY

    history, undisturbed = read_history(str(out)), read_history(str(whole))
    for name in ("step", "loss", "lr", "teacher_entropy", "feature_std"):
        assert [row[name] for row in history] == [row[name] for row in undisturbed], name
    assert same(weights(out / "checkpoint"), weights(whole / "checkpoint"))
    assert same(weights(out / "initial"), weights(whole / "initial"))
    states = [torch.load(item / "checkpoint" / "trainer" / "state.pt", weights_only=True) for item in (out, whole)]
    assert same(states[0]["student"], states[1]["student"])
    assert torch.equal(states[0]["centres"]["views"], states[1]["centres"]["views"])


def test_two_workers_and_an_end_before_the_final_folder(folder):
    two = ("out=two", "steps=12", "seed=4", "resources.workers=2", "resources.cpus_per_worker=0.5")
    status, shown = run(folder, "config.yaml", *two)
    assert status == 0, shown
    assert "2 worker(s) on cpu, 1 threads each" in shown
    out = folder / "two"
    assert [row["step"] for row in read_history(str(out))][-1] == 12
    final = weights(out / "checkpoint")
    # as if the driver had died after the last checkpoint, before it kept the result
    shutil.rmtree(out / "checkpoint")
    note = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(note | {"status": "running"}))
    status, shown = run(folder, "config.yaml", "out=two", "steps=12", "seed=4")
    assert status == 0, shown
    assert "going on at step 12" in shown
    assert same(weights(out / "checkpoint"), final)
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert [row["step"] for row in read_history(str(out))][-1] == 12


def test_the_best_checkpoint_by_the_probes_is_kept_and_told(folder):
    labelled = write_labelled(folder / "labelled", patients=12, strength=20)
    probes = ("every_steps=6", f"datasets=[{labelled}]", "folds=3", "resamples=50", "cpus=0", "wait_seconds=600")
    status, shown = run(folder, "config.yaml", "out=probed", "steps=18", *(f"probes.{item}" for item in probes))
    assert status == 0, shown
    out = folder / "probed"
    rows = read_probes(str(out))
    assert {row["step"] for row in rows} == {0, 6, 12, 18}  # some may be left out, which is told, but not the first
    means = {row["step"]: row["value"] for row in rows if row.get("task") == "all"}
    best = min(step for step, value in means.items() if value == max(means.values()))
    assert f"best by the probes: step {best}, linear {means[best]:.3f}, mean over the tasks" in shown
    assert re.search(rf"best +{out}/best", shown)
    assert load_checkpoint(f"{out}/best")[1].provenance.steps == best
    assert load_checkpoint(f"{out}/checkpoint")[1].provenance.steps == 18


def test_impossible_runs_are_refused_and_nothing_is_written(folder, config_of, tmp_path):
    before = {item.name for item in folder.iterdir() if not item.name.startswith("log-")}
    status, shown = run(folder, "config.yaml", "out=refused", "crops.local_size=20")
    assert status == 2, shown
    assert "crops.local_size: 20 is not a multiple of the patch size 8" in shown
    assert "give 16 or 24" in shown
    status, shown = run(folder, "config.yaml", "out=refused", "resources.workers=32", "batch_size=32")
    assert status == 2, shown
    assert "resources: 32 worker(s)" in shown
    assert {item.name for item in folder.iterdir() if not item.name.startswith("log-")} == before

    out = tmp_path / "refused"
    with pytest.raises(InputError, match=r"not a dataset \(no such folder\)"):
        pretrain(config_of(dataset=tmp_path / "nowhere", out=out))
    broken = shutil.copytree(folder / "dataset", tmp_path / "broken")
    (broken / "images" / "shard-00000.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"shard-00000\.parquet: damaged"):
        pretrain(config_of(dataset=broken, out=out))
    with pytest.raises(InputError, match="timm knows no"):
        pretrain(config_of(dataset=folder / "dataset", out=out, model__backbone="vit_tinny_patch16_224"))
    assert not out.exists()
    Path(out).mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty, and not a pretraining run"):
        pretrain(config_of(dataset=folder / "dataset", out=out))
    assert contents(out) == {"notes.txt": b"mine"}
