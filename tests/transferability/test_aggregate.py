import pandas as pd
import pytest

from orthoray.transferability import aggregate

SCORES = pd.DataFrame({"a": [3.0, 2.0, 1.0], "b": [1.0, 1.0, 5.0]}, index=["x", "y", "z"])


def test_ranks_share_ties_and_refuse_gaps():
    assert aggregate.mean_rank(SCORES).to_dict() == {"x": 1.75, "z": 2.0, "y": 2.25}
    assert aggregate.borda(SCORES).to_dict() == {"x": 2.5, "z": 2.0, "y": 1.5}
    with pytest.raises(ValueError, match="no score"):
        aggregate.ranks(SCORES.where(SCORES > 1))


def test_regret_agreement_and_front():
    assert aggregate.top1_regret(SCORES["a"], SCORES["b"]) == 4.0
    assert aggregate.tau(SCORES["a"], -SCORES["a"]) == -1.0
    costs = pd.DataFrame({"flops": [2, 2, 1]}, index=SCORES.index)
    assert aggregate.pareto_front(SCORES["a"], costs) == ["x", "z"]
