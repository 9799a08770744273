"""Task cards."""

from __future__ import annotations

import pytest

from orthoray.config import parse_config
from orthoray.errors import InputError
from orthoray.evaluation.metrics import ORDINAL
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


def test_the_seventeen_tasks_are_there():
    assert set(IDS) == set(task_ids())


@pytest.mark.parametrize("name", IDS)
def test_card_is_consistent(name):
    card = load_task(name)
    assert card.task == name
    assert (card.modality == "XR") == name.startswith("xr_")
    assert card.unit == ("image_id" if card.modality == "XR" else "study_id")
    assert card.headline == ("auroc" if card.kind == "binary" else "accuracy")
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
