"""What is measured, when it is logged and saved, and what the driver makes of it."""

import inspect
import itertools
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from orthoray import storage
from orthoray.data.dataset import Dataset
from orthoray.errors import RunError
from orthoray.pretrain import meter as module
from orthoray.pretrain import waiting as waiting_module
from orthoray.pretrain.costs import StepFlops
from orthoray.pretrain.divergence import Recent, is_sound
from orthoray.pretrain.learner import StepValues
from orthoray.pretrain.meter import Meter, Pace, meter_for
from orthoray.pretrain.monitor import Mailbox, Monitor, read_history
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.probe_runner import ProbeRunner
from orthoray.pretrain.waiting import DeviceWaiting
from orthoray.progress import Progress
from orthoray.tracking import Tracker

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
VALUES = StepValues(1e-3, 0.04, 0.996, 0.05, False, True)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = SimpleNamespace(seconds=100.0)
    read = lambda: now.seconds  # noqa: E731
    for each in (module, waiting_module):
        monkeypatch.setattr(each, "time", SimpleNamespace(perf_counter=read, monotonic=read))
    return now


def test_a_row_holds_means_speed_waiting_and_use_of_the_device(clock):
    meter = Meter(batch=8, flops=StepFlops(0.5e9, 1.25e9, 0.25e9, executed=3e9), peak=1e12)
    for loss, wait, work in ((2.0, 0.5, 1.0), (4.0, 0.25, 0.75), (6.0, 0.25, 1.25)):
        with meter.waiting():
            clock.seconds += wait
        clock.seconds += work
        meter.add(torch.tensor([loss, 1.0, loss - 1, 0.3, 0.0, 0.0, 0.0]))
    row = meter.row(13, VALUES)
    scheduled = {"lr": 1e-3, "weight_decay": 0.04, "teacher_momentum": 0.996, "teacher_temp": 0.05}
    means = {"loss": 4.0, "teacher_entropy": 1.0, "student_teacher_kl": 3.0, "feature_std": pytest.approx(0.3)}
    speed = {
        "images_per_second": 6.0,
        "data_wait": 0.25,
        "mfu": pytest.approx(0.012),
        "mfu_executed": pytest.approx(0.018),
    }
    assert row == {"step": 13, "images_seen": 104, "seconds": 4.0, **means, **scheduled, **speed}
    with meter.waiting():
        clock.seconds += 2.0
    meter.add(torch.tensor([9.0, 1.0, 8.0, 0.3, 0.0, 0.0, 0.0]))
    second = meter.row(14, VALUES)  # a new interval: nothing of the last one is left
    assert (second["loss"], second["seconds"], second["data_wait"]) == (9.0, 2.0, 1.0)
    with pytest.raises(RuntimeError, match="no step"):
        meter.row(15, VALUES)


class Device:
    """A device with a queue: work and events are reached in order, and not before the host has given them."""

    def __init__(self, clock):
        self.clock, self.free_at = clock, clock.seconds

    def work(self, seconds):
        self.free_at = max(self.free_at, self.clock.seconds) + seconds

    def event(self):
        event = SimpleNamespace()
        event.record = lambda: setattr(event, "at", max(self.free_at, self.clock.seconds))
        event.elapsed_time = lambda later: 1000.0 * (later.at - event.at)
        return event


@pytest.mark.parametrize(
    ("host_waits", "device_waits"),
    [(0.0, 0.0), (0.9, 0.0), (1.0, 0.0), (1.25, 0.25)],  # of a device that works for a second a step
)
def test_a_device_that_still_works_does_not_wait_however_long_the_host_does(clock, host_waits, device_waits):
    device = Device(clock)
    meter = Meter(batch=8, waiting=DeviceWaiting(device.event))
    device.work(1.0)
    for _ in range(4):
        with meter.waiting():
            clock.seconds += host_waits
        device.work(1.0)
        meter.add(torch.ones(7))
    clock.seconds = device.free_at  # reading the measures waits for the device
    row = meter.row(4, VALUES)
    assert row["data_wait"] * row["seconds"] == pytest.approx(4 * device_waits)


