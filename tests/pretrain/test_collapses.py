"""Collapses that are really made, with the learner as it is: each is named, with its cause, and a sound run is not."""

import pytest
import torch
from tests.pretrain.toy_runs import (
    LR,
    causes,
    flatten_the_features,
    lose_positions,
    saturate_the_head,
    toy_rows,
    zero_the_head,
)

pytestmark = pytest.mark.slow

STEPS = 120


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def found_in(config_of):
    """Return a function: (rate, fault, changes of the tiny configuration) → causes that the doctor names."""

    def run(lr=LR, fault=None, **changes):
        config = config_of(steps=STEPS, batch_size=16, optimiser__lr=lr, **changes)
        return causes(config, toy_rows(config, lr, fault), lr)

    return run


SOUND = {
    "batch norm": {},
    "a quick teacher": {"teacher__momentum": [0.98, 1.0]},
    "Sinkhorn-Knopp": {"teacher__centring": "sinkhorn_knopp"},
    "many prototypes": {"head__prototypes": 1024},
    "a fixed backbone at first": {"model__freeze_backbone_steps": 30},
    "KoLeo": {"losses__koleo": 0.2},
    "no centring, which batch norm stands in for": {"teacher__centre_momentum": 1.0},
}


@pytest.mark.parametrize("changes", SOUND.values(), ids=SOUND)
def test_a_sound_run_gives_no_finding(found_in, changes):
    assert found_in(head__batch_norm=True, **changes) == {}


COLLAPSES = {
    "no centring": ("no_centring", {"teacher__centre_momentum": 1.0}),
    "no centring of many prototypes": ("no_centring", {"teacher__centre_momentum": 1.0, "head__prototypes": 1024}),
    "a teacher's temperature of 1": ("teacher_temperature_high", {"teacher__temperature": [1.0, 1.0]}),
    "a temperature of twice the student's": ("teacher_temperature_high", {"teacher__temperature": [0.2, 0.2]}),
    "a teacher's temperature of 0.001": ("teacher_temperature_low", {"teacher__temperature": [0.001, 0.001]}),
    "a rate 100 times too high": ("lr_too_high", {"lr": 100 * LR}),
    "a rate 100 times too high, balanced": ("lr_too_high", {"lr": 100 * LR, "teacher__centring": "sinkhorn_knopp"}),
    "a rate 1000 times too high": ("lr_too_high", {"lr": 1000 * LR}),
    "a head of zeros": ("dead_head", {"fault": zero_the_head}),
    "a saturated head": ("dead_head", {"fault": saturate_the_head}),
    "no positions": ("position_blind", {"fault": lose_positions}),
    "no positions, batch norm": ("position_blind", {"fault": lose_positions, "head__batch_norm": True}),
    "features of one dimension": ("dimensional_collapse", {"fault": flatten_the_features, "head__batch_norm": True}),
    "a teacher that stays": ("teacher_fixed", {"teacher__momentum": [1.0, 1.0], "head__batch_norm": True}),
}


@pytest.mark.parametrize(("cause", "changes"), COLLAPSES.values(), ids=COLLAPSES)
def test_an_injected_collapse_is_named_with_its_cause_and_no_other(found_in, cause, changes):
    assert set(found_in(**changes)) == {cause}


def test_a_run_that_is_stuck_without_a_known_cause_is_called_uniform(found_in):
    """Without batch norm and with few steps the small head never leaves ln K: a collapse that nobody injected."""
    assert set(found_in(teacher__temperature=[0.09, 0.09])) == {"uniform"}


def test_nothing_is_said_before_the_warm_up_and_patience_are_over(found_in):
    early = found_in(teacher__temperature=[1.0, 1.0], optimiser__warmup=0.4)
    assert early["teacher_temperature_high"] >= 0.4 * STEPS + 40
