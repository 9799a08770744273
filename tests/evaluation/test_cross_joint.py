"""Gains on joints that pretraining never showed: which rows, when they are told, and in a whole small study."""

import pandas as pd
import pytest
from tests.evaluation.conftest import study_config

from orthoray import storage
from orthoray.evaluation.cross_joint import (
    COLUMNS,
    SHOWS,
    cross_joint,
    cross_joint_lines,
    seen_in_pretraining,
    unknown_line,
)
from orthoray.evaluation.study import run_study
from orthoray.imaging.vocabulary import BODY_PARTS, JOINTS
from orthoray.report import build_report

TASKS = {"mr_acl": "knee", "hip_lab": "hip", "ank_cfl": "ankle", "own": ""}


def comparisons():
    """Two fractions and baselines of every task; the difference tells the row."""
    rows = [
        {"task": task, "protocol": "lp", "fraction": share, "baseline": baseline, "metric": "auroc", "p": 0.01}
        for task in TASKS
        for share in (0.5, 1.0)
        for baseline in ("pixels", "untrained")
    ]
    values = {"difference": 0.0, "low": -0.1, "high": 0.1, "p_holm": 0.02}
    return pd.DataFrame([row | {k: v + 0.01 * at for k, v in values.items()} for at, row in enumerate(rows)])


def test_rows_are_the_comparisons_on_joints_never_seen():
    tests = comparisons()
    table = cross_joint(tests, TASKS, ["knee"])
    assert list(table.columns) == COLUMNS
    assert list(zip(table["task"], table["joint"], strict=True))[::4] == [("hip_lab", "hip"), ("ank_cfl", "ankle")]
    assert set(table["seen"]) == {"knee"}
    for name in ("protocol", "fraction", "baseline", "difference", "low", "high", "p_holm"):
        assert table[name].tolist() == tests.loc[4:11, name].tolist()
    assert set(cross_joint(tests, TASKS, ["hip", "spine"])["task"]) == {"mr_acl", "ank_cfl"}
    assert set(cross_joint(tests, TASKS, ["hip", "spine"])["seen"]) == {"hip, spine"}


@pytest.mark.parametrize("seen", [None, [], ["knee", "hip", "ankle"], ["whole_body"]])
def test_nothing_is_told_where_nothing_applies(seen):
    assert cross_joint(comparisons(), TASKS, seen).empty
    assert cross_joint(pd.DataFrame(), TASKS, ["knee"]).empty


def test_body_parts_that_show_a_joint_count_as_seen():
    assert set(cross_joint(comparisons(), TASKS, ["pelvis"])["task"]) == {"mr_acl", "ank_cfl"}
    assert set(cross_joint(comparisons(), TASKS, ["leg", "wrist"])["task"]) == {"hip_lab"}
    assert SHOWS.keys() <= set(BODY_PARTS.terms.values())
    assert {joint for shown in SHOWS.values() for joint in shown} == set(JOINTS)


def test_lines_say_what_was_seen_and_the_gains_at_all_labels():
    first, *rest = cross_joint_lines(cross_joint(comparisons(), TASKS, ["knee"]))
    assert first == "seen in pretraining: knee"
    assert rest[0] == "hip_lab (hip), lp: +0.060 over pixels (-0.040 to +0.160), by Holm 0.080"
    assert len(rest) == 4


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({"steps": 5, "body_parts": ["knee", "hip"]}, ["hip", "knee"]),
        ({"steps": 5, "body_parts": ["", "knee"]}, None),  # of some images nobody knows
        ({"steps": 5, "body_parts": []}, None),
        ({"steps": 5}, None),  # an older card
        ({"steps": 0}, []),
        ({"steps": 0, "body_parts": ["knee"]}, ["knee"]),  # started from weights that had seen knees
        (None, []),
    ],
)
def test_a_card_says_what_was_seen(provenance, expected):
    assert seen_in_pretraining({"provenance": provenance}) == expected


def test_not_known_is_said_only_where_tasks_are_of_several_joints():
    assert "card of ours does not say" in unknown_line(TASKS, None, "ours")
    assert unknown_line(TASKS, ["knee"], "ours") is None
    assert unknown_line(TASKS, [], "ours") is None
    assert unknown_line({"mr_acl": "knee", "mr_pcl": "knee", "own": ""}, None, "ours") is None


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_of_a_backbone_that_saw_knees(ray_session, dataset_folder, tiny_checkpoint, tmp_path, capsys):
    dataset_folder(tmp_path / "ds", patients=18, tasks=("mr_acl", "hip_lab"))
    tiny_checkpoint(tmp_path / "run" / "initial", seed=0)
    tiny_checkpoint(tmp_path / "run" / "checkpoint", seed=1, steps=3, body_parts=["knee"])
    config = study_config(tmp_path, protocols=["knn"], tasks=["mr_acl", "hip_lab"], resamples=200)
    out = run_study(config)
    shown = capsys.readouterr().out
    table = pd.read_parquet(f"{out}/cross_joint.parquet")
    tests = pd.read_parquet(f"{out}/comparisons.parquet").query("task == 'hip_lab'").reset_index(drop=True)
    assert set(table["baseline"]) == {"pixels", "untrained"}
    assert (table["joint"] + table["seen"]).tolist() == ["hipknee"] * 2
    pd.testing.assert_frame_equal(table.drop(columns=["joint", "seen"]), tests[[c for c in COLUMNS if c in tests]])
    told = shown.partition("Cross-joint")[2]
    assert "seen in pretraining: knee" in told
    assert f"hip_lab (hip), knn: {table['difference'][0]:+.3f} over {table['baseline'][0]}" in told
    facts = storage.read_json(f"{out}/study.json")
    assert {model["name"]: model["pretrained_body_parts"] for model in facts["models"]} == {
        "pixels": [],
        "untrained": [],
        "pretrained": ["knee"],
    }
    page = build_report(out).read_text(encoding="utf-8")
    assert "Cross-joint: pretrained saw knee images only in pretraining" in page
    section = page.partition("Cross-joint: pretrained")[2].partition("</table>")[0]
    assert section.count("<td rowspan") == 1
    assert f"{table['difference'][0]:+.3f}".replace("-", "−") in section

    card = f"{tmp_path}/run/checkpoint/card.json"
    raw = storage.read_json(card)
    raw["provenance"].pop("body_parts")
    storage.write_json(card, raw)
    run_study(config.model_copy(update={"out": f"{tmp_path}/older"}))
    shown = capsys.readouterr().out
    assert "the card of pretrained does not say which body parts it saw" in shown
    assert "Cross-joint" not in shown
    assert not (tmp_path / "older" / "cross_joint.parquet").exists()
    assert storage.read_json(f"{tmp_path}/older/study.json")["models"][2]["pretrained_body_parts"] is None
    assert "Cross-joint" not in build_report(f"{tmp_path}/older").read_text(encoding="utf-8")
