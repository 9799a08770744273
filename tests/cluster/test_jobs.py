"""Jobs on a real head, with the command line as users call it."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

pytestmark = [pytest.mark.ray, pytest.mark.e2e, pytest.mark.slow]

CHECK = """
import platform, subprocess, sys
print("stdlib platform:", platform.python_version())
import orthoray, ray
print("orthoray from", orthoray.__file__)
ray.init()

@ray.remote(num_cpus=0.5)
def look():
    import platform, orthoray
    code = "import platform, orthoray; print(platform.python_version(), orthoray.__file__)"
    child = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    return platform.python_version(), orthoray.__file__, child.stdout + child.stderr

print("task:", *ray.get(look.remote()))
"""
PROGRAM = """
import sys, time
if sys.argv[1] == "exit":
    print("ends with", sys.argv[2])
    sys.exit(int(sys.argv[2]))
count, pause = int(sys.argv[2]), float(sys.argv[3])
for number in range(count):
    print(f"line {number:04d}", flush=True)
    time.sleep(pause)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory whose entry points are small programs; the package is added by the upload."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "jobs").mkdir()
    for name, text in (("report", CHECK), ("ingest", PROGRAM)):
        (folder / "jobs" / f"{name}.py").write_text(text)
    return folder


class Running:
    """A command that goes on in the background and what it has printed so far."""

    def __init__(self, head, log, *arguments, address=None):
        env = head.env | ({"RAY_API_SERVER_ADDRESS": address} if address else {})
        command = [sys.executable, "-m", "orthoray.cli", *map(str, arguments)]
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)

    @property
    def shown(self):
        return self.log.read_text()

    def until(self, text, limit=40):
        """Wait until ``text`` has been printed."""
        end = time.monotonic() + limit
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            assert self.process.poll() is None or text in self.shown, self.shown
            time.sleep(0.1)

    def finish(self, limit=60):
        """Wait for the end; the exit status."""
        return self.process.wait(timeout=limit)


def wait_until(condition, limit, what):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {limit} s"
        time.sleep(0.2)


def test_package_exit_status_and_repetition_of_jobs(head, folder):
    cases = [("report", "x"), ("ingest", "exit", "0"), ("ingest", "exit", "1"), ("ingest", "exit", "2")]
    with ThreadPoolExecutor(4) as pool:
        submitted = [pool.submit(head.orthoray, "submit", "--working-dir", folder, *case) for case in cases]
        done = [item.result() for item in submitted]
    shown = done[0].stdout
    assert done[0].returncode == 0, shown + done[0].stderr
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"stdlib platform: {version}" in shown
    places = re.findall(r"\S+/orthoray/__init__\.py", shown)
    assert len(places) == 3, shown
    assert all("_ray_pkg_" in place for place in places), shown
    assert [item.returncode for item in done[1:]] == [0, 1, 2], [item.stdout + item.stderr for item in done]
    assert "ends with 2" in done[3].stdout
    assert "Traceback" not in "".join(item.stderr for item in done)
    name = done[1].stdout.split(":")[0]
    command = ["--working-dir", folder, *cases[1]]
    repeated = head.orthoray("submit", *command)
    assert repeated.returncode == 0
    assert f"{name}: already finished" in repeated.stdout
    assert "--resubmit" in repeated.stdout
    second = head.orthoray("submit", "--resubmit", *command)
    assert second.returncode == 0
    assert f"{name}-2: finished" in second.stdout


def test_a_job_is_followed_listed_attached_to_stopped_and_tried_again(head, folder, tmp_path):
    command = ["submit", "--working-dir", folder, "ingest", "count", "200", "0.5"]
    first = Running(head, tmp_path / "first", *command)
    first.until("line 0000")
    name = first.shown.split(":")[0]
    second = Running(head, tmp_path / "second", *command)
    second.until("line 0001")
    assert f"{name}: running already; attached to it." in second.shown
    table = head.orthoray("jobs").stdout
    row = next(line for line in table.splitlines() if line.startswith(name))
    pattern = r"RUNNING +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +0:\d\d +python jobs/ingest.py count 200 0.5$"
    assert re.search(pattern, row), table
    second.process.send_signal(signal.SIGINT)
    assert second.finish() == 1
    assert "the job goes on" in second.shown
    assert f"orthoray logs {name}" in second.shown
    third = Running(head, tmp_path / "third", "logs", name)
    third.until("line 0001")
    stopped = head.orthoray("stop", name)
    assert (stopped.returncode, stopped.stdout.strip()) == (0, f"{name}: stopped"), stopped.stderr
    for process in (first, third):
        assert process.finish() == 1
        assert f"{name}: stopped" in process.shown
    again = head.orthoray("stop", name)
    assert again.returncode == 2
    assert "ended already (STOPPED)" in again.stderr
    retried = head.orthoray(command[0], "--no-follow", *command[1:])
    assert retried.returncode == 0, retried.stderr
    assert f"the next attempt is {name}-2" in retried.stdout
    assert head.orthoray("stop", f"{name}-2").returncode == 0


def test_unknown_jobs_and_tokens(head, folder):
    wrong = head.orthoray("logs", "no-such-job")
    assert wrong.returncode == 2
    assert "no such job" in wrong.stderr
    for changes, message in (
        ({"RAY_AUTH_TOKEN": None, "HOME": str(folder)}, "asks for a token"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "refuses the token"),
    ):
        refused = head.orthoray("jobs", **changes)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert head.token not in refused.stderr + refused.stdout


