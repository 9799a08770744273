"""Probes in Ray tasks beside training: rows, the best checkpoint, and what if nothing is free or a probe fails."""

import json
import shutil
from pathlib import Path

import pytest
from tests.pretrain.labelled import write_backbone, write_labelled

from orthoray.models import load_checkpoint
from orthoray.pretrain.probe_runner import ProbeRunner, read_probes
from orthoray.pretrain.probes import plan_probes
from orthoray.pretrain.settings.probes import ProbesConfig
from orthoray.pretrain.teacher_checkpoint import light_checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled") / "dataset", patients=12)


@pytest.fixture
def runner_for(dataset, tmp_path, ray_session):
    """Return a function: changes of the settings → a runner in a run folder, with what it has logged."""

    def make(**changes):
        values = {"every_steps": 10, "datasets": [dataset], "folds": 3, "resamples": 50, "cpus": 1.0, **changes}
        job, logged = plan_probes(ProbesConfig(**values)), []
        runner = ProbeRunner(str(tmp_path / "run"), job, lambda metrics, step: logged.append((step, metrics)))
        runner.logged = logged
        return runner

    return make


def offered(runner, step, seed=0, dead=False):
    """Write a light checkpoint, offer it and wait."""
    uri = write_backbone(light_checkpoint(runner.run, step), seed=seed, steps=step, dead=dead)
    runner.offer(step, uri)
    runner.finish()
    return Path(uri)


@pytest.fixture
def busy(ray_session):
    """All processors of the session are taken."""
    import ray

    @ray.remote
    class Holder:
        def ready(self):
            return True

    holder = Holder.options(num_cpus=2).remote()
    ray.get(holder.ready.remote())
    yield
    ray.kill(holder)


def test_probes_become_rows_metrics_and_a_best_checkpoint(runner_for, capsys):
    runner = runner_for(patience=2)
    start = write_backbone(Path(runner.run) / "initial", dead=True)
    runner.offer(0, start, keep=True)
    runner.finish()
    first = offered(runner, 10)
    second, third = (offered(runner, step, dead=True) for step in (20, 30))
    rows = read_probes(runner.run)
    assert [(row["step"], row["task"], row["protocol"]) for row in rows] == [
        (step, *key) for step in (0, 10, 20, 30) for key in (("xr_tkr", "knn"), ("xr_tkr", "linear"), ("all", "linear"))
    ]
    assert [row["best"] for row in rows if row["task"] == "all"] == [True, True, False, False]
    assert (Path(start) / "card.json").is_file()
    assert not any(folder.exists() for folder in (first, second, third))
    assert not first.parent.exists()
    assert load_checkpoint(f"{runner.run}/best")[1].provenance.steps == 10
    assert [step for step, _ in runner.logged] == [0, 10, 20, 30]
    value = next(row["value"] for row in rows if (row["step"], row["protocol"]) == (10, "knn"))
    assert runner.logged[1][1]["probe/xr_tkr/knn/auroc"] == value > 0.9
    assert "no better than the one of step 10" in runner.verdict
    assert "probe at step 10: xr_tkr knn" in capsys.readouterr().out


def test_a_resumed_run_knows_what_was_probed_and_which_was_best(runner_for):
    first = runner_for()
    offered(first, 10)
    again = runner_for(patience=1)
    assert (again.best.step, again.best.score) == (10, first.best.score)
    uri = offered(again, 10, dead=True)  # comes by again: not probed, not kept
    assert not uri.exists()
    assert read_probes(again.run) == first.rows
    offered(again, 20, dead=True)
    assert again.verdict is not None
    shutil.rmtree(Path(again.run) / "best")
    assert runner_for().best.step is None  # nothing to go back to: the next one is the best


def test_where_nothing_is_free_a_probe_is_left_out_and_says_so(runner_for, busy, capsys):
    runner = runner_for(wait_seconds=0.0)
    uri = write_backbone(light_checkpoint(runner.run, 10))
    runner.offer(10, uri)
    assert read_probes(runner.run) == [{"step": 10, "skipped": "1 CPU wanted, 0 free"}]
    assert "probe at step 10 left out: 1 CPU wanted, 0 free" in capsys.readouterr().out
    assert not Path(uri).exists()
    assert runner.logged == []


def test_a_probe_that_waits_makes_room_for_the_next_and_reserves_nothing_if_told(runner_for, busy):
    runner = runner_for(wait_seconds=1000.0)
    for step in (10, 20):
        runner.offer(step, write_backbone(light_checkpoint(runner.run, step)))
    assert [(row["step"], "skipped" in row) for row in runner.rows] == [(10, True)]
    free = runner_for(cpus=0.0)
    offered(free, 30)
    assert [row["step"] for row in free.rows if "value" in row] == [30, 30, 30]


def test_a_probe_that_fails_costs_a_line_and_nothing_else(runner_for, capsys):
    runner = runner_for()
    uri = Path(write_backbone(light_checkpoint(runner.run, 10)))
    (uri / "model.safetensors").write_bytes(b"damaged")
    runner.offer(10, str(uri))
    runner.finish()
    (row,) = [json.loads(line) for line in (Path(runner.run) / "probes.jsonl").read_text().splitlines()]
    assert row["step"] == 10
    assert "failed" in row["skipped"]
    assert "damaged" in row["skipped"]
    assert runner.verdict is None
    offered(runner, 20)
    assert runner.best.step == 20
