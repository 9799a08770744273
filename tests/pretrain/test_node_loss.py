"""Three nodes on this machine, one of which is lost with a worker on it."""

import re

import pytest
from tests.pretrain.commands import Command, committed, psutil, run, same, weights

from orthoray.pretrain.monitor import read_history

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]
STEPS = 100
TWO = ("config.yaml", "resources.workers=2", "resources.cpus_per_worker=1", "checkpoint.every_steps=20")


@pytest.fixture
def cluster(monkeypatch):
    """A head and two more nodes of one processor each, whose services are processes of their own."""
    from ray.cluster_utils import Cluster

    soon = {"health_check_period_ms": 1000}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": soon})
    for _ in range(2):
        made.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def lose_a_node(cluster):
    """SIGKILL everything on a node that has a worker and not the driver's mailbox."""
    for node in list(cluster.worker_nodes):
        raylet = psutil().Process(node.all_processes["raylet"][0].process.pid)
        members = raylet.children(recursive=True)
        titles = " ".join(" ".join(item.cmdline()) for item in members)
        if "RayTrainWorker" in titles and "Mailbox" not in titles:
            raylet.kill()
            for item in members:
                item.kill()
            cluster.remove_node(node, allow_graceful=False)
            return
    raise AssertionError("no node with a worker only")


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
