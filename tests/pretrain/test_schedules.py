"""Schedules at their ends and middles."""

import pytest

from orthoray.pretrain.schedules import cosine, linear, warmup_then


def test_schedules_at_their_ends_and_middles():
    assert cosine(1.0, 0.0, 0, 10) == 1.0
    assert cosine(1.0, 0.0, 5, 10) == pytest.approx(0.5)
    assert cosine(0.996, 1.0, 10, 10) == 1.0
    assert linear(0.04, 0.07, 15, 30) == pytest.approx(0.055)
    assert linear(0.04, 0.07, 31, 30) == 0.07
    assert warmup_then("cosine", 1.0, 0.0, 0, 10, 100) == pytest.approx(0.1)
    assert warmup_then("cosine", 1.0, 0.0, 9, 10, 100) == 1.0
    assert warmup_then("cosine", 1.0, 0.1, 100, 10, 100) == pytest.approx(0.1)
    assert warmup_then("linear", 1.0, 0.1, 55, 10, 100) == pytest.approx(0.55)
    assert warmup_then("constant", 1.0, 0.1, 100, 10, 100) == 1.0
