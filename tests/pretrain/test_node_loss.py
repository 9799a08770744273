"""Three nodes on this machine, one of which is lost, or is told that it will be taken away, with a worker on it."""

import re
import signal
import subprocess
import sys

import pytest
from tests.pretrain.commands import Command, committed, psutil, run, same, weights

from orthoray.pretrain.monitor import read_history

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]
STEPS = 100
TWO = ("config.yaml", "resources.workers=2", "resources.cpus_per_worker=1", "checkpoint.every_steps=20")


@pytest.fixture
def cluster(request, monkeypatch):
    """A head of one processor and two more nodes of as many as asked for, whose services are processes of their own."""
    from ray.cluster_utils import Cluster

    monkeypatch.delenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", raising=False)  # a local session of other tests sets it
    soon = {"health_check_period_ms": 1000}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": soon})
    for _ in range(2):
        made.add_node(num_cpus=getattr(request, "param", 1))
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def processes_of(node):
    """The raylet of a node with all that it has started, and their titles."""
    raylet = psutil().Process(node.all_processes["raylet"][0].process.pid)
    members = raylet.children(recursive=True)
    return [raylet, *members], " ".join(" ".join(item.cmdline()) for item in members)


def with_a_worker(cluster):
    """A node that has a worker and not the driver's mailbox, and its processes."""
    for node in list(cluster.worker_nodes):
        members, titles = processes_of(node)
        if "RayTrainWorker" in titles and "Mailbox" not in titles:
            return node, members
    raise AssertionError("no node with a worker only")


def listening(cluster):
    """Has Ray Train's actor begun that looks for notices? On a node that is being drained it would never begin."""
    return any("PreemptionWatcher" in processes_of(node)[1] for node in cluster.list_all_nodes())


def lose_a_node(cluster):
    """SIGKILL everything on a node that has a worker and not the driver's mailbox."""
    node, processes = with_a_worker(cluster)
    for item in processes:
        item.kill()
    cluster.remove_node(node, allow_graceful=False)


def test_a_lost_node_is_replaced_and_the_run_goes_on_identically(cluster, folder):
    status, shown = run(folder, *TWO, f"steps={STEPS}", "out=calm")
    assert status == 0, shown
    calm, out = folder / "calm", folder / "bereft"
    with Command(folder, *TWO, f"steps={STEPS}", "out=bereft") as command:
        command.until(lambda: committed(out), "first state")
        lose_a_node(cluster)
        cluster.add_node(num_cpus=1)
        assert command.finish() == 0, command.shown
        shown = command.shown
    (first,) = re.findall(r"going on at step (\d+)", shown)
    assert 0 < int(first) < STEPS
    history, undisturbed = read_history(str(out)), read_history(str(calm))
    for name in ("step", "images_seen", "loss", "lr", "teacher_entropy", "feature_std"):
        assert [row[name] for row in history] == [row[name] for row in undisturbed], name
    assert same(weights(out / "checkpoint"), weights(calm / "checkpoint"))


def announce(cluster, node):
    """Tell Ray that a node will be taken away, as a provider of spot machines does."""
    notice = (
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        "spot",
        "--deadline-remaining-seconds",
        "3600",
    )
    script = "from ray.scripts.scripts import main; main()"
    command = [sys.executable, "-c", script, "drain-node", "--address", cluster.address, "--node-id", node.node_id]
    done = subprocess.run([*command, *notice], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_node_s_notice_saves_the_state_and_the_run_goes_on_from_that_very_step(cluster, folder, dataset_folder):
    out = folder / "noticed"
    dataset_folder(folder / "many", files=((128, 128),))
    data = ("data.datasets=[{uri: many}]", "data.shuffle_window=256")
    endless = ("steps=50000", "checkpoint.every_steps=50000", "log_every_seconds=0.05")
    with Command(folder, *TWO, *data, *endless, "out=noticed") as command:
        command.until(lambda: (out / "history.jsonl").is_file() and read_history(str(out)), "first row")
        command.until(lambda: listening(cluster), "look for notices")
        assert committed(out) == 0
        node, processes = with_a_worker(cluster)
        announce(cluster, node)
        saved = command.until(lambda: committed(out), "state on notice")
        cluster.add_node(num_cpus=1)
        for item in processes:
            item.kill()
        cluster.remove_node(node, allow_graceful=False)
        (first,) = command.until(lambda: re.findall(r"going on at step (\d+)", command.shown), "second start")
        assert int(first) == saved
        command.until(lambda: read_history(str(out))[-1]["step"] > saved, "row after it")
        command.process.send_signal(signal.SIGTERM)
        assert command.finish() == 1, command.shown
    assert committed(out) > saved


@pytest.mark.parametrize("cluster", [2], indirect=True)  # the head has none to spare for a worker, but for the feed
def test_a_run_that_may_shrink_goes_on_with_the_workers_that_are_left(cluster, folder):
    out, fewer = folder / "shrunk", ("resources.cpus_per_worker=2", "resources.least_workers=1")
    with Command(folder, *TWO, *fewer, f"steps={2 * STEPS}", "out=shrunk") as command:
        command.until(lambda: committed(out), "first state")
        lose_a_node(cluster)
        assert command.finish() == 0, command.shown
        shown = command.shown
    assert re.findall(r"(\d) worker\(s\) on cpu", shown) == ["2", "1"]
    history = read_history(str(out))
    assert {row["images_seen"] / row["step"] for row in history} == {8.0}  # the batch stays the same
    assert history[-1]["step"] == 2 * STEPS
