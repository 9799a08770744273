"""Scales, ticks, the choice of images, aspect of pictures, and the attention picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.report.attention import attention_of
from orthoray.report.cohort import choose_images
from orthoray.report.images import fit
from orthoray.report.naming import breakable, chance_level, joined
from orthoray.report.svg import Chart, nice_ticks, tick_text
from orthoray.report.words import _lower


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_lie_inside_and_are_even(low, span):
    high = low + span
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert len(ticks) <= 7
    if span > 1e-3 * abs(low) and len(ticks) > 2:
        assert np.allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-4)


def test_tick_texts():
    assert [tick_text(v, 0.25) for v in (0, 0.25, 0.5)] == ["0", "0.25", "0.50"]
    assert tick_text(400, 100) == "400"
    assert tick_text(20_000, 5_000) == "20k"
    assert tick_text(2e-4, 1e-4) == "2e-4"


def test_curve_breaks_at_values_that_are_not_finite():
    chart = Chart.over((0, 3), (0, 1))
    chart.curve([0, 1, 2, 3], [0, float("nan"), 1, 1], "curve")
    assert chart.parts[0].count("M") == 2


def test_chart_text_is_escaped():
    chart = Chart.over((0, 1), (0, 1))
    chart.text(0, 0, "<b>&", "x")
    assert "&lt;b&gt;&amp;" in chart.render('a"b')
    assert 'aria-label="a&#34;b"' in chart.render('a"b')


def test_choice_of_images_takes_middle_slices_of_different_patients_and_ignores_order():
    rows = [
        {
            "image_id": f"{p}-{k}",
            "patient_id": p,
            "modality": "MR",
            "body_part": "knee",
            "slice_index": k,
            "slice_count": 9,
        }
        for p in range(20)
        for k in range(9)
    ]
    rows += [{"image_id": f"x{p}", "patient_id": p, "modality": "XR", "body_part": "hip"} for p in range(3)]
    index = pd.DataFrame(rows)
    chosen = choose_images(index, 4, 12)
    mr = chosen[chosen["modality"] == "MR"]
    assert set(mr["slice_index"]) == {4.0}
    assert mr["patient_id"].nunique() == len(mr) == 4
    assert (chosen["modality"] == "XR").sum() == 3
    shuffled = choose_images(index.sample(frac=1, random_state=1), 4, 12)
    assert list(shuffled["image_id"]) == list(chosen["image_id"])
    assert sorted(choose_images(index, 4, 2)["modality"]) == ["MR", "XR"]


def test_pictures_have_square_millimetres():
    image = np.zeros((100, 100), np.uint8)
    assert fit(image, {"row_spacing_mm": 1.0, "col_spacing_mm": 0.5}, 200).shape == (200, 100)
    assert fit(image, {"row_spacing_mm": None, "col_spacing_mm": float("nan")}, 50).shape == (50, 50)


def test_chance_levels():
    assert chance_level("accuracy", [30, 10]) == 0.75
    assert chance_level("auprc", [30, 10]) == 0.25
    assert chance_level("balanced_accuracy", [5, 5, 0, 5]) == pytest.approx(1 / 3)
    assert chance_level("macro_f1", [5, 5]) is None


def test_names_break_at_underscores_and_are_escaped():
    assert breakable("vit_small.a-<b>") == "vit_<wbr>small.<wbr>a-<wbr>&lt;b&gt;"
    assert breakable("Raw pixels") == "Raw pixels"


def test_words():
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert _lower("Total knee replacement") == "total knee replacement"
    assert _lower("Kellgren-Lawrence grade") == "Kellgren-Lawrence grade"
    assert _lower("ACL tear") == "ACL tear"


def test_attention_is_in_multiples_of_its_mean(made):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (70, 50)).astype(np.uint8) for _ in range(2)]
    maps = attention_of(f"{made.root}/run/checkpoint", images, 64)
    assert [heat.shape for heat in maps] == [(8, 8), (8, 8)]
    assert [float(heat.mean()) for heat in maps] == pytest.approx([1.0, 1.0])
