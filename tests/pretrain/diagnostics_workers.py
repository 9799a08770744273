"""What one of several workers measures on its share of the teacher's answers."""

from __future__ import annotations

import torch
import torch.distributed as dist

from orthoray.pretrain.diagnostics import Diagnostics

ROWS, PROTOTYPES, WIDTH, STEPS = 12, 16, 6, 5


def answers(step):
    """Targets (ROWS, PROTOTYPES), scores of that shape and tokens (ROWS, WIDTH) of a step."""
    random = torch.Generator().manual_seed(step)
    scores = torch.randn(ROWS, PROTOTYPES, generator=random)
    return torch.softmax(scores * 4, dim=-1), scores, torch.randn(ROWS, WIDTH, generator=random)


def work(rank, world, init_file, out):
    """The row of worker ``rank`` of ``world``, to ``out``/``world``-``rank``.pt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=world)
    try:
        watch = Diagnostics(PROTOTYPES, WIDTH, torch.device("cpu"), window=3, rows=64)
        for step in range(STEPS):
            watch.add(*(part.chunk(world)[rank] for part in answers(step)))
        torch.save(watch.row(torch.full((1, PROTOTYPES), 0.5)), f"{out}/{world}-{rank}.pt")
    finally:
        dist.destroy_process_group()
