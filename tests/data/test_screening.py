"""Screening: strata, rules, ends of stacks, and how well injected defects are found."""

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.imaging.injections import FILM, MR, markers

from orthoray.data.outliers import outlier_scores
from orthoray.data.phantom import PhantomConfig
from orthoray.data.phantom.cohort import exams
from orthoray.data.phantom.film import draw_film
from orthoray.data.phantom.mr import draw_stack
from orthoray.data.screening import COLUMNS, ORDER, screen
from orthoray.data.screening_rules import BlurRule, Rule, ScreeningRules
from orthoray.data.strata import Strata
from orthoray.imaging import read_display
from orthoray.imaging.quality import MEASURES, measure

GOOD = {
    "levels": 220.0, "entropy": 7.0, "contrast": 150.0, "clipped_low": 0.0, "clipped_high": 0.0, "laplacian": 0.1,
    "tenengrad": -0.5, "high_frequency": -2.4, "detail": -0.9, "detail_least": -1.1, "noise": 0.007,
    "foreground": 0.6, "aspect": 1.2, "seam": 0.4, "implant": 0.0, "text_boxes": 0.0, "graphics": 0.0,
    "snr": 1.4, "efc": 0.6, "ghost": 0.02, "streaks": 0.02, "air": -2.4, "spike": 1.5, "shading": 0.25,
}  # fmt: skip


def table(count=60, modality="XR", **changes):
    """Images that differ as good ones do, in series of 20."""
    rng = np.random.default_rng(count)
    frame = pd.DataFrame({"image_id": [f"i{number}" for number in range(count)], "modality": modality})
    frame = frame.assign(site="a", body_part="knee", view="AP", plane="sagittal")
    frame["series_id"] = [f"s{number // 20}" for number in range(count)]
    frame["slice_index"] = np.arange(count) % 20
    for name, value in GOOD.items():
        spread = 0.0 if name in ("text_boxes", "graphics", "aspect", "implant") else 0.01 * max(0.1, abs(value))
        frame[f"quality.{name}"] = np.float32(value + spread * rng.standard_normal(count))
    return frame.assign(**changes)


def with_value(frame, row, name, value):
    frame = frame.copy()
    frame.loc[row, name] = value
    return frame


def outcome(frame, rules=None):
    rows = screen(frame, rules).exclusions
    return {name: (reason, severity) for name, reason, severity in rows[["image_id", "reason", "severity"]].to_numpy()}


def test_good_images_stay():
    for modality in ("XR", "MR"):
        result = screen(table(200, modality))
        assert result.exclusions.columns.tolist() == COLUMNS
        assert not len(result.exclusions)
        assert result.account["by_stratum"]["modality x projection x body_part x site"] == 200


@pytest.mark.parametrize(
    ("name", "value", "reason", "severity"),
    [
        ("quality.levels", 8, "corrupt_pixels", "exclude"),
        ("quality.text_boxes", 1, "burned_in_text", "exclude"),
        ("quality.graphics", 1, "graphics", "exclude"),
        ("quality.aspect", 2.3, "stitched", "exclude"),
        ("quality.seam", 4.0, "stitched", "exclude"),
        ("quality.detail", -1.4, "blurred", "exclude"),
        ("quality.detail_least", -1.6, "blurred", "exclude"),
        ("quality.clipped_high", 0.06, "exposure", "exclude"),
        ("quality.clipped_low", 0.11, "exposure", "exclude"),
        ("quality.entropy", 6.2, "exposure", "exclude"),
        ("quality.entropy", 3.9, "exposure", "exclude"),
        ("quality.noise", 0.02, "exposure", "exclude"),
        ("quality.contrast", 31, "low_contrast", "exclude"),
        ("quality.implant", 0.02, "implant", "review"),
        ("deviation_index", -3.2, "exposure", "review"),
        ("body_part", "hand", "non_knee", "exclude"),
        ("outlier_score", 1.1, "non_knee", "review"),
    ],
)  # fmt: skip
def test_each_measure_of_a_film_has_its_reason(name, value, reason, severity):
    frame = table(deviation_index=0.5, outlier_score=0.4)
    assert outcome(with_value(frame, 7, name, value)) == {"i7": (reason, severity)}


