"""Shards that are damaged in the middle: told by name, or worked around and counted."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pretrain.series import SIDE, film, mixture_of, mr, number_of, write_rows
from tests.pretrain.test_views import crops_of, shown

from orthoray.errors import InputError, OrthoRayError, RunError
from orthoray.pretrain.feed import batches, plainly, preferring
from orthoray.pretrain.share import Share

GROUPS = [[[film() for _ in range(6)], [film() for _ in range(5)]], [[film() for _ in range(4)]]]


@pytest.fixture
def dataset(tmp_path):
    return write_rows(tmp_path / "dataset", GROUPS)


def shard(dataset, number=0):
    return f"{dataset}/images/shard-{number:05d}.parquet"


def spoil(file, group, column="pixels", how="garbage", row=2):
    """Damage one column of a row group on disk: its page, one image in it, or one byte of that image."""
    metadata = pq.ParquetFile(file).metadata.row_group(group)
    chunk = next(
        metadata.column(at)
        for at in range(metadata.num_columns)
        if metadata.column(at).path_in_schema.split(".")[0] == column
    )
    begin = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
    content = bytearray(Path(file).read_bytes())
    if how == "garbage":  # the page's header, so that it cannot be read at all
        content[begin : begin + 40] = b"\xff" * 40
    else:
        pixels = pq.ParquetFile(file).read_row_group(group)["pixels"][row].as_py()
        place = bytes(content).index(pixels, begin)
        content[place + len(pixels) // 2] ^= 0x40
    Path(file).write_bytes(content)


def test_a_damaged_page_is_told_with_its_shard_and_what_to_do(dataset):
    spoil(shard(dataset), 1)
    with pytest.raises(RunError) as told:
        shown(mixture_of(dataset), crops_of(), 15)
    assert f"{shard(dataset)}, row group 1: damaged (" in str(told.value)
    assert "Restore the file from a copy or ingest the dataset again" in str(told.value)
    assert "data.damaged=replace" in str(told.value)


def test_a_damaged_image_is_told_with_its_row(dataset):
    spoil(shard(dataset), 1, how="byte", row=3)
    with pytest.raises(RunError, match=r"shard-00000\.parquet, row group 1, row 3: .*damaged \(a checksum differs\)"):
        shown(mixture_of(dataset), crops_of(), 15)


def test_a_shard_that_is_gone_is_told(dataset, tmp_path):
    mixture = mixture_of(dataset)
    (tmp_path / "dataset" / "images" / "shard-00001.parquet").unlink()
    with pytest.raises(RunError, match=r"shard-00001\.parquet: the shard is gone\. Restore"):
        shown(mixture, crops_of(), 15)


def test_a_shard_cut_short_is_told_before_anything_begins(dataset):
    content = Path(shard(dataset)).read_bytes()
    Path(shard(dataset)).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"shard-00000\.parquet: damaged, or not a Parquet file .*Ingest the dataset"):
        mixture_of(dataset)


def test_an_unknown_modality_is_told(tmp_path):
    uri = write_rows(tmp_path / "ct", [[[film(), film(modality="CT")]]])
    with pytest.raises(RunError, match=r"row group 0: damaged .*neither XR nor MR: 'CT'"):
        shown(mixture_of(uri), crops_of(), 2)


def test_the_next_image_stands_in_for_a_damaged_one(dataset):
    spoil(shard(dataset), 0, how="byte", row=2)
    spoil(shard(dataset), 0, how="byte", row=5)
    mixture = mixture_of(dataset)
    plan = [mixture.groups[group].first + row for window in mixture.windows(45) for group, row in mixture.order(window)]
    rows = shown(mixture, crops_of(), 45, damaged="replace")
    assert [int(row["row"]) for row in rows] == [{2: 3, 5: 0}.get(number, number) for number in plan]
    assert [bool(row["replaced"]) for row in rows] == [number in (2, 5) for number in plan]
    assert [number_of(row["views"][0])[0] for row in rows] == [int(row["row"]) for row in rows]
    assert [row["position"] for row in rows] == list(range(45))


@pytest.mark.parametrize("window", [1, 1000])
def test_images_of_other_row_groups_stand_in_for_one_that_is_damaged_as_a_whole(dataset, window):
    spoil(shard(dataset), 1)  # images 6 … 10
    mixture = mixture_of(dataset, window=window)
    if window == 1:  # nothing else in the window
        with pytest.raises(RunError, match=r"shard-00000\.parquet: of 1 row group\(s\) no image can be read"):
            shown(mixture, crops_of(), 15, damaged="replace")
        return
    rows = shown(mixture, crops_of(), 30, damaged="replace")
    counts = np.bincount([int(row["row"]) for row in rows], minlength=15)
    assert counts[6:11].sum() == 0
    assert sum(int(row["replaced"]) for row in rows) == 10
    for world in (1, 2, 5):
        parts = [shown(mixture, crops_of(), 30, Share(rank, world, 10), damaged="replace") for rank in range(world)]
        made = sorted((int(row["position"]), int(row["row"])) for part in parts for row in part)
        assert made == [(int(row["position"]), int(row["row"])) for row in rows]


def test_a_damaged_neighbour_gives_way_to_the_image_itself(tmp_path):
    uri = write_rows(tmp_path / "series", [[mr("a", 3)]])
    spoil(shard(uri), 0, how="byte", row=1)
    config = crops_of(second_view="neighbour")
    with pytest.raises(RunError, match="row group 0, row 1: "):
        shown(mixture_of(uri), config, 3)
    for row in shown(mixture_of(uri), config, 30, damaged="replace"):
        assert {int(row["row"]), int(row["second"])} <= {0, 2}
        assert row["replaced"]  # 0 and 2 have no other neighbour than 1


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_flipped_bit_is_told_or_changes_no_picture(tmp_path_factory, place, bits):
    """Anywhere in a file: in pixels, columns, pages or the footer. Never a strange picture, never another error."""
    uri = write_rows(tmp_path_factory.mktemp("flip") / "dataset", [GROUPS[0]])
    content = bytearray(Path(shard(uri)).read_bytes())
    content[int(place * len(content))] ^= bits
    Path(shard(uri)).write_bytes(content)
    try:
        rows = shown(mixture_of(uri), crops_of(canonical_laterality=True, second_view="neighbour"), 11)
    except OrthoRayError:
        return
    for row in rows:
        assert number_of(row["views"][0])[0] == row["row"]
        assert row["views"].shape == (2, SIDE, SIDE)


@pytest.mark.ray
@pytest.mark.slow
def test_what_a_task_says_comes_out_of_ray_as_it_was_said(dataset, ray_session):
    spoil(shard(dataset), 1)
    with pytest.raises(RunError) as told:
        list(batches(mixture_of(dataset), crops_of(), Share(0, 1, 5), 0, 15))
    assert type(told.value) is RunError
    assert str(told.value).startswith(f"{shard(dataset)}, row group 1: damaged (")
    assert "Traceback" not in str(told.value)


def test_errors_of_others_are_not_changed():
    with pytest.raises(KeyError, match="mine"), plainly():
        raise KeyError("mine")
    outer = ValueError("outer")
    outer.__cause__ = RunError("inner")
    with pytest.raises(RunError, match="inner"), plainly():
        raise outer


def test_small_data_are_refused(tmp_path):
    uri = write_rows(tmp_path / "few", [[[film() for _ in range(7)]]])
    mixture_of(uri).require_batch(7)
    with pytest.raises(InputError, match=r"a batch of 8 is more than the 7 images of an epoch.*batch_size=6 or less"):
        mixture_of(uri).require_batch(8)
    mixture_of(uri, datasets=[{"uri": uri, "weight": 2.0}]).require_batch(14)
    alone = write_rows(tmp_path / "one", [[[film()]]])
    with pytest.raises(InputError, match="an epoch has one image"):
        mixture_of(alone).require_batch(2)


def node(number, cpus, gpus=0, alive=True):
    return {"NodeID": f"n{number}", "Alive": alive, "Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})}


def test_nodes_without_gpu_are_preferred_where_others_have_some():
    gpu, plain = node(0, 16, 8), node(1, 32)
    assert preferring([gpu]) == preferring([plain]) == preferring([gpu, node(2, 8, alive=False)]) == {}
    assert preferring([gpu, node(2, 0)]) == {}  # a head that takes no tasks
    found = preferring([node(3, 4), gpu, plain])
    assert found["label_selector"] == {"ray.io/node-id": "in(n1,n3)"}
    assert found["fallback_strategy"] == [{"label_selector": {}}]
