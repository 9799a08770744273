"""Protocols that do not apply: which, to what, in which words, and what a study does about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.bags import samples_of_slices
from tests.evaluation.conftest import study_config

from orthoray.errors import InputError
from orthoray.evaluation.applicable import Gap, gap_lines, why_not
from orthoray.evaluation.config import ModelSpec
from orthoray.evaluation.preflight import plan_study
from orthoray.evaluation.slices import RULES
from orthoray.evaluation.study import plan_lines, study_rows

PIXELS = ModelSpec(name="pixels", kind="pixels")
NETWORK = ModelSpec(name="net", kind="checkpoint", checkpoint="somewhere")
ALL = ["lp", "knn", *RULES, "mil", "transformer", "sgd", "ft"]
LABELS = np.arange(6) % 2


@pytest.mark.parametrize(
    ("protocol", "model", "slices", "change", "reason"),
    [
        *[(protocol, NETWORK, 3, {}, None) for protocol in ALL],
        *[(protocol, PIXELS, 3, {}, None) for protocol in ALL[:-2]],
        ("ft", PIXELS, 3, {}, "pixels have no weights to tune"),
        ("sgd", PIXELS, 3, {}, "pixels have no blocks"),
        ("lp", NETWORK, 1, {}, None),
        ("slices_max", NETWORK, 1, {}, "every sample is one image: it would equal lp"),
        ("mil", NETWORK, 1, {}, "every sample is one image: there are no slices to weigh"),
        ("transformer", PIXELS, 1, {}, "every sample is one image: there are no slices to weigh"),
        ("transformer", NETWORK, 3, {"plane": None}, "the dataset's index lacks plane, slice_index or slice_count"),
        ("transformer", NETWORK, 3, {"position": None}, "the dataset's index lacks plane, slice_index or slice_count"),
        ("mil", NETWORK, 3, {"plane": None, "position": None}, None),
        (
            "transformer",
            NETWORK,
            3,
            {"plane": np.array(["radial"] * 18, dtype=object)},
            "the index has a plane 'radial'; known are sagittal, coronal, axial, oblique, none",
        ),
        (
            "transformer",
            NETWORK,
            3,
            {"position": np.where(np.arange(18) < 4, np.nan, 0.5)},
            "the index has no slice_index or slice_count for 4 of 18 images",
        ),
    ],
)
def test_why_a_protocol_does_not_apply(protocol, model, slices, change, reason):
    samples = replace(samples_of_slices(LABELS, slices=slices), **change)
    assert why_not(protocol, model, samples, 12) == reason


@pytest.mark.parametrize(("blocks", "told"), [(3, "3"), (0, "none"), (4, None)])
def test_sgd_needs_four_blocks(blocks, told):
    reason = why_not("sgd", NETWORK, samples_of_slices(LABELS), blocks)
    assert reason == (told and f"it looks at the last 4 transformer blocks, and the network has {told}")


def test_lines_gather_what_has_one_reason():
    gaps = [Gap(task, model, "mil", "one image") for task in ("a", "b") for model in ("m", "n")]
    assert gap_lines([*gaps, Gap("a", "m", "sgd", "no blocks")]) == [
        "mil does not apply to m, n on a, b: one image",
        "sgd does not apply to m on a: no blocks",
    ]
    assert gap_lines([]) == []


def test_a_study_leaves_gaps_out_of_its_rows_and_says_so(cohort_of, capsys):
    config = study_config(cohort_of(places=True, depth=4), protocols=ALL)
    plan = plan_study(config)
    rows = study_rows(config, plan)
    found = {(row.task, row.model, row.protocol) for row in rows}
    models = ("pixels", "untrained", "pretrained")
    films = {"slices_mean", "slices_max", "slices_topk", "slices_noisy_or", "mil", "transformer"}
    assert found == {
        (task, model, protocol)
        for task in ("mr_acl", "xr_tkr")
        for model in models
        for protocol in ALL
        if not (model == "pixels" and protocol in ("sgd", "ft")) and not (task == "xr_tkr" and protocol in films)
    }
    assert len(rows) == 3 * len(found)
    assert len(plan.gaps) == 2 * 3 * len(ALL) - len(found)
    lines = plan_lines(config)
    shown = capsys.readouterr().out
    assert "sgd does not apply to pixels on mr_acl, xr_tkr: pixels have no blocks" in shown
    assert "mil does not apply to pixels, untrained, pretrained on xr_tkr: every sample is one image" in shown
    assert any(line.startswith("sgd: 12 of 12 rows left, how long they take is not known") for line in lines)
    assert any(line.startswith("features of untrained, 4 blocks: 72 images") for line in lines)


def test_the_middle_of_a_slice_is_its_position(cohort_of):
    samples = plan_study(study_config(cohort_of(places=True))).tasks["mr_acl"].samples
    assert set(samples.plane) == {"sagittal"}
    np.testing.assert_allclose(samples.position, np.tile([1 / 6, 3 / 6, 5 / 6], 18))  # three slices, by image id


def test_an_index_without_places_leaves_the_transformer_out(cohort_of):
    plan = plan_study(study_config(cohort_of(), protocols=["lp", "transformer"]))
    assert {gap.reason for gap in plan.gaps if gap.task == "mr_acl"} == {
        "the dataset's index lacks plane, slice_index or slice_count"
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocols": ["sgd"]}, "none applies to the candidate pretrained.*the network has 2.*Add lp"),
        ({"protocols": ["mil"], "tasks": ["xr_tkr"]}, "the candidate pretrained.*every sample is one image.*Add lp"),
        ({"protocols": ["sgd"], "candidate": "pixels"}, "the candidate pixels.*pixels have no blocks.*Add lp"),
        ({"protocols": ["mill"]}, "Did you mean 'mil'"),
        ({"protocols": ["mil", "mil"]}, "names something twice"),
        ({"transformer": {"hidden": 30}}, "hidden=30 must be even and a multiple of heads=4"),
    ],
)
def test_what_cannot_work_is_refused(cohort_of, change, words):
    with pytest.raises(InputError, match=words):
        plan_study(study_config(cohort_of(), **change))