@pytest.mark.parametrize(
    ("name", "value"),
    [("snr", 1.0), ("ghost", 0.3), ("streaks", 0.2), ("air", -1.5), ("spike", 2.6), ("shading", 0.5), ("noise", 0.03)],
)
def test_each_measure_of_an_mr_slice_is_an_artefact(name, value):
    frame = with_value(table(modality="MR"), 7, f"quality.{name}", value)
    assert outcome(frame) == {"i7": ("mr_artefact", "exclude")}
    assert outcome(frame.assign(modality="XR")).get("i7", ("", ""))[0] != "mr_artefact"


def test_clipping_needs_both_the_share_and_the_stratum():
    site_that_clips = table(**{"quality.clipped_high": 0.08})
    assert outcome(site_that_clips) == {}
    assert outcome(with_value(table(), 3, "quality.clipped_high", 0.04)) == {}


@pytest.mark.parametrize(
    ("flag", "reason", "severity"),
    [
        ("stitched", "stitched", "exclude"),
        ("burned_in", "burned_in_text", "exclude"),
        ("overlay", "graphics", "review"),
        ("screenshot", "screenshot", "exclude"),
        ("implant", "implant", "review"),
        ("body_part_conflict", "non_knee", "exclude"),
    ],
)
def test_header_flags(flag, reason, severity):
    frame = with_value(table(**{flag: False}), 4, flag, True)
    assert outcome(frame) == {"i4": (reason, severity)}
    unknown = table()
    unknown[flag] = [None] * 59 + [True]
    assert outcome(unknown) == {"i59": (reason, severity)}


def test_the_length_of_a_film_in_millimetres():
    frame = table(height=512, row_spacing_mm=0.8)
    assert outcome(with_value(frame, 2, "row_spacing_mm", 1.2)) == {"i2": ("stitched", "exclude")}
    assert outcome(with_value(frame, 2, "row_spacing_mm", np.nan)) == {}
    assert outcome(with_value(frame.assign(modality="MR"), 2, "row_spacing_mm", 1.2)) == {}


def test_one_sharp_measure_saves_an_image_two_do_not():
    one = with_value(table(), 5, "quality.laplacian", -1.0)
    assert outcome(one) == {}
    assert outcome(with_value(one, 5, "quality.tenengrad", -0.9)) == {"i5": ("blurred", "exclude")}


def test_the_gravest_reason_comes_first_and_the_others_are_told():
    frame = with_value(with_value(table(), 5, "quality.text_boxes", 3), 5, "quality.detail", -1.5)
    frame = with_value(with_value(frame, 5, "quality.implant", 0.1), 6, "quality.implant", 0.1)
    rows = screen(frame).exclusions.set_index("image_id")
    assert rows.loc["i5", ["reason", "severity", "value"]].tolist() == ["burned_in_text", "exclude", 3.0]
    assert rows.loc["i5", "detail"] == "words, limit 0; also blurred, implant"
    assert rows.loc["i6", ["stage", "reason", "severity"]].tolist() == ["quality", "implant", "review"]
    assert not any(name in text for text in rows["detail"] for name in frame["image_id"])


def test_every_rule_can_be_off_or_a_matter_of_review():
    frame = table(overlay=False, body_part_conflict=False)
    for name, value in (
        ("quality.levels", 3), ("quality.text_boxes", 1), ("quality.graphics", 1), ("quality.seam", 9),
        ("quality.detail", -3), ("quality.noise", 0.1), ("quality.contrast", 9), ("quality.implant", 0.2),
    ):  # fmt: skip
        frame = with_value(frame, 9, name, value)
    defaults = {name: rule for name, rule in ScreeningRules() if isinstance(rule, Rule)}
    off = {name: rule.model_copy(update={"on": False}) for name, rule in defaults.items()}
    assert outcome(frame, ScreeningRules(**off)) == {}
    review = {name: rule.model_copy(update={"severity": "review"}) for name, rule in defaults.items()}
    assert outcome(frame, ScreeningRules(**review)) == {"i9": ("burned_in_text", "review")}
    only = ScreeningRules(**{**off, "blurred": BlurRule(severity="review")})
    assert outcome(frame, only) == {"i9": ("blurred", "review")}


