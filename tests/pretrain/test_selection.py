"""Weights: exact over epochs, for whole numbers and fractions, by modality, site and dataset."""

import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pretrain.series import film, mixture_of, mr, write_rows

from orthoray.errors import InputError
from orthoray.pretrain.selection import Counts, Divider, Part, fraction

WEIGHTS = st.one_of(
    st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1.0, 1.25, 2.0, 4.0, 7.9]), st.floats(0.001, 8, allow_nan=False)
)


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 40), weight=WEIGHTS, epochs=st.integers(1, 30), before=st.integers(0, 50))
def test_every_image_comes_as_often_as_its_weight_says(size, weight, epochs, before):
    divider, exact = Divider(), fraction(weight)
    divider.divide(exact, before)  # a part before, which hands on a fraction
    (part,) = divider.divide(exact, size)
    found = Counter(dict.fromkeys(range(size), 0))
    for epoch in range(epochs):
        rows = list(part.of_epoch(epoch, (3, 1)))
        assert len(rows) == Counts([[part]]).of_epoch(epoch)[0]
        counts = Counter(rows)
        assert all(int(exact) <= counts[row] <= int(exact) + 1 for row in range(size))  # never far from even
        found.update(counts)
    assert abs(sum(found.values()) - epochs * size * exact) < 1
    assert all(abs(count - epochs * exact) < 1 + Fraction(1, size) for count in found.values())


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=40), weight=WEIGHTS, epochs=st.integers(2, 12))
def test_epochs_are_of_about_equal_size_although_small_groups_round(sizes, weight, epochs):
    """A group of one image at 0.1 comes in one epoch of ten; that must not be the same epoch for all of them."""
    divider, exact = Divider(), fraction(weight)
    parts = [divider.divide(exact, size) for size in sizes]
    counts = Counts(parts)
    mean = counts.mean()
    assert mean == pytest.approx(sum(sizes) * float(exact))
    totals = [int(counts.of_epoch(epoch).sum()) for epoch in range(epochs)]
    assert totals[0] == int(sum(sizes) * exact)
    assert abs(sum(totals) - epochs * mean) < len(sizes)
    assert all(abs(total - mean) <= len(sizes) / 2 + 1 for total in totals)


@settings(max_examples=50, deadline=None)
@given(groups=st.integers(1, 60), size=st.integers(1, 9), weight=WEIGHTS, epoch=st.integers(0, 50))
def test_of_equal_groups_every_epoch_is_exact(groups, size, weight, epoch):
    divider, exact = Divider(), fraction(weight)
    counts = Counts([divider.divide(exact, size) for _ in range(groups)])
    assert abs(int(counts.of_epoch(epoch).sum()) - groups * size * exact) < 1


def test_a_tenth_is_a_tenth():
    assert fraction(0.1) == Fraction(1, 10)
    assert fraction(0.1, 0.2, 4.0) == Fraction(8, 100)
    assert fraction(100.0, 100.0, 100.0) == 1_000_000
    with pytest.raises(InputError, match=r"0\.001 × 0\.0001 is less than a millionth"):
        fraction(0.001, 0.0001)
    part = Part(range(3), 0, 1, 3, 0)
    assert [part.rest_before(epoch) for epoch in range(4)] == [0, 1, 2, 3]
    finest = Divider().divide(fraction(0.999_999), 3072)[0]
    assert finest.rest_before(10_000_000) == 10_000_000 * 3072 * 999_999 // 1_000_000  # no rounding, no overflow
    assert Counts([[finest]]).of_epoch(10_000_000)[0] in (3071, 3072)


def numbers(mixture, epochs):
    """Per epoch how often each image comes."""
    found, at = [], 0
    sizes = [mixture.epoch_size(epoch) for epoch in range(epochs)]
    rows = [
        mixture.groups[group].first + place
        for window in mixture.windows(sum(sizes))
        for group, place in mixture.order(window)
    ]
    for size in sizes:
        found.append(Counter(rows[at : at + size]))
        at += size
    return found


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """60 images in 5 row groups: 24 films of two sites, 36 slices of three."""
    films = [film(site=f"film-{at % 2}") for at in range(24)]
    slices = [row for name in "abc" for row in mr(name, 12, site=f"mr-{name}")]
    files = [[films[:10] + slices[:3], slices[3:20]], [films[10:], slices[20:30], slices[30:]]]
    return write_rows(tmp_path_factory.mktemp("weights") / "dataset", files, pixels=False)


def kinds(mixture):
    """Number of every image within the mixture → (modality, site)."""
    import pyarrow.parquet as pq

    found = {}
    for group in mixture.groups:
        table = pq.ParquetFile(group.file).read_row_group(group.group, columns=["modality", "site"]).to_pylist()
        found |= {group.first + at: tuple(table[row].values()) for at, row in enumerate(group.rows)}
    return found


