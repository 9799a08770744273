"""Tables of a ranking from cells, and rankers that never look at the target."""

import numpy as np
import pandas as pd
import pytest

from orthoray.features.candidate_settings import Candidate
from orthoray.features.candidates import Ready
from orthoray.transferability import aggregate
from orthoray.transferability.leaderboard import leaderboard
from orthoray.transferability.references import held_against
from orthoray.transferability.targets import Labelled

COLUMNS = ["logme", "ncti", "hscore", "knn", "probe"]


def ready(name, parameters, random=False, top1=None):
    candidate = Candidate(name=name, backbone="vit_tiny_patch16_224", imagenet_top1=top1)
    return Ready(candidate, "c", random, parameters, parameters / 1e6)


def target(name):
    none = np.array([], dtype=object)
    return Labelled("d", f"id-{name}", name, none, none, none, none, none, {})


def cell(values, terms, draws=()):
    scores = [
        {
            "estimator": name,
            "value": value,
            "flags": ["saturated"] if name == "knn" else [],
            "seconds": 0.1,
            "details": dict(zip(("spread", "probability", "rank"), terms, strict=True)) if name == "ncti" else {},
            "problem": "" if value is not None else "too few",
        }
        for name, value in zip(COLUMNS, values, strict=True)
    ]
    size = {"samples": 10, "patients": 5, "classes": 2, "dim": 3, "generic_images": 0}
    return {**size, "scores": scores, "draws": list(draws)}


def draws(*values):
    rows = [{"draw": f"resample {n}", "estimator": "logme", "value": value} for n, value in enumerate(values)]
    return rows + [{"draw": f"subset {n}", "estimator": "logme", "value": value} for n, value in enumerate(values[:2])]


@pytest.fixture
def board():
    cells = {
        ("A", "t"): cell([3, 0.5, 1, 0.9, 0.7], (1, 0.5, 2), draws(3, 3, 1)),
        ("B", "t"): cell([2, 0.4, None, 0.8, 0.9], (3, 0.4, 2), draws(2, 4, 0)),
        ("C (random weights)", "t"): cell([1, 0.3, 0, 0.7, 0.5], (2, 0.3, 4), draws(1, 0, 5)),
        ("A", "u"): cell([1, 0.5, 1, 0.9, 0.7], (1, 0.5, 2), draws(3, 3, 1)),
        ("B", "u"): cell([2, 0.4, 2, 0.8, 0.8], (3, 0.4, 2), draws(2, 4, 0)),
        ("C (random weights)", "u"): cell([0, 0.3, 0, 0.7, 0.6], (2, 0.3, 4), draws(1, 0, 5)),
    }
    those = [ready("A", 10), ready("B", 30), ready("C", 20, random=True)]
    return leaderboard(those, [target("t"), target("u")], cells, COLUMNS)


def test_every_cell_is_a_row_with_rank_flags_and_the_reason_where_there_is_no_value(board):
    scores = board.scores.set_index(["target", "candidate", "estimator"])
    assert len(scores) == 2 * 3 * len(COLUMNS)
    assert scores.loc[("t", "A", "logme"), "rank"] == 1
    lost = scores.loc[("t", "B", "hscore")]
    assert (np.isnan(lost["value"]), np.isnan(lost["rank"]), lost["problem"]) == (True, True, "too few")
    assert scores.loc[("u", "A", "knn"), "flags"] == "saturated"
    assert scores["random_weights"].groupby("candidate").first().to_dict() == {
        "A": False,
        "B": False,
        "C (random weights)": True,
    }


def test_ncti_is_scaled_over_the_pool(board):
    mine = board.scores[(board.scores["estimator"] == "ncti") & (board.scores["target"] == "t")]
    assert mine.set_index("candidate")["value"].to_dict() == pytest.approx(
        {"A": 0 + 1 - 0, "B": 1 + 0.5 - 0, "C (random weights)": 0.5 + 0 - 1}
    )


def test_ranks_front_and_what_resamples_say(board):
    mine = board.ranking[board.ranking["estimator"] == "logme"].set_index("candidate")
    assert mine["mean_rank"].to_dict() == {"A": 1.5, "B": 1.5, "C (random weights)": 3.0}
    assert mine["borda"].to_dict() == {"A": 3.0, "B": 3.0, "C (random weights)": 0.0}
    assert mine["pareto"].to_dict() == {"A": True, "B": False, "C (random weights)": False}
    assert mine["robust_best"].to_dict() == pytest.approx({"A": 1 / 3, "B": 1 / 3, "C (random weights)": 1 / 3})
    assert mine.loc["A", "robust_mean"] == pytest.approx((1 + 2 + 2) / 3)
    left = board.ranking[board.ranking["estimator"] == "hscore"]
    assert set(left["candidate"]) == {"A", "C (random weights)"}


def test_agreement_and_stability(board):
    pairs = board.agreement.set_index(["target", "first", "second"])
    assert pairs.loc[("t", "logme", "knn"), "tau"] == 1.0
    assert pairs.loc[("t", "logme", "hscore"), "candidates"] == 2
    stable = board.stability.set_index(["target", "estimator"])
    assert stable.loc[("t", "logme"), "subsets"] == 2
    assert stable.loc[("t", "logme"), "same_best"] == 0.5
    assert stable.loc[("t", "logme"), "tau_between"] == pytest.approx(1 / 3)


def test_static_ranks_never_look_at_the_target():
    table = pd.DataFrame({"a": [0.9, 0.8, 0.7], "b": [0.1, 0.2, 0.3], "c": [5, 4, 3.0]}, index=list("xyz"))
    static = aggregate.static_ranks(table)
    changed = aggregate.static_ranks(table.assign(a=[0, 9, 3.0]))
    assert static["a"].to_dict() == changed["a"].to_dict() == {"x": -2.0, "y": -2.0, "z": -2.0}
    assert static["b"].to_dict() == {"x": -1.0, "y": -2.0, "z": -3.0}


def test_estimators_are_held_against_results_where_there_are_some_and_against_the_probe_else(board):
    truth = pd.DataFrame({"t": [0.8, 0.9, 0.6], "u": [0.8, 0.7, 0.5]}, index=["A", "B", "C (random weights)"])
    found = held_against(board.scores, truth, "ft", "auroc", COLUMNS).set_index(["target", "ranker"])
    assert set(found["truth"]) == {"ft"}
    assert found.loc[("t", "logme"), "top1_regret"] == pytest.approx(0.1)
    assert found.loc[("t", "probe"), "tau"] == 1.0
    assert found.loc[("u", "static"), "top1_regret"] == pytest.approx(0.1)
    assert ("t", "imagenet") not in found.index
    stand_in = held_against(board.scores, None, "", "", COLUMNS)
    assert set(stand_in["truth"]) == {"probe (stand-in)"}
    assert "probe" not in set(stand_in["ranker"])


def test_robust_ranks_share_a_tie_for_the_first_place():
    table = pd.DataFrame({"t": [2.0, 2.0, 1.0]}, index=list("xyz"))
    found = aggregate.robust_rank([table, table.assign(t=[0.0, 3.0, 1.0])])
    assert found["best"].to_dict() == {"y": 0.75, "x": 0.25, "z": 0.0}
    with pytest.raises(ValueError, match="bootstraps"):
        aggregate.robust_rank([])