def test_all_reasons_have_a_rank():
    assert set(ORDER) >= {"blurred", "exposure", "low_contrast", "corrupt_pixels", "stitched", "burned_in_text"}
    assert set(ORDER) >= {"graphics", "implant", "mr_artefact", "end_slice", "non_knee", "screenshot"}


def test_the_index_may_have_a_struct_of_measures():
    flat = with_value(table(), 5, "quality.detail", -1.5)
    names = [name for name in flat.columns if name.startswith("quality.")]
    cells = [{name[8:]: row[name] for name in names} for row in flat[names].to_dict("records")]
    plain = flat.drop(columns=names).assign(quality=pd.Series(cells, dtype=object))
    fields = pa.struct([(name[8:], pa.float32()) for name in names])
    arrow = plain.assign(quality=pd.Series(pa.array(cells, fields), dtype=pd.ArrowDtype(fields)))
    want = screen(flat).exclusions
    assert len(want) == 1
    pd.testing.assert_frame_equal(screen(plain).exclusions, want)
    pd.testing.assert_frame_equal(screen(arrow).exclusions, want)


def test_two_signs_of_movement_are_enough_at_a_lower_limit():
    frame = table(200, "MR")
    one = with_value(frame, 5, "quality.streaks", frame["quality.streaks"].median() + 3.3 * 0.01)
    assert outcome(one) == {}
    both = with_value(one, 5, "quality.efc", frame["quality.efc"].median() + 3.0 * 0.01)
    assert outcome(both) == {"i5": ("mr_artefact", "exclude")}


def test_absent_columns_are_reported_and_needed_ones_demanded():
    bare = table()[["image_id", "modality", "quality.levels"]]
    result = screen(bare)
    assert not len(result.exclusions)
    assert {"quality.detail", "overlay", "height", "deviation_index"} <= set(result.account["missing"])
    assert "quality.levels" not in result.account["missing"]
    with pytest.raises(KeyError, match="modality"):
        screen(bare.drop(columns="modality"))
    assert not len(screen(table(0)).exclusions)


def test_z_is_the_one_sided_robust_distance_within_the_stratum():
    rng = np.random.default_rng(0)
    frame = table(400, site=rng.choice(["a", "b"], 400)).drop(columns="series_id")
    values = rng.gamma(2.0, 1.0, 400) + 10 * (frame["site"] == "b").to_numpy()
    z = Strata(frame, 30, 10).z(values, "high", 0.0)
    for site in ("a", "b"):
        own = (frame["site"] == site).to_numpy()
        distance = values[own] - np.median(values[own])
        assert z[own] == pytest.approx(distance / (1.4826 * np.median(distance[distance >= 0])))
    low = Strata(frame, 30, 10).z(values, "low", 100.0)
    assert low[(frame["site"] == "a").to_numpy()] == pytest.approx(
        (np.median(values[frame["site"] == "a"]) - values[frame["site"] == "a"]) / 100
    )


def test_small_strata_are_judged_by_coarser_ones_and_tiny_tables_by_none():
    sites = ["a"] * 40 + ["b"] * 29
    frame = table(69, site=sites)
    account = Strata(frame, 30, 10).account()
    assert account["by_stratum"]["modality x projection x body_part x site"] == 40
    assert account["by_stratum"]["modality x projection x body_part"] == 29
    assert account["strata"] == 2
    few = with_value(table(12), 3, "quality.detail", -3.0)
    assert outcome(few) == {"i3": ("blurred", "exclude")}
    assert screen(few).account["by_stratum"]["modality"] == 12
    tiny = with_value(table(9), 3, "quality.detail", -3.0)
    assert outcome(tiny) == {}
    assert screen(tiny).account["by_stratum"]["none"] == 9
    assert outcome(with_value(tiny, 3, "quality.levels", 2)) == {"i3": ("corrupt_pixels", "exclude")}


