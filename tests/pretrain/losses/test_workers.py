"""Without a process group this process is the only worker."""

import torch

from orthoray.pretrain.losses.workers import (
    gather_rows,
    max_over_workers,
    mean_over_workers,
    rank,
    sum_over_workers,
    world,
)


def test_one_process_alone():
    assert (world(), rank()) == (1, 0)
    for function in (sum_over_workers, max_over_workers, mean_over_workers):
        assert function(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
    rows = torch.rand(3, 2, requires_grad=True)
    gather_rows(rows).square().sum().backward()
    assert torch.equal(rows.grad, 2 * rows.detach())