def test_an_unknown_peak_gives_no_invented_use_of_the_device(clock):
    meter = Meter(batch=8, flops=StepFlops(student=2e9, executed=2e9), peak=0.0)
    meter.add(torch.ones(7))
    clock.seconds += 1.0
    row = meter.row(1, VALUES)
    assert (row["mfu"], row["mfu_executed"]) == (0.0, 0.0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_even_if_only_one_step_had_it(loss, clock):
    meter = Meter(batch=8)
    for value in (1.0, loss, 1.0):
        clock.seconds += 1.0
        meter.add(torch.tensor([value, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    with pytest.raises(RunError, match=r"not finite at step 40.*Lower optimiser\.lr"):
        meter.row(40, VALUES)


def forward(patches, d=32, mlp=128):
    """FLOPs of a forward pass of the tiny ViT (two blocks, patch 8, one channel), written out."""
    n = patches + 1
    return 2 * (8 * n * d * d + 4 * n * n * d + 4 * n * d * mlp) + 2 * patches * 64 * d


def pixel_gradient(patches, d=32):
    """Of the patch embedding towards the pixels, which nominal FLOPs count and nobody computes."""
    return 2 * patches * 64 * d


HEAD = 2 * (32 * 32 + 32 * 32 + 32 * 16 + 16 * 64)


def meter_of(config):
    return meter_for(config, SimpleNamespace(device=CPU), SimpleNamespace(dtype=torch.float32))


def test_the_cost_of_an_image_is_that_of_teacher_and_student(config_of):
    flops = meter_of(config_of()).flops
    assert flops.nominal == 4 * 2 * forward(16) + 3 * 2 * forward(4) + (2 + 3 * 4) * HEAD
    assert flops.executed == flops.nominal - 2 * pixel_gradient(16) - 2 * pixel_gradient(4)
    assert meter_of(config_of()).peak > 1e8


def test_what_is_computed_again_is_executed_and_not_nominal(config_of):
    plain, again = (meter_of(config_of(parallel__recompute=every)).flops for every in ("none", "full"))
    last_layer = 2 * 2 * (2 * (17 + 5)) * 128 * 32  # whose output no gradient needs: FLOPs of it in both blocks
    blocks = 2 * (forward(16) - pixel_gradient(16) + forward(4) - pixel_gradient(4))
    assert again.nominal == plain.nominal
    assert again.executed - plain.executed == blocks - last_layer


def test_other_workers_leave_the_counting_to_rank_0(config_of, monkeypatch):
    monkeypatch.setattr(module, "rank", lambda: 1)
    assert meter_of(config_of()).flops == StepFlops()


def test_when_a_row_is_logged_and_the_state_saved(clock):
    pace = Pace(log_seconds=2.0, save_seconds=60.0, save_steps=10, first=4)
    neither, logged, both = (False, False), (True, False), (True, True)
    assert pace.due(4, last=False, device=CPU) == logged  # the first step of a session shows at once
    assert pace.due(5, last=False, device=CPU) == neither
    clock.seconds += 1.9
    assert pace.due(6, last=False, device=CPU) == neither
    clock.seconds += 0.1
    assert pace.due(7, last=False, device=CPU) == logged
    assert pace.due(8, last=False, device=CPU) == neither
    assert pace.due(9, last=False, device=CPU) == both  # after ten steps
    pace.saved()
    assert pace.due(10, last=False, device=CPU) == neither
    clock.seconds += 60.0
    assert pace.due(11, last=False, device=CPU) == both  # after a minute
    pace.saved()
    assert pace.due(12, last=False, device=CPU) == neither
    assert pace.due(13, last=True, device=CPU) == both


def row(step, seconds=1.0, loss=3.0, feature_std=0.3):
    names = {"lr": 1e-3, "teacher_entropy": 2.0, "data_wait": 0.1, "mfu": 0.2, "mfu_executed": 0.3}
    common = {"step": step, "images_seen": 8 * step, "seconds": seconds, "loss": loss, "feature_std": feature_std}
    return common | names


def start(step):
    return {"kind": "start", "step": step, "pid": 123, "text": "1 worker(s) on cpu"}


def test_without_a_file_there_is_no_history(tmp_path):
    assert read_history(str(tmp_path)) == []


@pytest.mark.ray
@pytest.mark.slow
def test_history_goes_back_to_the_step_of_a_resume_and_holds_no_step_twice(tmp_path, ray_session, capsys):
    out = str(tmp_path / "run")
    earlier = [row(step, seconds=10.0 * step) for step in (2, 4, 6, 8)]
    storage.write_bytes(f"{out}/history.jsonl", "".join(json.dumps(item) + "\n" for item in earlier).encode())
    mailbox = Mailbox.remote()

    def tell(*events):
        import ray

        ray.get([mailbox.put.remote(event) for event in events])

    with Tracker(out, "pretrain", {"seed": 1}) as tracker:
        with Monitor(out, mailbox, tracker, images=160, batch=8) as monitor:
            assert read_history(out) == monitor.history == earlier
            tell(start(4), *({"kind": "row", "row": row(step, loss=step / 2)} for step in (6, 8, 10, 12)))
            # the worker is killed; its successor goes on from the checkpoint of step 8, and the images look alike
            again = [{"kind": "row", "row": row(step, seconds=0.5, feature_std=0.001)} for step in (10, 12, 14)]
            tell(start(8), *again, {"kind": "fatal", "message": "the loss is not finite"})
        kept = tracker.client.get_metric_history(tracker.run_id, "loss")
    history = read_history(out)
    assert [item["step"] for item in history] == [2, 4, 6, 8, 10, 12, 14]
    assert [item["seconds"] for item in history] == [20.0, 40.0, 41.0, 42.0, 42.5, 43.0, 43.5]
    assert [item["loss"] for item in history[2:]] == [3.0, 4.0, 3.0, 3.0, 3.0]
    assert monitor.fatal == "the loss is not finite"
    assert monitor.worker_pid == 123
    assert [item.step for item in sorted(kept, key=lambda item: item.timestamp)][-1] == 14
    assert {item.step for item in kept} == {6, 8, 10, 12, 14}
    shown = capsys.readouterr().out
    assert "going on at step 4" in shown
    assert "going on at step 8" in shown


@pytest.mark.ray
@pytest.mark.slow
def test_what_cannot_be_recorded_is_told_at_the_end_and_hides_no_fatal_message(tmp_path, ray_session, capsys):
    import ray

    out = tmp_path / "run"

    def watch(*events):
        mailbox = Mailbox.remote()
        monitor = Monitor(str(out), mailbox, tracker, images=160, batch=8)
        (out / "history.jsonl").mkdir()  # in the way of the file
        try:
            with monitor:
                ray.get([mailbox.put.remote(event) for event in events])
        finally:
            (out / "history.jsonl").rmdir()
        return monitor

    with Tracker(str(out), "pretrain", {}) as tracker:
        with pytest.raises(IsADirectoryError):
            watch({"kind": "row", "row": row(2)})
        monitor = watch({"kind": "row", "row": row(2)}, {"kind": "fatal", "message": "diverged"})
    assert monitor.fatal == "diverged"
    assert capsys.readouterr().out.count("progress cannot be recorded (IsADirectoryError)") == 2


@pytest.mark.ray
@pytest.mark.slow
def test_a_diverged_run_fails_with_advice_and_is_failed_in_mlflow_too(tiny_dataset, config_of, tmp_path, ray_session):
    from mlflow import MlflowClient

    from orthoray.pretrain.run import pretrain

    out = tmp_path / "run"
    changes = {"optimiser": {"lr": 1e30, "warmup": 0.0}, "log_every_seconds": 0.001}
    config = config_of(dataset=tiny_dataset, out=out, **changes)
    with pytest.raises(RunError, match=r"not finite at step \d.*peak learning rate 1.0e\+30 is .* times.*failed_batch"):
        pretrain(config)
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    assert not (out / "checkpoint").exists()
    assert all(item["loss"] < 100 for item in read_history(str(out)))
    note = json.loads((out / "mlflow_run.json").read_text())
    assert MlflowClient(note["tracking_uri"]).get_run(note["run_id"]).info.status == "FAILED"
    (part,) = json.loads((out / "failed_batch.json").read_text())
    assert part["rank"] == 0
    mixture = Mixture(config.data, config.seed)
    (order,) = [mixture.order(window) for window in mixture.windows(part["step"] * 8, (part["step"] - 1) * 8)]
    rows = [mixture.groups[group].first + row for group, row in order]
    images = Dataset(str(tiny_dataset)).index()
    assert [image["image_id"] for image in part["images"]] == [images["image_id"][row] for row in rows]
    assert {image["file"].rpartition("/")[2] for image in part["images"]} <= {f"shard-0000{n}.parquet" for n in (0, 1)}


def test_a_wall_clock_that_jumps_moves_no_interval(monkeypatch):
    jumps = itertools.cycle([0.0, 1e9, -1e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    pace = Pace(log_seconds=3600.0, save_seconds=3600.0, save_steps=10**9, first=0)
    assert [pace.due(step, last=False, device=CPU) for step in range(1, 7)] == [(False, False)] * 6
    meter, bar = Meter(batch=8), Progress(100, "pretraining")
    for _ in range(6):
        meter.add(torch.ones(7))
        bar.advance()
    assert 0 < meter.row(6, VALUES)["seconds"] < 60
    assert bar.rate > 0
    probes = inspect.signature(ProbeRunner).parameters["clock"].default
    assert probes is time.monotonic


def test_the_first_step_that_failed_names_its_images():
    recent, good = Recent(), torch.ones(7)
    bad = good.clone()
    bad[1] = float("inf")
    for step, measures in ((11, good), (12, bad), (13, bad * 0.0)):
        recent.add(step, measures, np.array([step, 2 * step]))
    assert recent.culprit() == {"step": 12, "rank": 0, "rows": [12, 24]}
    recent.clear()
    assert recent.culprit() is None
    recent.add(14, good, np.array([5]))  # all finite, but for the gradients
    assert recent.culprit() == {"step": 14, "rank": 0, "rows": [5]}
    assert is_sound({"loss": 1.0, "grad_norm_head": 2.0})
    assert not is_sound({"loss": 1.0, "grad_norm_head": float("nan")})
