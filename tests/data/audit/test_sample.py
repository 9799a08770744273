"""The sample: proportional, one of each stratum at least, the same for the same seed, and what cannot be shown."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray import storage
from orthoray.data.audit.sample import Parameters, allocate, make_plan
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError

SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 5000), min_size=1, max_size=12)


@given(SIZES, st.integers(1, 3000))
def test_allocation_takes_what_is_asked_from_every_stratum(sizes, wanted):
    taken = allocate(sizes, wanted)
    assert sum(taken.values()) == min(max(wanted, len(sizes)), sum(sizes.values()))
    assert all(1 <= taken[name] <= size for name, size in sizes.items())


@given(SIZES, st.integers(1, 3000))
def test_allocation_is_proportional_where_every_share_is_above_one(sizes, wanted):
    total = sum(sizes.values())
    share = {name: min(wanted, total) * size / total for name, size in sizes.items()}
    if min(share.values()) >= 1:
        assert all(abs(allocate(sizes, wanted)[name] - share[name]) < 1 for name in sizes)


def test_allocation_by_hand():
    assert allocate({"big": 970, "mid": 20, "small": 10}, 100) == {"big": 97, "mid": 2, "small": 1}
    assert allocate({"big": 990, "rare": 5, "rarer": 5}, 100) == {"big": 98, "rare": 1, "rarer": 1}
    assert allocate({"a": 10, "b": 10, "c": 10}, 2) == {"a": 1, "b": 1, "c": 1}
    assert allocate({"a": 3, "b": 2}, 99) == {"a": 3, "b": 2}
    assert allocate({"a": 3}, 0) == {"a": 0}


def test_strata_are_modality_projection_site_and_reason(made):
    plan = make_plan(Dataset(made), Parameters(n=60, rejected=10))
    populations = {stratum.name: stratum.population for stratum in plan.strata}
    assert populations == {
        "MR axial south": 1,
        "MR sagittal north": 60,
        "MR sagittal south": 10,
        "XR AP north": 40,
        "XR PA north": 9,
        "quality/blurred": 12,
        "quality/graphics": 5,
    }
    assert plan.size("accepted") == (60, 120)
    assert plan.size("rejected") == (10, 17)
    assert plan.hidden == 4 + 3
    index = Dataset(made).index().set_index("image_id")
    for tile in plan.tiles:
        if tile.arm == "accepted":
            row = index.loc[tile.image_id]
            assert tile.stratum.split()[0] == row["modality"]
            assert tile.stratum.split()[-1] == row["site"]


def test_equal_seeds_give_equal_sheets_whatever_the_order_of_rows(made, fresh):
    shuffled = storage.read_table(f"{fresh}/index.parquet").to_pandas().sample(frac=1.0, random_state=5)
    schema = storage.read_table(f"{made}/index.parquet").schema
    table = pa.Table.from_pandas(shuffled, schema=schema, preserve_index=False)
    storage.write_table(table, f"{fresh}/index.parquet")
    first, second = (make_plan(Dataset(uri), Parameters(n=50)) for uri in (made, fresh))
    assert first == second
    assert first.sheet == second.sheet
    assert make_plan(Dataset(made), Parameters(n=50, seed=1)).tiles != first.tiles


def test_the_hash_tells_parameters_and_datasets_apart(made, other):
    options = [Parameters(), Parameters(n=20), Parameters(seed=1), Parameters(blind=True), Parameters(double_read=0.2)]
    sheets = {make_plan(Dataset(uri), parameters).sheet for uri in (made, other) for parameters in options}
    assert len(sheets) == 2 * len(options)


def test_a_larger_sample_holds_the_smaller_one(made):
    small, large = (make_plan(Dataset(made), Parameters(n=n)) for n in (30, 90))
    assert {tile.image_id for tile in small.tiles} < {tile.image_id for tile in large.tiles}


def test_arms_are_mixed_and_second_reading_is_a_share_of_each(made):
    plan = make_plan(Dataset(made), Parameters(n=100, rejected=17, double_read=0.15))
    assert sum(tile.second for tile in plan.tiles if tile.arm == "accepted") == 15
    assert sum(tile.second for tile in plan.tiles if tile.arm == "rejected") == 3
    places = [place for place, tile in enumerate(plan.tiles) if tile.arm == "rejected"]
    assert min(places) < 30
    assert max(places) > 85


@pytest.mark.slow
def test_seeds_reach_every_image_equally(made):
    dataset = Dataset(made)
    drawn = [
        tile.image_id
        for seed in range(200)
        for tile in make_plan(dataset, Parameters(n=60, rejected=0, seed=seed)).tiles
        if tile.stratum == "MR sagittal north"
    ]
    counts = pd.Series(drawn).value_counts()
    assert len(counts) == 60
    assert counts.between(70, 130).all()  # 100 expected, sd 7


def test_without_thumbnails_only_accepted_images_are_sampled(older):
    plan = make_plan(Dataset(older), Parameters(n=20))
    assert {tile.arm for tile in plan.tiles} == {"accepted"}
    assert plan.hidden == 24


def test_a_rejected_image_whose_id_means_two_things_is_not_shown(fresh):
    excluded = storage.read_table(f"{fresh}/excluded.parquet").to_pandas()
    excluded.loc[0, "image_id"] = "i0000aa"
    excluded.loc[1, "image_id"] = excluded.loc[2, "image_id"]
    storage.write_table(pa.Table.from_pandas(excluded, preserve_index=False), f"{fresh}/excluded.parquet")
    plan = make_plan(Dataset(fresh), Parameters(n=120, rejected=60))
    assert plan.hidden == 7 + 3
    assert len({tile.image_id for tile in plan.tiles}) == len(plan.tiles)


def test_nothing_to_look_at_is_refused(fresh):
    index = storage.read_table(f"{fresh}/index.parquet")
    storage.write_table(index.slice(0, 0), f"{fresh}/index.parquet")
    with pytest.raises(InputError, match="holds no images"):
        make_plan(Dataset(fresh), Parameters())
    storage.write_json(f"{fresh}/manifest.json", {})
    with pytest.raises(InputError, match="no dataset_id"):
        make_plan(Dataset(fresh), Parameters())