def test_an_unreachable_address_is_reported_soon(head):
    begin = time.monotonic()
    done = head.orthoray("submit", "--address", "http://127.0.0.1:9", "demo", "--out", "/nowhere")
    assert done.returncode == 2
    assert "No Ray cluster answers at http://127.0.0.1:9" in done.stderr
    assert time.monotonic() - begin < 10


class CuttingProxy:
    """Forwards TCP connections to a head until `cut` breaks all that are open."""

    def __init__(self, target):
        host, _, port = target.removeprefix("http://").partition(":")
        self.target = (host, int(port))
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self.open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        """Break all open connections; their number."""
        broken, self.open = self.open, []
        for item in broken:
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
        return len(broken)


def test_a_broken_connection_loses_and_repeats_no_line(head, folder, tmp_path):
    proxy = CuttingProxy(head.address)
    command = ["submit", "--working-dir", folder, "ingest", "count", "40", "0.2"]
    running = Running(head, tmp_path / "log", *command, address=proxy.address)
    try:
        for line in ("line 0005", "line 0020"):
            running.until(line)
            assert proxy.cut() > 0
        status = running.finish()
    finally:
        proxy.server.close()
    assert status == 0, running.shown
    assert re.findall(r"line (\d{4})", running.shown) == [f"{number:04d}" for number in range(40)]


def tiny_dataset(uri, patients=16):
    """A dataset folder of small synthetic films, as ingest would write it."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from orthoray import storage
    from orthoray.data.codec import encode

    rng = np.random.default_rng(0)
    rows = []
    for patient in range(patients):
        for place in range(4):
            pixels = rng.integers(0, 80, (40, 36)).astype(np.uint8)
            pixels[4:10, 4:20] += np.uint8(60 * (patient % 3))
            head = (f"img{patient:04d}-{place}", f"pat{patient:04d}", f"study{patient:04d}", "XR", "png")
            rows.append((*head, encode(pixels, codec="png")))
    names = ["image_id", "patient_id", "study_id", "modality", "codec", "pixels"]
    images = pd.DataFrame(rows, columns=names)
    half = len(images) // 2
    for number, part in enumerate((images[:half], images[half:])):
        storage.write_table(pa.Table.from_pandas(part, preserve_index=False), f"{uri}/images/{number}.parquet")
    index = pa.Table.from_pandas(images.drop(columns="pixels"), preserve_index=False)
    storage.write_table(index, f"{uri}/index.parquet")
    storage.write_json(f"{uri}/manifest.json", {"dataset_id": "ds-jobs", "counts": {"images": len(images)}})


def tiny_config(path, out, steps):
    """A configuration beside the dataset, with relative paths."""
    values = {
        "out": out,
        "data": {"datasets": [{"uri": "dataset"}]},
        "model": {
            "backbone": "vit_tiny_patch16_224",
            "img_size": 32,
            "patch_size": 8,
            "kwargs": {"embed_dim": 32, "depth": 2, "num_heads": 2},
        },
        "head": {"prototypes": 64, "hidden_dim": 32, "bottleneck_dim": 16},
        "crops": {"global_size": 32, "local_size": 16, "n_local": 2},
        "batch_size": 8,
        "steps": steps,
        "log_every_seconds": 0.3,
        "checkpoint": {"every_steps": 10, "every_seconds": 60.0},
        "resources": {"precision": "fp32", "workers": 1},
    }
    path.write_text(yaml.safe_dump(values))


STEPS = 240
"""Steps of the run that is stopped: enough work to be stopped in the middle."""


def history(out):
    file = out / "history.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_zz_pretraining_as_a_job_finishes_and_resumes_after_a_stop(head, tmp_path):
    tiny_dataset(str(tmp_path / "dataset"))
    short = ["out=short", "data.datasets=[{uri: dataset}]", "batch_size=8", "steps=6", "seed=1"]
    done = head.orthoray("submit", "pretrain", "demo_pretrain", *short, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "short"
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert (out / "config.yaml").is_file()
    assert (out / "checkpoint" / "model.safetensors").is_file()
    assert history(out)[-1]["step"] == 6

    tiny_config(tmp_path / "long.yaml", "long", steps=STEPS)
    command = ["submit", "--no-follow", "pretrain", "long.yaml"]
    name = head.orthoray(*command, cwd=tmp_path).stdout.split(":")[0]
    out = tmp_path / "long"
    wait_until((out / "run.json").exists, 60, "its run")
    rival = head.orthoray("submit", "pretrain", "long.yaml", "seed=7", cwd=tmp_path)
    assert rival.returncode == 2
    assert f"Job {name} is running and writes to" in rival.stderr
    wait_until(lambda: (history(out) or [{"step": 0}])[-1]["step"] >= 25, 60, "25 steps")
    assert head.orthoray("stop", name).returncode == 0
    reached = history(out)[-1]["step"]
    assert json.loads((out / "run.json").read_text())["status"] != "finished"
    assert not (out / "checkpoint" / "model.safetensors").exists()
    again = head.orthoray("submit", "pretrain", "long.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"the next attempt is {name}-2" in again.stdout
    assert re.search(r"going on at step [1-9]\d", again.stdout), again.stdout
    steps = [row["step"] for row in history(out)]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS > reached
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert (out / "checkpoint" / "model.safetensors").is_file()
