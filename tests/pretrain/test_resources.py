"""What "auto" resources become, and what is refused."""

import pytest

from orthoray.config import parse_config
from orthoray.errors import InputError
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.resources import LEAST_CPUS, MOST_WORKERS, resolve_resources


def config(batch, **resources):
    values = {"out": "run", "data": {"datasets": [{"uri": "d"}]}, "steps": 1, "batch_size": batch}
    return parse_config(PretrainConfig, values | {"resources": resources}, "test")


@pytest.mark.parametrize(
    ("batch", "cpus", "gpus", "workers"),
    [(16, 2, 0, 2), (16, 64, 0, MOST_WORKERS), (9, 2, 0, 1), (9, 8, 0, 3), (2, 8, 0, 1), (16, 8, 2, 1)],
)
def test_auto_shares_the_batch_evenly_and_leaves_a_place_for_the_feed(batch, cpus, gpus, workers):
    made = resolve_resources(config(batch), cpus, gpus)
    assert made.workers == workers
    assert made.workers * made.cpus_per_worker + 1 <= cpus
    assert made.gpu is (gpus > 0)


def test_what_is_given_stays():
    made = resolve_resources(config(16, workers=1, cpus_per_worker=0.5, gpu=False), 4, 1)
    assert (made.workers, made.cpus_per_worker, made.gpu) == (1, 0.5, False)


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus"),
    [({"workers": 8}, 2, 0), ({"workers": 2, "cpus_per_worker": 1.0}, 2, 0), ({}, 1, 0), ({"gpu": True}, 8, 0)],
)
def test_a_run_that_would_wait_for_ever_is_refused(resources, cpus, gpus):
    with pytest.raises(InputError, match="resources"):
        resolve_resources(config(16, **resources), cpus, gpus)


def test_auto_never_reserves_next_to_nothing():
    assert resolve_resources(config(16, workers=4), 2, 0).cpus_per_worker == LEAST_CPUS


def test_fewer_workers_may_do_only_if_each_number_shares_the_batch_evenly():
    made = resolve_resources(config(24, workers=4, least_workers=1, cpus_per_worker=1.0), 2, 0)
    assert (made.workers, made.least_workers) == (4, 1)  # one of them has room now
    with pytest.raises(InputError, match=r"16 cannot be shared evenly by 3 workers.*give a multiple of 12"):
        config(16, workers=4, least_workers=1)
    with pytest.raises(InputError, match=r"least_workers 3 is more than resources\.workers 2"):
        config(12, workers=2, least_workers=3)
    with pytest.raises(InputError, match=r"multiple of 12"):
        resolve_resources(config(16, least_workers=1), 8, 0)
    with pytest.raises(InputError, match=r"2 worker\(s\) × 1 CPUs \+ 1"):
        resolve_resources(config(24, workers=4, least_workers=2, cpus_per_worker=1.0), 2, 0)
