"""Two workers do together what one does alone, and decide alike."""

import pytest
import torch
from tests.pretrain.two_workers import work
from torch import multiprocessing

pytestmark = pytest.mark.slow


CENTRINGS = ("centre", "sinkhorn_knopp")


@pytest.fixture(scope="module")
def runs(config_of, tmp_path_factory):
    """Per centring: what one worker finds alone, and what each of two finds."""
    out = tmp_path_factory.mktemp("workers")
    configs = [config_of(teacher__centring=name) for name in CENTRINGS]
    work(0, 1, str(out / "one"), configs, str(out))
    multiprocessing.spawn(work, (2, str(out / "two"), configs, str(out)), nprocs=2)
    alone, *both = (torch.load(out / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    return {name: (alone[at], [worker[at] for worker in both]) for at, name in enumerate(CENTRINGS)}


@pytest.fixture(params=CENTRINGS)
def found(request, runs):
    return runs[request.param]


def test_the_weights_are_those_of_one_worker_with_the_whole_batch(found):
    alone, both = found
    for part in ("student", "teacher"):
        for key, value in alone[part].items():
            assert torch.equal(both[0][part][key], both[1][part][key]), key
            torch.testing.assert_close(both[0][part][key], value, atol=1e-4, rtol=1e-4)
    assert torch.equal(both[0]["centre"], both[1]["centre"])
    torch.testing.assert_close(both[0]["centre"], alone["centre"], atol=1e-5, rtol=1e-4)


def test_a_row_holds_the_means_over_all_workers(found):
    alone, both = found
    for name in ("loss", "entropy"):
        assert both[0][name] == both[1][name] == pytest.approx(alone[name], rel=1e-4)


def test_workers_log_save_and_give_up_together(found):
    _, both = found
    assert both[0]["due"] == both[1]["due"]
    logged, saved = ([step for step, due in enumerate(both[1]["due"]) if due[kind]] for kind in range(2))
    assert logged == [0, 4, 8, 9]  # agreed upon at 0 and 8, saved after five steps, and the last step
    assert saved == [4, 9]
    assert all("not finite at step 4" in item["error"] for item in both)
