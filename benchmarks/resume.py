"""Going on with a run of ViT-L/16 and 65,536 prototypes: from a state on disk to a learner that is ready.

The state is written as a run writes it and read as a run reads it, every checksum checked, without help from the page
cache. Building the network counts; starting Ray does not.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import torch

import common
from orthoray.pretrain.config import HeadConfig
from orthoray.pretrain.saver import restore
from orthoray.pretrain.states import new_name, saved_states, write_state
from plain import new_learner, one_process

MOST_SECONDS, STEP = 60.0, 1000
BACKBONE, HEAD = "vit_large_patch16_224", HeadConfig(prototypes=65536)


def main() -> None:
    """Write once, read twice: the page cache empty, then filled."""
    with common.scratch() as folder, one_process(folder):
        config = common.configuration(folder, 10, backbone=BACKBONE, head=HEAD)
        learner = new_learner(config)
        for group in learner.optimiser.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        learner.optimiser.step()
        begin = time.perf_counter()
        state = learner.state() | {"step": STEP}
        copied = time.perf_counter()
        write_state(config.out, new_name(STEP), state)
        written = time.perf_counter()
        file = Path(saved_states(config.out)[0].file)
        print(
            f"state of {file.stat().st_size / 2**30:.1f} GiB: copied in {copied - begin:.0f} s, while training stands;"
        )
        print(f"  written in {written - copied:.0f} s, beside training", flush=True)
        del learner, state
        seconds = [resumed(config, file, cold) for cold in (True, False)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    met = seconds[0] <= MOST_SECONDS
    print(
        f"  ready again in {seconds[0]:.0f} s from disk, in {seconds[1]:.0f} s from the page cache; peak {peak:.1f} GiB"
    )
    print(f"wanted at most {MOST_SECONDS:.0f} s: {'met' if met else 'NOT met'}")
    sys.exit(not met)


def resumed(config: common.PretrainConfig, file: Path, cold: bool) -> float:
    """Seconds from nothing to a learner that holds the state."""
    if cold:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begin = time.perf_counter()
    step, damaged = restore(new_learner(config), config.out)
    assert (step, damaged) == (STEP, [])
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
