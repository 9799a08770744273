"""Task cards."""

from __future__ import annotations

import pytest

from orthoray.config import parse_config
from orthoray.errors import InputError
from orthoray.evaluation.metrics import ORDINAL
from orthoray.evaluation.registry import load_suite
from orthoray.evaluation.tasks import TaskCard, load_task, task_ids

IDS = [
    "xr_kl",
    "xr_kl48",
    "xr_kl96",
    "xr_tkr",
    "mr_acl",
    "mr_pcl",
    "mr_mcl",
    "mr_lcl",
    "mr_men",
    "mr_pd",
    "mr_mpfl",
    "mr_bone",
    "mr_cart",
    "hip_lab",
    "sho_rc",
    "ank_atfl",
    "ank_cfl",
]


MORE = ["mr_findings", "mr_men_med", "mr_men_lat", "xr_tkr_4y", "xr_tkr_9y", "xr_tkr_time"]
HEADLINES = {"binary": "auroc", "survival": "c_index", "multilabel": "macro_auroc"}


def test_the_seventeen_tasks_are_there_and_their_variants():
    assert {*IDS, *MORE, "chest_pneumonia", *load_suite("transferability").tasks} == set(task_ids())


@pytest.mark.parametrize("name", [*IDS, *MORE])
def test_card_is_consistent(name):
    card = load_task(name)
    assert card.task == name
    assert (card.modality == "XR") == name.startswith("xr_")
    assert card.unit == ("image_id" if card.modality == "XR" else "study_id")
    assert card.headline == HEADLINES.get(card.kind, "accuracy")
    assert (card.protocol == "repeated_80_20") == (card.joint != "knee")
    assert ("qwk" in card.metrics) == (card.kind == "ordinal")


def test_kl_has_five_grades():
    assert len(load_task("xr_kl").classes) == 5
    assert set(load_task("xr_kl").metrics) == set(ORDINAL)


def test_unknown_task_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'mr_acl'"):
        load_task("mr_acll")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": ["qwk"]}, "do not fit a binary task"),
        ({"metrics": ["c_index"]}, "do not fit a binary task"),
        ({"kind": "survival"}, "do not fit a survival task; allowed: c_index, auroc_at_<k>y"),
        ({"kind": "survival", "metrics": ["c_index"], "classes": ["a", "b", "c"]}, "a survival task has two classes"),
        ({"metrics": ["brier", "auroc"]}, "better when lower; put another metric first"),
        ({"classes": ["a", "b", "c"]}, "two classes"),
        ({"classes": ["a", "a"]}, "must differ"),
        ({"unit": "slice"}, "unit"),
        ({"colour": "red"}, "unknown key"),
    ],
)
def test_wrong_card_is_refused(change, words):
    good = {"task": "t", "title": "T", "kind": "binary", "classes": ["no", "yes"], "unit": "study_id"}
    good |= {"modality": "MR", "metrics": ["auroc"]}
    parse_config(TaskCard, good, "good")
    with pytest.raises(InputError, match=words):
        parse_config(TaskCard, {**good, **change}, "card")
