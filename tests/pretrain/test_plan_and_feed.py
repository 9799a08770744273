"""The order of images: complete, reproducible, resumable; and the same order through real Ray Data."""

import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthoray.data.codec import decode
from orthoray.errors import InputError
from orthoray.pretrain.config import DataConfig, DataSource
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig
from orthoray.pretrain.feed import Share, stream
from orthoray.pretrain.plan import Mixture

CROPS = MultiCropConfig(global_size=32, local_size=16, n_local=2)
GROUPS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=3)


def mixture_of(*sources, seed=0, window=16):
    found = [DataSource(**source) if isinstance(source, dict) else DataSource(uri=source) for source in sources]
    return Mixture(DataConfig(datasets=found, shuffle_window=window), seed)


def places(mixture, total, start=0):
    """[(place in the run, number of the image in the mixture)] as the windows give them."""
    return [
        (place, mixture.groups[group].first + row)
        for window in mixture.windows(total, start)
        for place, (group, row) in enumerate(mixture.order(window), start=window.first)
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=GROUPS, window=st.integers(1, 40), seed=st.integers(0, 2**31), data=st.data())
def test_every_image_comes_once_an_epoch_and_a_resume_goes_on_with_the_very_next(
    dataset_folder, files, window, seed, data
):
    images = sum(map(sum, files))
    with tempfile.TemporaryDirectory() as folder:
        mixture = mixture_of(dataset_folder(folder, files, blank=True), seed=seed, window=window)
    assert mixture.images == mixture.images_per_epoch() == images
    total = 3 * images - data.draw(st.integers(0, images - 1), label="missing from the last epoch")
    start = data.draw(st.integers(0, total), label="start")
    whole = places(mixture, total)
    assert [place for place, _ in whole] == list(range(total))
    for epoch in range(total // images):
        assert sorted(row for _, row in whole[epoch * images : (epoch + 1) * images]) == list(range(images))
    assert places(mixture, total, start) == whole[start:]
    assert places(mixture, total - 1) == whole[:-1]  # a longer run begins like a shorter one


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=GROUPS, window=st.integers(1, 40), weight=st.sampled_from([0.25, 0.5, 1.5, 2.0]), data=st.data())
def test_weighted_plans_resume_exactly_too(dataset_folder, files, window, weight, data):
    with tempfile.TemporaryDirectory() as folder:
        mixture = mixture_of({"uri": dataset_folder(folder, files, blank=True), "weight": weight}, window=window)
    total = 2 * mixture.images_per_epoch()
    start = data.draw(st.integers(0, total), label="start")
    whole = places(mixture, total)
    assert [place for place, _ in whole] == list(range(total))
    assert places(mixture, total, start) == whole[start:]


