"""Splits: disjoint patients, complete, reproducible, immutable."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray import storage
from orthoray.data.splits import check_disjoint, inner_split, make_splits, read_splits, write_splits
from orthoray.errors import InputError, RunError


def labels_of(patients, labels):
    names = [f"s{row:04d}" for row in range(len(patients))]
    return pd.DataFrame({"sample_id": names, "patient_id": [f"p{p}" for p in patients], "label": labels})


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 60, 200)
    return labels_of(patients, rng.integers(0, 3, 200))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=20, max_size=120), st.integers(2, 5))
def test_any_split_is_complete_and_disjoint(rows, folds):
    table = labels_of(*zip(*rows, strict=True))
    per_class = table.groupby("label")["patient_id"].nunique()
    if len(per_class) < 2 or per_class.min() < folds:
        with pytest.raises(InputError):
            make_splits(table, folds, 0)
        return
    split = make_splits(table, folds, 0)
    assert sorted(split["sample_id"]) == sorted(table["sample_id"])
    assert set(split["fold"]) <= set(range(folds))
    assert set(split["role"]) == {"outer"}
    assert (split.groupby("patient_id")["fold"].nunique() == 1).all()
    owner = dict(zip(table["sample_id"], table["patient_id"], strict=True))
    assert all(
        owner[sample] == patient for sample, patient in zip(split["sample_id"], split["patient_id"], strict=True)
    )


def test_row_order_does_not_matter_and_the_seed_does(labels):
    first = make_splits(labels, 5, 3)
    shuffled = labels.sample(frac=1.0, random_state=1)
    pd.testing.assert_frame_equal(first, make_splits(shuffled, 5, 3))
    assert not first["fold"].equals(make_splits(labels, 5, 4)["fold"])


def test_folds_have_similar_shares_of_every_label(labels):
    merged = make_splits(labels, 5, 0).merge(labels, on=["sample_id", "patient_id"])
    shares = merged.groupby("fold")["label"].value_counts(normalize=True).unstack()
    assert (shares.max() - shares.min()).max() < 0.25


def test_impossible_splits_say_the_numbers(labels):
    with pytest.raises(InputError, match="61 folds need at least 61 patients, the task has"):
        make_splits(labels, 61, 0)
    rare = labels_of(range(10), [0] * 8 + [1] * 2)
    with pytest.raises(InputError, match=r"class 1 has 2 patient\(s\), fewer than the 5 folds"):
        make_splits(rare, 5, 0)
    with pytest.raises(InputError, match="same label"):
        make_splits(labels_of(range(10), [0] * 10), 5, 0)
    with pytest.raises(InputError, match="two labels"):
        make_splits(pd.concat([labels, labels]), 5, 0)


def test_a_planted_leak_is_found(labels):
    split = make_splits(labels, 5, 0)
    twice = split["patient_id"].value_counts().index[0]
    row = split.index[split["patient_id"] == twice][0]
    split.loc[row, "fold"] = (split.loc[row, "fold"] + 1) % 5
    with pytest.raises(RunError, match=r"1 patient\(s\)"):
        check_disjoint(split)


def test_inner_split_holds_out_whole_patients(labels):
    split = inner_split(labels, 0.2, 0)
    sides = split.groupby("patient_id")["role"].nunique()
    assert set(split["role"]) == {"train", "val"}
    assert (sides == 1).all()
    assert 0.1 < (split["role"] == "val").mean() < 0.3


def test_split_files_never_change(tmp_path, labels):
    uri = str(tmp_path / "splits" / "t.parquet")
    split = make_splits(labels, 5, 0)
    write_splits(uri, split)
    before = storage.read_bytes(uri)
    write_splits(uri, split.sample(frac=1.0, random_state=0))
    pd.testing.assert_frame_equal(read_splits(uri), split)
    with pytest.raises(RunError, match="never changed"):
        write_splits(uri, make_splits(labels, 5, 1))
    assert storage.read_bytes(uri) == before


def test_a_changed_split_file_is_refused(tmp_path, labels):
    uri = str(tmp_path / "t.parquet")
    write_splits(uri, make_splits(labels, 5, 0))
    table = pq.read_table(uri)
    frame = table.to_pandas()
    frame.loc[0, "fold"] = (frame.loc[0, "fold"] + 1) % 5
    metadata = table.schema.metadata
    changed = table.set_column(2, "fold", [frame["fold"].to_numpy()]).replace_schema_metadata(metadata)
    pq.write_table(changed, uri)
    with pytest.raises(RunError, match="was changed"):
        read_splits(uri)