def test_few_stacks_do_not_judge_each_other():
    stacks = table(240, "MR", series_id=np.repeat([f"s{number}" for number in range(12)], 20))
    whole = with_value(stacks, stacks["series_id"] == "s3", "quality.air", -1.0)
    assert outcome(whole) == {}
    slice_ = with_value(stacks, 65, "quality.air", -1.0)
    assert outcome(slice_) == {"i65": ("mr_artefact", "exclude")}
    films = table(240, series_id=stacks["series_id"].to_numpy() + np.arange(240).astype(str))
    assert len(outcome(with_value(films, np.arange(60, 80), "quality.detail", -1.6))) == 20
    many = table(800, "MR", series_id=np.repeat([f"s{number}" for number in range(40)], 20))
    assert len(outcome(with_value(many, many["series_id"] == "s3", "quality.air", -1.0))) == 20


def test_films_are_split_by_view_and_slices_by_plane():
    frame = pd.concat([table(50), table(50, "MR")], ignore_index=True)
    frame["view"], frame["plane"] = ["AP", "LAT"] * 50, ["coronal"] * 50 + ["sagittal", "axial"] * 25
    assert Strata(frame, 5, 5).account()["strata"] == 4


@pytest.mark.parametrize(
    ("dark", "ends"),
    [
        ([0, 1, 19], [0, 1, 19]),
        ([0, 2, 10, 18], [0]),
        ([9, 10, 11], []),
        ([], []),
        (list(range(19)), list(range(19))),
    ],
)
def test_only_the_ends_of_a_stack_go(dark, ends):
    frame = table(60, "MR")
    frame.loc[[20 + place for place in dark], "quality.foreground"] = 0.05
    shuffled = frame.sample(frac=1.0, random_state=1)
    want = {f"i{20 + place}": ("end_slice", "exclude") for place in ends}
    assert outcome(frame) == outcome(shuffled) == want
    assert outcome(frame.assign(modality="XR")) == {}


def test_a_stack_that_shows_nothing_at_all_goes_to_review():
    frame = table(60, "MR")
    frame.loc[20:39, "quality.foreground"] = 0.0
    assert outcome(frame) == {f"i{place}": ("end_slice", "review") for place in range(20, 40)}


def test_outlier_scores_set_one_percent_of_good_images_apart():
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((16, 16))
    good = rng.standard_normal((3000, 16)) @ mix
    scores = outlier_scores(rng.standard_normal((3000, 16)) @ mix, good)
    assert 0.002 < (scores > 1).mean() < 0.02
    assert (outlier_scores(rng.standard_normal((50, 16)) @ mix + 8 * mix[0], good) > 1).all()
    with pytest.raises(ValueError, match="at least 200"):
        outlier_scores(good[:5], good[:100])
    with pytest.raises(ValueError, match="cannot be judged"):
        outlier_scores(good[:5, :3], good)


# Injected defects: 5 % of a stratum has them, and they must be found at severities 4 and 5.

SENSITIVITY, FALSE_FLAGS, BATCH, COPIES = 0.95, 0.02, 0.05, 40


def rows_of(images, modality, plane, series, prefix="clean"):
    rows = [measure(image, modality).row() for image in images]
    frame = pd.DataFrame(rows).rename(columns={name: f"quality.{name}" for name in MEASURES})
    return frame.assign(
        image_id=[f"{prefix}{number}" for number in range(len(images))], modality=modality, view=plane, plane=plane,
        body_part="knee", site="a", series_id=series,
    )  # fmt: skip


