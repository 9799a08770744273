"""Two processes that share one fine-tuning, as workers of Ray Train do."""

from __future__ import annotations

import multiprocessing

import torch
import torch.distributed as dist

from orthoray.evaluation.finetune.fit import Fit
from orthoray.evaluation.finetune.share import Share
from orthoray.evaluation.finetune.start import start_network


def run_two(checkpoint, task, bags, parts, config, seed, folder):
    """Scores of the test rows and the last loss, from the first of two workers."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (checkpoint, task, bags, parts, config, seed, str(folder / "store"), queue)
    workers = [context.Process(target=_work, args=(rank, *arguments)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = queue.get(timeout=240)
    for worker in workers:
        worker.join()
    return found


def _work(rank, checkpoint, task, bags, parts, config, seed, store, queue):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    network = start_network(checkpoint, "cls+mean", task, config, 0, "cpu")
    outcome = Fit(task, bags, parts, network, config, seed, Share(rank, 2)).run(lambda epoch, values: None)
    if rank == 0:
        queue.put((outcome.scores, outcome.facts["loss"]))
    dist.destroy_process_group()
