"""A pause in Ray Data's scheduling loop.

When every output is full, the loop of Ray 2.60 polls without waiting and keeps one processor busy. Beside a training
loop in the same process it also holds the interpreter lock: pretraining on two processors ran at 38 instead of 95
images a second.
"""

from __future__ import annotations

import time

from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor

PAUSE_S = 0.02


class PacedLoop(ExecutionCallback):
    """Sleeps `PAUSE_S` after every step of the loop: at most 50 steps a second, each of which serves all operators."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Called by Ray Data at each step."""
        time.sleep(PAUSE_S)
