"""Large arrays come from memory that the process has already, and it does not grow without end."""

import os
import subprocess
import sys

import pytest

from orthoray.pretrain.training import KEEP_FREED_MEMORY

PROGRAM = """
import random, resource, threading
import torch
random.seed(0)
alive = []
def some_steps():
    for _ in range(120):
        alive.append(torch.ones(random.choice([2**24, 2**23, 5_000_000, 1_000_000, 300_000])))
        if len(alive) > 12:
            alive.pop(random.randrange(12))
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_minflt, use.ru_maxrss
def work():
    first, second, third = some_steps(), some_steps(), some_steps()
    print(third[0] - second[0], third[1] - first[1])
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_pages_are_not_mapped_again_and_memory_does_not_grow():
    def faults_and_growth(**environment):
        command, both = [sys.executable, "-c", PROGRAM], os.environ | environment
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=both)
        return [int(number) for number in done.stdout.split()]

    (kept, growth), (left, _) = faults_and_growth(**KEEP_FREED_MEMORY), faults_and_growth()
    assert kept < left / 10
    assert growth < 200_000  # KiB
