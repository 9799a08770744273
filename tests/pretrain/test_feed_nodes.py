"""Where tasks of the feed run in a cluster of two nodes, one of them with a GPU (that Ray believes in)."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = """
import ray
import ray.data
from ray.cluster_utils import Cluster
from orthoray.cluster.session import configure_data
from orthoray.pretrain.feed import preferring

store = {"object_store_memory": 100 << 20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, **store})
plain = cluster.add_node(num_cpus=8, **store)  # with room beside the workers that Ray keeps leased for a while
ray.init(address=cluster.address, log_to_driver=False)
configure_data()

def where(batch):
    return {"node": [ray.get_runtime_context().get_node_id()] * len(batch["id"])}

def nodes(placed):
    numbers = ray.data.range(12, override_num_blocks=12)
    made = numbers.map_batches(where, batch_size=1, num_cpus=1, concurrency=1, **placed)
    return [row["node"] for row in made.take_all()]

placed = preferring(ray.nodes())
print("preferred", nodes(placed).count(plain.node_id))
cluster.remove_node(plain)
print("elsewhere", len(nodes(placed)))
ray.shutdown()
cluster.shutdown()
"""


def test_nodes_without_gpu_come_first_and_are_not_missed():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=240)
    told = dict(line.split() for line in done.stdout.splitlines() if line.startswith(("preferred", "elsewhere")))
    assert done.returncode == 0, done.stderr[-2000:]
    assert told["preferred"] == "12"
    assert told["elsewhere"] == "12"
