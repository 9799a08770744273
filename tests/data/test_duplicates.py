"""Repeated images within and across patients."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray.data.duplicates import find_duplicates, similarity
from orthoray.data.near_hashes import CROWD, close_images, close_pairs
from orthoray.data.screening_rules import NearDuplicateRule, Rule, ScreeningRules
from orthoray.imaging import read_display
from orthoray.imaging.perceptual import perceptual_hash


def film(seed, size=160):
    rng = np.random.default_rng(seed)
    image = sum(
        weight * cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), grain) * grain
        for weight, grain in ((1.0, 24), (0.4, 6), (0.25, 2))
    )
    return np.clip(np.rint(128 + 45 * image / image.std()), 0, 255).astype(np.uint8)


def other_window(image):
    return np.clip(np.rint(255 * (image / 255.0) ** 0.9 * 0.95 + 6), 0, 255).astype(np.uint8)


def index_of(images, **columns):
    """One row per image; each is its own patient, study and series unless columns say otherwise."""
    names = [f"i{number}" for number in range(len(images))]
    table = {"image_id": names, "patient_id": names, "study_id": names, "series_id": names, "modality": "XR"} | columns
    frame = pd.DataFrame(table)
    frame["height"], frame["width"] = zip(*(image.shape for image in images), strict=True)
    frame["sha256"] = [str(hash(image.tobytes())) for image in images]
    frame["phash"] = np.array([perceptual_hash(image) for image in images], np.uint64)
    return frame


def found(images, rules=None, **columns):
    asked = []

    def load(name):
        asked.append(name)
        return images[int(name[1:])]

    return find_duplicates(index_of(images, **columns), load, rules), asked


def brute_force(hashes, distance):
    one, other = np.triu_indices(len(hashes), 1)
    near = np.bitwise_count(hashes[one] ^ hashes[other]) <= distance
    return set(zip(one[near].tolist(), other[near].tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 300), distance=st.integers(0, 6), flips=st.integers(0, 12))
def test_every_close_pair_is_found_once(seed, count, distance, flips):
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, max(1, count // 12), dtype=np.uint64)
    hashes = centres[rng.integers(0, len(centres), count)]
    for _ in range(flips):
        change = rng.random(count) < 0.5
        hashes = np.where(change, hashes ^ (np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)), hashes)
    hashes = rng.permutation(np.unique(hashes))
    pairs = close_pairs(hashes, distance)
    got = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert pairs.capped == 0
    assert len(got) == len(set(got))
    assert set(got) == brute_force(hashes, distance)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 120), series=st.integers(1, 30))
def test_images_with_equal_or_close_hashes_in_different_series(seed, count, series):
    rng = np.random.default_rng(seed)
    some = rng.integers(0, 2**64, 12, dtype=np.uint64)
    some = np.concatenate([some, some ^ np.uint64(0b1011), some ^ np.uint64(1 << 63)])
    hashes, apart = some[rng.integers(0, len(some), count)], rng.integers(0, series, count)
    pairs = close_images(hashes, apart, 4)
    want = {(a, b) for a, b in brute_force(hashes, 4) if apart[a] != apart[b]}
    if np.unique(hashes, return_counts=True)[1].max() <= CROWD:
        assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == want
        assert pairs.capped == 0


@pytest.mark.timeout(60)  # and not the square of the crowd
def test_a_crowd_of_one_hash_is_bounded_and_reported():
    count = 100_000
    hashes, apart = np.full(count, 7, np.uint64), np.arange(count) // 10
    pairs = close_images(hashes, apart, 4)
    assert len(pairs.first) < 2 * count
    assert pairs.capped == count
    compared = np.zeros(count, bool)
    compared[pairs.first] = compared[pairs.second] = True
    assert compared.all()


@pytest.mark.timeout(60)  # and not the square of the crowd
def test_a_crowd_of_alike_hashes_is_bounded_and_reported():
    hashes = np.arange(60_000, dtype=np.uint64)
    pairs = close_pairs(hashes, 4, reach=64, most=200_000)
    assert pairs.capped > 0
    assert 0 < len(pairs.first) < 15 * 64 * len(hashes)
    assert (np.bitwise_count(hashes[pairs.first] ^ hashes[pairs.second]) <= 4).all()


def test_distances_beyond_reason_are_refused():
    with pytest.raises(ValueError, match="distance 17"):
        close_pairs(np.zeros(1, np.uint64), 17)


def test_the_first_of_equal_images_of_a_patient_stays():
    one = film(1)
    result, asked = found([one, film(2), one, one], patient_id=["p", "p", "p", "q"])
    assert result.exclusions[["image_id", "stage", "reason", "severity"]].to_numpy().tolist() == [
        ["i2", "duplicates", "exact_duplicate", "exclude"]
    ]
    assert result.alarms[["image_id", "other_id", "reason", "severity"]].to_numpy().tolist()[0] == [
        "i0", "i3", "exact_duplicate", "review",
    ]  # fmt: skip
    assert set(asked) <= {"i0", "i3"}


def test_equal_bytes_of_another_shape_are_another_image():
    image = film(3)
    turned = image.reshape(80, 320)
    result, _ = found([image, turned], patient_id="p", rules=ScreeningRules(near_duplicate=NearDuplicateRule(on=False)))
    assert not len(result.exclusions)


def test_another_window_of_the_same_exposure_is_excluded_in_another_series():
    one = film(4)
    images = [one, film(5), other_window(one), np.minimum(one, 240)]
    result, asked = found(images, patient_id="p", series_id=["a", "b", "c", "a"])
    assert result.exclusions[["image_id", "reason"]].to_numpy().tolist() == [["i2", "near_duplicate"]]
    assert result.exclusions["value"].min() > 0.9
    assert not len(result.alarms)
    assert len(asked) == len(set(asked))
    assert "i1" not in asked


def test_across_patients_it_is_an_alarm_and_nothing_goes():
    one = film(6)
    result, _ = found([one, other_window(one)], patient_id=["p", "q"])
    assert not len(result.exclusions)
    assert result.alarms[["image_id", "other_id", "reason", "severity"]].to_numpy().tolist() == [
        ["i0", "i1", "near_duplicate", "review"]
    ]
    assert result.account["alarms"] == 1


def test_close_hashes_alone_convict_nobody():
    index = index_of([film(7), film(8)], patient_id="p")
    index["phash"] = np.array([1, 2], np.uint64)
    result = find_duplicates(index, lambda name: film(7 + int(name[1:])))
    assert result.account["candidates"] == result.account["compared"] == 1
    assert not len(result.exclusions)


def test_echoes_of_one_mr_study_are_kept():
    one = film(9)
    same = {"patient_id": "p", "series_id": ["a", "b"], "modality": "MR"}
    echoes, asked = found([one, other_window(one)], study_id="s", **same)
    assert (len(echoes.exclusions), asked) == (0, [])
    again, _ = found([one, other_window(one)], study_id=["s", "t"], **same)
    assert again.exclusions["image_id"].tolist() == ["i1"]


def test_rules_bound_what_is_compared_and_can_be_off():
    one = film(10)
    images = [one, *[other_window(one) for _ in range(3)], one]
    few = ScreeningRules(near_duplicate=NearDuplicateRule(candidates=1), exact_duplicate=Rule(on=False))
    result, asked = found(images, few, patient_id="p")
    assert (result.account["compared"], len(asked)) == (1, 2)
    assert result.account["candidates"] == 10
    off = ScreeningRules(near_duplicate=NearDuplicateRule(on=False), exact_duplicate=Rule(on=False))
    assert not len(found(images, off, patient_id="p")[0].exclusions)


def test_similarity_is_one_for_the_same_and_small_for_others():
    one = film(11)
    assert similarity(one, one) == pytest.approx((1.0, 1.0), abs=1e-5)
    assert min(similarity(one, other_window(one))) > 0.95
    assert similarity(one, film(12))[1] < 0.3
    assert similarity(one, np.full((9, 9), 5, np.uint8)) == (0.0, 0.0)


@pytest.mark.data
def test_real_knees_look_alike_without_being_the_same(shared_data):
    files = sorted(shared_data("knee-xray-kl").rglob("*.png"))[:900]
    images = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    copies = [other_window(image) for image in images[:60]]
    patients = [file.name[:7] for file in files]
    names = {"patient_id": [f"p{place}" for place in pd.factorize(np.array([*patients, *patients[:60]]))[0]]}
    result, asked = found([*images, *copies], **names)
    assert result.account["candidates"] > 60
    assert result.exclusions["image_id"].isin([f"i{number}" for number in range(900, 960)]).all()
    assert len(result.exclusions) >= 57
    assert not len(result.alarms)
    assert len(asked) < 300


@pytest.mark.data
def test_echoes_of_a_real_knee_are_no_duplicates(shared_data):
    files = sorted((shared_data("dicom-knee-mri") / "original").rglob("*.dcm"))[:24]
    images = [np.rint(read_display(file)[0] * 255).astype(np.uint8) for file in files]
    result, _ = found(images, patient_id="p", study_id="s", modality="MR")
    assert not len(result.exclusions)