def test_weights_set_how_often_the_images_of_a_dataset_come(dataset_folder, tmp_path):
    half = {"uri": dataset_folder(tmp_path / "half", ((8, 8), (8,)), blank=True), "weight": 0.5}
    twice = {"uri": dataset_folder(tmp_path / "twice", ((4, 6),), blank=True), "weight": 2.0}
    more = {"uri": dataset_folder(tmp_path / "more", ((8,),), blank=True), "weight": 1.25}
    mixture = mixture_of(half, twice, more)
    per_epoch = 12 + 20 + 10
    assert mixture.images == 24 + 10 + 8
    assert mixture.images_per_epoch() == per_epoch
    rows = [row for _, row in places(mixture, 40 * per_epoch)]
    for epoch in range(40):
        counts = Counter(rows[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sum(row < 24 for row in counts) == 12
        assert {counts[row] for row in range(24) if row in counts} == {1}
        assert {counts[row] for row in range(24, 34)} == {2}
        assert sorted(counts[row] for row in range(34, 42)) == [1] * 6 + [2] * 2
    over_all = Counter(rows)
    assert all(8 <= over_all[row] <= 32 for row in range(24))  # by lot: 20 expected, 4 sigma either way
    assert all(40 < over_all[row] < 80 for row in range(34, 42))


def test_epochs_and_seeds_have_orders_of_their_own(tiny_dataset):
    images = 32
    rows = [row for _, row in places(mixture_of(tiny_dataset, seed=5), 2 * images)]
    assert rows[:images] != rows[images:]
    assert [row for _, row in places(mixture_of(tiny_dataset, seed=5), 2 * images)] == rows
    assert [row for _, row in places(mixture_of(tiny_dataset, seed=6), 2 * images)] != rows


def test_epochs_differ_in_the_order_of_row_groups_and_within_them(dataset_folder, tmp_path):
    many = mixture_of(dataset_folder(tmp_path / "many", ((4,) * 12,), blank=True), window=1)
    groups = [window.groups for window in many.windows(96)]
    assert sorted(groups[:12]) == sorted(groups[12:])
    assert groups[:12] != groups[12:]
    one = mixture_of(dataset_folder(tmp_path / "one", ((20,),), blank=True))
    rows = [row for _, row in places(one, 40)]
    assert rows[:20] != rows[20:]
    inside = [tuple(row for _, row in many.order(window)) for window in many.windows(48)]
    assert len(set(inside)) > 4  # windows of equal size are not all shuffled alike


def test_images_are_shuffled_across_the_row_groups_of_a_window(tiny_dataset):
    mixture = mixture_of(tiny_dataset, window=1000)
    order = [group for group, _ in mixture.order(next(mixture.windows(32)))]
    runs = 1 + sum(one != other for one, other in pairwise(order))
    assert runs > 2 * len(mixture.groups)


def test_a_window_is_no_larger_than_asked_for_plus_one_row_group(dataset_folder, tmp_path):
    mixture = mixture_of(dataset_folder(tmp_path, ((4,) * 10, (4,) * 10), blank=True), window=10)
    assert [window.take for window in mixture.windows(80)] == [12] * 6 + [8]


def test_only_the_wanted_modality_is_read(dataset_folder, tmp_path):
    uri = dataset_folder(tmp_path, ((8, 5), (7,)), modalities=("XR", "MR", "MR"), blank=True)
    mixture = mixture_of({"uri": uri, "modality": "MR"})
    chosen = []
    for group in mixture.groups:
        ids = pq.ParquetFile(group.file).read_row_group(group.group)["image_id"].to_pylist()
        chosen += [ids[row] for row in group.rows]
    assert chosen == [f"img{number:05d}" for number in range(20) if number % 3]
    assert sorted(row for _, row in places(mixture, len(chosen))) == list(range(len(chosen)))


def test_datasets_are_numbered_one_after_the_other_and_keep_their_ids(dataset_folder, tmp_path):
    one = dataset_folder(tmp_path / "one", ((3, 2),), dataset_id="ds-one", blank=True)
    two = dataset_folder(tmp_path / "two", ((4,),), dataset_id="ds-two", blank=True)
    mixture = mixture_of(one, two)
    assert mixture.dataset_ids == ["ds-one", "ds-two"]
    assert [(group.first, len(group.rows)) for group in mixture.groups] == [(0, 3), (3, 2), (5, 4)]


def test_data_that_cannot_be_used_are_refused(dataset_folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        mixture_of(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        mixture_of(str(tmp_path / "empty"))
    films = dataset_folder(tmp_path / "films", blank=True)
    with pytest.raises(InputError, match="no images of modality MR"):
        mixture_of({"uri": films, "modality": "MR"})
    with pytest.raises(InputError, match="holds no images"):
        mixture_of(dataset_folder(tmp_path / "none", ()))
    shard = Path(films) / "images" / "shard-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"shard-00001\.parquet: .*damaged"):
        mixture_of(films)


def rows_of(mixture, share, start, total):
    """[{position, row, views, details}] in the order in which a worker sees them."""
    batches = list(stream(mixture, CROPS, share, start, total).iter_batches(batch_size=5, batch_format="numpy"))
    names = ("position", "row", "views", "details")
    return [dict(zip(names, image, strict=True)) for b in batches for image in zip(*(b[n] for n in names), strict=True)]


def pixels_by_number(mixture):
    found = {}
    for group in mixture.groups:
        table = pq.ParquetFile(group.file).read_row_group(group.group)
        found |= {group.first + at: decode(table["pixels"][row].as_py()) for at, row in enumerate(group.rows)}
    return found


@pytest.mark.ray
@pytest.mark.slow
def test_the_stream_gives_the_plan_s_images_and_the_seed_s_crops(tiny_dataset, dataset_folder, tmp_path, ray_session):
    mixed = dataset_folder(tmp_path, ((6,), (5,)), modalities=("MR", "XR"), seed=9)
    mixture = mixture_of(tiny_dataset, {"uri": mixed, "weight": 2.0, "modality": "MR"}, seed=3, window=7)
    total = 96  # two epochs and a half of 32 + 2 · 6 images
    plan, pixels = places(mixture, total), pixels_by_number(mixture)
    rows = rows_of(mixture, Share(0, 1, 8), 0, total)
    assert [(row["position"], row["row"]) for row in rows] == plan
    cut = MultiCrop(CROPS)
    for row in rows:
        views, details = cut(pixels[row["row"]], np.random.default_rng((3, int(row["position"]))))
        assert np.array_equal(row["views"], views)
        assert np.array_equal(row["details"], details)
        assert row["views"].dtype == row["details"].dtype == np.uint8
    resumed = rows_of(mixture, Share(0, 1, 8), 40, total)
    assert_same(resumed, rows[40:])
    # two workers; windows of one row group, so that some windows hold nothing for one of them
    narrow = mixture_of(tiny_dataset, seed=3, window=1)
    whole = rows_of(narrow, Share(0, 1, 16), 0, 64)
    shares = [rows_of(narrow, Share(rank, 2, 16), 0, 64) for rank in range(2)]
    for step in range(4):
        batch = whole[step * 16 : (step + 1) * 16]
        assert_same(shares[0][step * 8 : (step + 1) * 8], batch[:8])
        assert_same(shares[1][step * 8 : (step + 1) * 8], batch[8:])
    assert [len(share) for share in shares] == [32, 32]
    without = stream(narrow, CROPS.model_copy(update={"n_local": 0}), Share(0, 1, 16), 48, 64).take_all()
    assert [row["position"] for row in without] == list(range(48, 64))
    assert "details" not in without[0]


def assert_same(found, expected):
    assert [row["position"] for row in found] == [row["position"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        for name in ("row", "views", "details"):
            assert np.array_equal(one[name], other[name]), (name, one["position"])
