"""What one of several workers computes of the losses from its share of a batch, and one alone from all of it."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.nn.functional import normalize

from orthoray.pretrain.losses.chunked_targets import sinkhorn_bias, update_centre
from orthoray.pretrain.losses.dino import Centre
from orthoray.pretrain.losses.koleo import koleo_loss
from orthoray.pretrain.losses.sinkhorn import sinkhorn_knopp
from orthoray.pretrain.losses.workers import gather_rows, max_over_workers, mean_over_workers, sum_over_workers

ROWS, PROTOTYPES, WIDTH = 12, 19, 5
SPLITS = {"even": [6, 6], "uneven": [9, 3], "none": [0, 12]}
"""Rows of each worker; KoLeo and gathering need the same number on all."""


def numbers(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def compute(own):
    """``own``: all rows → a worker's rows. Everything that must not depend on how rows are split."""
    bottlenecks, prototypes = (normalize(numbers(n, WIDTH, seed=n), dim=-1) for n in (ROWS, PROTOTYPES))
    mine = own(bottlenecks)
    scores = mine @ prototypes.t()
    dense, chunked = (Centre(PROTOTYPES, 0.9, torch.device("cpu")) for _ in range(2))
    for scale in (1.0, 0.3):
        dense.update(scale * scores)
        update_centre(chunked, scale * mine, prototypes)
    return {
        "centre": dense.value,
        "chunked_centre": chunked.value,
        "assignment": sinkhorn_knopp(scores, 0.05),
        "bias": sinkhorn_bias(mine, prototypes, 0.05, chunk=40),
    }


def joint(own):
    """KoLeo and another function of gathered rows, with the gradients of a worker's own rows."""
    found = {}
    for name, loss in {"koleo": koleo_loss, "quartic": _quartic}.items():
        mine = own(numbers(ROWS, WIDTH, seed=7)).clone().requires_grad_()
        value = loss(mine)
        (gradient,) = torch.autograd.grad(value, mine)
        found[name] = value.detach()
        found[f"{name}_gradient"] = gradient
    return found


def _quartic(rows):
    return (rows @ gather_rows(rows).t()).square().mean()


def work(rank, world, init_file, out):
    """What worker ``rank`` finds goes to ``out``/``rank``.pt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=world)
    try:
        found = {name: compute(lambda rows, sizes=sizes: rows.split(sizes)[rank]) for name, sizes in SPLITS.items()}
        found["joint"] = joint(lambda rows: rows.chunk(world)[rank])
        found["plain"] = {
            "sum": sum_over_workers(torch.tensor([1.0 + rank])),
            "mean": mean_over_workers(torch.tensor([1.0 + rank])),
            "max": max_over_workers(torch.tensor([1.0 + rank, -rank])),
            "rows": gather_rows(torch.full((1, 2), float(rank))),
        }
        torch.save(found, f"{out}/{rank}.pt")
    finally:
        dist.destroy_process_group()
