"""Suites, aliases, and what `tasks` of a study may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthoray.config import load_config
from orthoray.data.cards import load_card
from orthoray.errors import InputError
from orthoray.evaluation.preflight import plan_study
from orthoray.evaluation.registry import find_task, load_suite, registry_lines, suite_ids, wanted_tasks
from orthoray.evaluation.tasks import load_task, task_ids

PROJECT = Path(__file__).resolve().parents[2]


def test_suites_hold_what_the_paper_counts():
    assert suite_ids() == ["paper14", "paper17", "phantom17", "public", "transferability"]
    kinds = {name: [load_task(task) for task in load_suite(name).tasks] for name in suite_ids()}
    assert len(kinds["paper17"]) == len(kinds["phantom17"]) == 17
    assert [sum(card.modality == "XR" for card in kinds[name]) for name in ("paper14", "paper17")] == [4, 4]
    assert sum(card.modality == "MR" and card.joint == "knee" for card in kinds["paper17"]) == 9
    assert len(kinds["paper14"]) == 14
    assert {card.joint for card in kinds["paper14"]} == {"knee"}
    assert {"mr_men_med", "mr_men_lat"} < set(load_suite("paper14").tasks)
    for name in suite_ids():
        assert len(set(load_suite(name).tasks)) == len(load_suite(name).tasks)
        assert name not in task_ids()


def test_the_public_suite_and_the_phantom_suite_are_what_their_sources_label():
    def labelled(*names):
        return {label.task for name in names for label in load_card(name).labels}

    assert set(load_suite("phantom17").tasks) == labelled("phantom")
    assert set(load_suite("public").tasks) <= labelled("oai_xray", "fastmri_h5", "mrnet")


def test_every_suite_is_installed():
    assert '"share/orthoray/datasets/suites" = ["datasets/suites/*.yaml"]' in (PROJECT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "task"),
    [("ACL", "mr_acl"), ("acl TEAR", "mr_acl"), ("TKA", "xr_tkr"), ("MM", "mr_men_med"), ("mr_men", "mr_men")],
)
def test_aliases(name, task):
    assert find_task(name) == task


def test_an_alias_of_two_tasks_is_refused_and_a_wrong_name_gets_the_nearest():
    with pytest.raises(InputError, match="'KL progression' may mean xr_kl48 or xr_kl96; write one of them"):
        find_task("KL progression")
    with pytest.raises(InputError, match="Did you mean 'mr_acl'"):
        find_task("mr_acll")
    with pytest.raises(InputError, match="Did you mean 'paper17'"):
        wanted_tasks(["suite:paper71"])
    with pytest.raises(InputError, match="Did you mean 'paper17'"):
        wanted_tasks("paper_17")


def test_no_alias_is_the_name_of_another_task_or_suite():
    for task in task_ids():
        for alias in load_task(task).aliases:
            assert alias not in {*task_ids(), *suite_ids()} - {task}


def test_suites_and_tasks_mix_in_order_and_a_task_that_is_named_counts_as_named():
    found = wanted_tasks(["TKR", "suite:paper17", "mr_acl"])
    assert found.tasks[:2] == ["xr_tkr", "xr_kl"]
    assert len(found.tasks) == 17
    assert set(found.suite) == set(load_suite("paper17").tasks) - {"xr_tkr", "mr_acl"}
    assert wanted_tasks("paper17").tasks == load_suite("paper17").tasks
    assert wanted_tasks("suite:paper17") == wanted_tasks(["paper17"])


def test_the_list_names_every_task_and_suite():
    lines = "\n".join(registry_lines())
    assert all(name in lines for name in (*task_ids(), *suite_ids()))


def test_tasks_of_a_suite_that_the_datasets_lack_are_told_and_named_ones_are_errors(dataset_folder, tmp_path):
    from orthoray.evaluation.config import StudyConfig

    dataset_folder(tmp_path / "ds", patients=18)

    def config(tasks):
        model = "models=[{name: pixels, kind: pixels}]"
        told = [f"out={tmp_path}/out", f"datasets=[{tmp_path}/ds]", "folds=3", model, f"tasks={tasks}"]
        return load_config(StudyConfig, None, told)

    plan = plan_study(config("paper17"))
    assert set(plan.tasks) == {"mr_acl", "xr_tkr"}
    assert set(plan.skipped) == set(load_suite("paper17").tasks) - set(plan.tasks)
    assert "no dataset of this study holds labels" in plan.skipped["mr_pcl"]
    with pytest.raises(InputError, match=r"Task 'mr_pcl': no dataset of this study"):
        plan_study(config("[suite:paper17, PCL]"))
    assert list(plan_study(config("[ACL]")).tasks) == ["mr_acl"]
