"""Three nodes on this machine, one of which is lost with a worker on it, with or without notice."""

import re
import subprocess
import sys
from pathlib import Path

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

    soon = {"health_check_period_ms": 1000}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": soon})
    for _ in range(2):
        made.add_node(num_cpus=getattr(request, "param", 1))
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def with_a_worker(cluster):
    """A node that has a worker and not the driver's mailbox, and its processes."""
    for node in list(cluster.worker_nodes):
        raylet = psutil().Process(node.all_processes["raylet"][0].process.pid)
        members = raylet.children(recursive=True)
        titles = " ".join(" ".join(item.cmdline()) for item in members)
        if "RayTrainWorker" in titles and "Mailbox" not in titles:
            return node, [raylet, *members]
    raise AssertionError("no node with a worker only")


def lose_a_node(cluster):
    """SIGKILL everything on a node that has a worker and not the driver's mailbox."""
    node, processes = with_a_worker(cluster)
    for item in processes:
        item.kill()
    cluster.remove_node(node, allow_graceful=False)


def announce_the_end(cluster, node, seconds):
    """What a cloud's spot notice makes Ray's autoscaler say."""
    ray = str(Path(sys.executable).with_name("ray"))
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "reclaimed"]
    command = [ray, "drain-node", "--address", cluster.address, "--node-id", node.node_id, *reason]
    subprocess.run([*command, "--deadline-remaining-seconds", str(seconds)], check=True, capture_output=True)


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


def test_a_node_that_gives_notice_costs_no_step(cluster, folder):
    rare = [setting for setting in TWO if not setting.startswith("checkpoint")]
    endless = ("steps=1000000", "checkpoint.every_steps=1000000", "checkpoint.every_seconds=100000")
    with Command(folder, *rare, *endless, "out=warned") as command:
        command.until(lambda: read_history(str(folder / "warned")), "first step")
        announce_the_end(cluster, with_a_worker(cluster)[0], seconds=60)
        note = r"step ([\d,]+): a node is about to be drained, the state is saved"
        saved = command.until(lambda: re.search(note, command.shown), "note")[1].replace(",", "")
        command.until(lambda: committed(folder / "warned"), "state after the notice")
        lose_a_node(cluster)
        cluster.add_node(num_cpus=1)
        first = command.until(lambda: re.search(r"going on at step (\d+)", command.shown), "restart")[1]
        assert first == saved


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