def test_weights_of_modality_and_site_multiply(mixed):
    weights = {"modality": {"XR": 2.0, "MR": 0.5}, "site": {"film-1": 0.75, "mr-b": 0.2, "mr-c": 3.0}}
    mixture = mixture_of(mixed, weights=weights, datasets=[{"uri": mixed, "weight": 2.0}])
    expected = {
        ("XR", "film-0"): 4.0,
        ("XR", "film-1"): 3.0,
        ("MR", "mr-a"): 1.0,
        ("MR", "mr-b"): 0.2,
        ("MR", "mr-c"): 3.0,
    }
    kind = kinds(mixture)
    assert mixture.images == 60
    assert mixture.images_per_epoch() == round(12 * 4 + 12 * 3 + 12 * 1 + 12 * 0.2 + 12 * 3)
    epochs = numbers(mixture, 10)
    for number in range(60):
        assert sum(counts[number] for counts in epochs) == pytest.approx(10 * expected[kind[number]], abs=1)
        if expected[kind[number]].is_integer():
            assert {counts[number] for counts in epochs} == {int(expected[kind[number]])}
    for _site, weight in expected.items():
        total = sum(counts[number] for counts in epochs for number in counts if kind[number] == _site)
        assert total == pytest.approx(10 * 12 * weight, abs=3)


def test_weight_0_leaves_out(mixed):
    mixture = mixture_of(mixed, weights={"modality": {"MR": 0.0}, "site": {"film-1": 0.0}})
    assert mixture.images == mixture.images_per_epoch() == 12
    assert set(kinds(mixture).values()) == {("XR", "film-0")}
    with pytest.raises(InputError, match="holds no images with a weight above 0"):
        mixture_of(mixed, weights={"modality": {"MR": 0.0, "XR": 0.0}})


def test_weights_of_1_change_nothing(mixed):
    plain, weighed = mixture_of(mixed), mixture_of(mixed, weights={"modality": {"XR": 1.0}, "site": {"mr-a": 1.0}})
    for one, other in zip(plain.windows(200, 31), weighed.windows(200, 31), strict=True):
        assert one == other
        assert plain.order(one) == weighed.order(other)


def test_weights_of_what_is_not_there_are_refused(mixed):
    with pytest.raises(InputError, match=r"data\.weights\.site: no image is of site 'film-2'\. Did you mean 'film-"):
        mixture_of(mixed, weights={"site": {"film-2": 2.0}})
    films = [{"uri": mixed, "modality": "XR"}]
    mixture_of(mixed, datasets=films, weights={"modality": {"XR": 2.0}})
    unknown = mixture_of(mixed, weights={"site": {"film-0": 0.5}})
    assert unknown.images_per_epoch() == 54


@settings(max_examples=25, deadline=None)
@given(xr=WEIGHTS, site=WEIGHTS, window=st.integers(1, 70), data=st.data())
def test_a_resume_goes_on_with_the_very_next_image_whatever_the_weights(mixed, xr, site, window, data):
    mixture = mixture_of(mixed, window=window, weights={"modality": {"XR": xr}, "site": {"mr-b": site}})
    total = sum(mixture.epoch_size(epoch) for epoch in range(3))
    start = data.draw(st.integers(0, total), label="start")

    def places(begin):
        return [
            (place, image)
            for part in mixture.windows(total, begin)
            for place, image in enumerate(mixture.order(part), start=part.first)
        ]

    whole = places(0)
    assert [place for place, _ in whole] == list(range(total))
    assert places(start) == whole[start:]
    schedule = mixture.schedule(total, start)
    assert [schedule[number] for number in range(len(schedule))] == list(schedule)
    with pytest.raises(IndexError):
        schedule[len(schedule)]


def test_a_part_keeps_its_place_after_many_epochs():
    """Resuming in epoch 1000 needs no epoch before it."""
    part = Divider().divide(fraction(0.3), 7)[0]
    seen = np.zeros(7)
    for epoch in range(1000, 1010):
        for row in part.of_epoch(epoch, (0,)):
            seen[row] += 1
    assert (seen == 3).all()


def test_what_a_plan_holds_grows_with_row_groups_not_with_images(tmp_path):
    """And by a few bytes for every image where rows or weights differ within a row group; no objects."""
    size = {}
    for rows in (50, 2000):
        slices = [row for at in range(rows // 2) for row in (mr(f"s{at}", 1)[0], film())]
        uri = write_rows(tmp_path / str(rows), [[slices] * 4], pixels=False)
        plans = {
            "all": mixture_of(uri),
            "modality": mixture_of(uri, datasets=[{"uri": uri, "modality": "XR"}]),
            "weights": mixture_of(uri, weights={"modality": {"XR": 0.5}}),
        }
        for name, mixture in plans.items():
            size[name, rows] = len(pickle.dumps(mixture))
    assert abs(size["all", 2000] - size["all", 50]) < 200
    assert size["modality", 2000] - size["modality", 50] < 4 * 975 * 4 + 1000
    assert size["weights", 2000] - size["weights", 50] < 4 * 1950 * 4 + 1000