def found_share(clean, bad, reasons):
    """Share of the defects that are found for one of their reasons, a few at a time among clean images."""
    step, hits = max(1, int(BATCH * len(clean))), 0
    for start in range(0, len(bad), step):
        mixed = pd.concat([clean, bad[start : start + step]], ignore_index=True)
        rows = screen(mixed).exclusions
        rows = rows[rows["image_id"].str.startswith("bad")]
        named = rows["reason"] + ", " + rows["detail"].str.partition("; also ")[2]
        hits += sum(bool(reasons & set(text.split(", "))) for text in named)
    return hits / len(bad)


def sensitivities(images, planes, series, modality, defects, skip=()):
    """Defect → share found at severities 4 and 5 together; and the share of clean images that are flagged."""
    clean, rng = rows_of(images, modality, planes, series), np.random.default_rng(11)
    shares = {}
    for name, (inject, reasons) in defects.items():
        if name in skip:
            continue
        usable = [n for n, image in enumerate(images) if _shows(name, image, planes[n])]
        chosen = rng.choice(usable, COPIES, replace=False)
        twice, bad = np.tile(chosen, 2), []
        for severity in (4, 5):
            for number in chosen:
                other = (images[rng.integers(len(images))],) if name == "stitched" else ()
                bad.append(inject(images[number], severity, rng, *other))
        shares[name] = found_share(clean, rows_of(bad, modality, planes[twice], series[twice], "bad"), reasons)
    flagged = len(screen(clean).exclusions) / len(clean)
    marked = [markers(images[number], 0, rng) for number in rng.choice(len(images), COPIES, replace=False)]
    text = sum(measure(image, modality).text_boxes > 0 for image in marked) / COPIES
    return shares, flagged, text


def _shows(defect, image, plane):
    """Can the defect be seen? White arrows on dark ground, movement with air on both sides of the limb."""
    return {"arrows": np.median(image) <= 190, "moved": plane == "sagittal"}.get(defect, True)


def check(shares, flagged, text):
    assert flagged <= FALSE_FLAGS
    assert text <= FALSE_FLAGS
    assert {name: share for name, share in shares.items() if share < SENSITIVITY} == {}


def as_grey(image):
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


@pytest.mark.slow
def test_defects_of_phantom_films():
    config = PhantomConfig(patients=60, modalities=("XR",), film_height=240, film_width=400)
    films = [as_grey(draw_film(exam, config)[0]) for exam in exams(config)]
    halves = [half for film in films for half in (film[:, :200], film[:, -200:])]
    images = [np.ascontiguousarray(half) for half in halves]
    check(*sensitivities(images, np.full(len(images), "AP"), np.arange(len(images)), "XR", FILM))


@pytest.mark.slow
def test_defects_of_phantom_slices():
    config = PhantomConfig(patients=8, modalities=("MR",), joints=("knee",), knee_mri=1.0, mr_size=256, slices=6)
    stacks = [(plane, draw_stack(exam, plane, config)) for exam in exams(config) for plane in ("sagittal", "axial")]
    planes = np.array([plane for plane, stack in stacks for _ in stack])
    images = [as_grey(image) for _, stack in stacks for image, _ in stack]
    series = np.repeat(np.arange(len(stacks)), 6)
    check(*sensitivities(images, planes, series, "MR", MR))


@pytest.mark.slow
@pytest.mark.data
def test_defects_of_real_films(shared_data):
    files = sorted(shared_data("knee-xray-kl").rglob("*.png"))[::2]
    images = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    check(*sensitivities(images, np.full(len(images), "PA"), np.arange(len(images)), "XR", FILM))


@pytest.mark.slow
@pytest.mark.data
def test_defects_of_a_real_stack(shared_data):
    files = sorted((shared_data("dicom-knee-mri") / "original").rglob("*.dcm"))
    images = [as_grey(read_display(file)[0]) for file in files]
    planes, echoes = np.full(len(images), "sagittal"), np.arange(len(images)) % 8
    check(
        *sensitivities(images, planes, echoes, "MR", MR, skip=("shaded",))
    )  # the stack is shaded as strongly by nature
