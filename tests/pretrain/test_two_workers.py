"""Two workers do together what one does alone, and decide alike."""

import pytest
import torch
from tests.pretrain.two_workers import anchor, work
from torch import multiprocessing

from orthoray.pretrain.learner import MEASURES

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


STRATEGIES = ("ddp", "fsdp2")


@pytest.fixture(scope="module")
def anchored(config_of, tmp_path_factory):
    """With Gram anchoring: what one worker finds alone, and by strategy what each of two finds."""
    out = tmp_path_factory.mktemp("anchored")
    losses = {"gram": {"weight": 2.0, "start": 0.0}}
    configs = [config_of(losses=losses, parallel={"strategy": name}) for name in STRATEGIES]
    anchor(0, 1, str(out / "one"), configs[:1], str(out))
    multiprocessing.spawn(anchor, (2, str(out / "two"), configs, str(out)), nprocs=2)
    (alone,), *both = (torch.load(out / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    return alone, {name: [worker[at] for worker in both] for at, name in enumerate(STRATEGIES)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_gram_teacher_is_shared_out_like_the_teacher(anchored, strategy):
    alone, (mine, theirs) = anchored[0], anchored[1][strategy]
    gram = [[row[MEASURES.index("gram")] for row in found["rows"]] for found in (alone, mine, theirs)]
    assert gram[0][0] == gram[1][0] == 0.0  # nothing to anchor to yet
    assert all(value > 0.0 for value in gram[0][2:])
    means = [(one + other) / 2 for one, other in zip(*gram[1:], strict=True)]
    assert means == pytest.approx(gram[0], rel=1e-3, abs=1e-6)
    for part in ("student", "teacher", "gram"):
        assert mine["state"][part].keys() == alone["state"][part].keys()
        for name, value in alone["state"][part].items():
            torch.testing.assert_close(mine["state"][part][name], value, atol=1e-4, rtol=1e-3, msg=name)
    assert not torch.equal(
        mine["state"]["gram"]["backbone.norm.weight"], mine["state"]["teacher"]["backbone.norm.weight"]
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_with_a_gram_teacher_goes_on_from_its_state(anchored, strategy):
    found = anchored[1][strategy][0]
    assert found["again"] == found["rows"][3:]
    for part in ("student", "teacher", "gram"):
        for name, value in found["state"][part].items():
            assert torch.equal(found["resumed"][part][name], value), name
