"""A whole run against the same steps on data in memory: same workers, same model, but batches that are there already.

What is left between the two is what feeding costs: reading Parquet, decoding, cutting, handing over. The share of the
time in which a worker waited for its batch is told too.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch

import common
from orthoray.config import load_config, to_yaml
from orthoray.pretrain import worker
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.run import pretrain
from training import make_dataset

ROUNDS, STEPS, SKIP = 6, 24, 6
LEAST, MOST_WAIT = 0.97, 0.03


def main() -> None:
    """Alternate rounds of both, each in a process of its own."""
    if len(sys.argv) == 3:
        one_run(*sys.argv[1:])
        return
    rates: dict[str, list[float]] = {"feed": [], "memory": []}
    waits = []
    with common.scratch() as folder:
        make_dataset(folder, common.films(96))
        for number in range(ROUNDS):
            for kind in ("feed", "memory") if number % 2 else ("memory", "feed"):
                rate, wait = measured(folder, kind, number)
                rates[kind].append(rate)
                waits += [wait] if kind == "feed" else []
            last = {kind: round(values[-1], 2) for kind, values in rates.items()}
            print(f"  round {number + 1}: {last} img/s, waiting {waits[-1]:.1%}", flush=True)
    met = common.ratio("end to end over data in memory", rates["feed"], rates["memory"], LEAST, "img/s")
    wait = statistics.median(waits)
    print(f"waiting for data: {wait:.1%} of the time, wanted at most {MOST_WAIT:.0%}")
    sys.exit(not met or wait > MOST_WAIT)


def measured(folder: str, kind: str, number: int) -> tuple[float, float]:
    """Images per second, and the share of the time spent waiting, after `SKIP` steps."""
    config = common.configuration(folder, STEPS, out=f"{folder}/{kind}{number}")
    file = Path(folder, f"{kind}{number}.yaml")
    file.write_text(to_yaml(config))
    done = subprocess.run([sys.executable, __file__, kind, str(file)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stdout}{done.stderr}")
    rows = common.history_from(config.out, SKIP)
    waited = sum(row["data_wait"] * (row["seconds"] - last["seconds"]) for last, row in pairwise(rows))
    return common.rate_of(rows), waited / (rows[-1]["seconds"] - rows[0]["seconds"])


def one_run(kind: str, file: str) -> None:
    """Pretrain; with ``memory`` every worker repeats crops that it has made up."""
    if kind == "memory":
        worker.train = in_memory
    pretrain(load_config(PretrainConfig, Path(file)))


def in_memory(loop_config: dict[str, worker.Job]) -> None:
    """The training loop of a worker without a feed."""
    from orthoray.pretrain import worker as own

    own.local_batches = lambda job, share, first: repeated(job, share.batch // share.world)
    own._train(loop_config["job"])


def repeated(job: worker.Job, count: int) -> Iterator[worker.Batch]:
    """Endlessly the same few batches of noise."""
    import numpy as np

    from orthoray.pretrain.worker import Batch

    crops, generator = job.config.crops, torch.Generator().manual_seed(0)

    def noise(number: int, side: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, number, side, side), generator=generator, dtype=torch.uint8)

    made = [
        Batch(
            noise(crops.n_global, crops.global_size),
            noise(crops.n_local, crops.local_size),
            torch.zeros(count, dtype=torch.uint8),
            np.arange(count),
        )
        for _ in range(4)
    ]
    while True:
        yield from made


if __name__ == "__main__":
    main()
