"""Two workers find together what one finds with all rows: values, and gradients averaged as parameters' are."""

import pytest
import torch
from tests.pretrain.losses.loss_workers import SPLITS, compute, joint, work
from torch import multiprocessing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two workers finds."""
    out = tmp_path_factory.mktemp("losses")
    multiprocessing.spawn(work, (2, str(out / "init"), str(out)), nprocs=2)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_sums_means_maxima_and_rows_of_all(both):
    for worker in both:
        found = {name: value.tolist() for name, value in worker["plain"].items()}
        assert found == {"sum": [3.0], "mean": [1.5], "max": [2.0, 0.0], "rows": [[0.0, 0.0], [1.0, 1.0]]}


@pytest.mark.parametrize("split", list(SPLITS))
def test_centre_and_sinkhorn_do_not_depend_on_who_has_which_rows(both, split):
    alone = compute(lambda rows: rows)
    for name in ("centre", "chunked_centre", "bias"):
        assert torch.equal(both[0][split][name], both[1][split][name]), name
        torch.testing.assert_close(both[0][split][name], alone[name], atol=1e-6, rtol=1e-6)
    assignment = torch.cat([worker[split]["assignment"] for worker in both])
    torch.testing.assert_close(assignment, alone["assignment"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["koleo", "quartic"])
def test_losses_over_the_rows_of_all_have_one_process_s_value_and_gradient(both, name):
    alone = joint(lambda rows: rows)
    value = torch.stack([worker["joint"][name] for worker in both]).mean()
    torch.testing.assert_close(value, alone[name], atol=1e-6, rtol=1e-6)
    gradient = torch.cat([worker["joint"][f"{name}_gradient"] for worker in both]) / 2
    torch.testing.assert_close(gradient, alone[f"{name}_gradient"], atol=1e-6, rtol=1e-5)
