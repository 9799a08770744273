"""bf16 against fp32: optimisation steps of the same model on the same batches, alternating."""

from __future__ import annotations

import sys
import time

import common
from orthoray.models.precision import PrecisionName, cpu_has_bf16
from orthoray.pretrain.learner import step_values
from plain import batches, new_learner, one_process, train_step

ROUNDS, STEPS = 4, 2
NAMES: tuple[PrecisionName, PrecisionName] = ("bf16", "fp32")


def main() -> None:
    """Measure both precisions in turn; without bf16 instructions there is nothing to measure."""
    if not cpu_has_bf16():
        print("this processor has no bf16 instructions (AVX512-BF16 or AMX-BF16): nothing to compare")
        sys.exit(0)
    figures: dict[str, list[float]] = {name: [] for name in NAMES}
    with common.scratch() as folder, one_process(folder):
        config = common.configuration(folder, STEPS)
        data, learners = batches(config, STEPS), {name: new_learner(config, name) for name in NAMES}
        for number in range(ROUNDS + 1):  # the first round warms up
            for name, learner in learners.items():
                begin = time.perf_counter()
                for step, crops in enumerate(data):
                    train_step(learner, crops, step_values(config, 1e-4, step, STEPS))
                if number:
                    figures[name].append(STEPS * config.batch_size / (time.perf_counter() - begin))
    common.conclude("bf16 over fp32", figures["bf16"], figures["fp32"], least=1.35)


if __name__ == "__main__":
    main()
