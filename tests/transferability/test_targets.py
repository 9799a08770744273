"""Which samples of a dataset count for a ranking, and in which order patients come."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray import storage
from orthoray.errors import InputError
from orthoray.transferability.cells import resamples, subsets
from orthoray.transferability.config import Target
from orthoray.transferability.targets import Labelled, labelled, patients_in_turn


def target(patient, label):
    n = len(label)
    names = np.array([f"s{k}" for k in range(n)], dtype=object)
    return Labelled(
        "d", "id", "t", names, np.asarray(patient, dtype=object), np.asarray(label), names, np.arange(n), {}
    )


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4), share=st.floats(0.1, 0.9), seed=st.integers(0, 1000))
def test_every_beginning_holds_the_classes_in_proportion(sizes, share, seed):
    label = np.repeat(np.arange(len(sizes)), sizes)
    patient = np.array([f"p{k}" for k in range(len(label))], dtype=object)
    order = patients_in_turn(patient, label, seed)
    assert sorted(order) == sorted(patient)
    first = order[: round(share * len(order))]
    counts = Counter(label[int(str(name)[1:])] for name in first)
    for number, size in enumerate(sizes):
        assert abs(counts[number] - size * len(first) / len(order)) <= len(sizes)


def test_subsets_are_whole_patients_and_each_another():
    patient = np.repeat([f"p{k}" for k in range(30)], 3)
    made = target(patient, np.repeat(np.arange(30) % 2, 3))
    found = list(subsets(made, 5, 0.8, seed=0))
    assert [len(rows) for rows in found] == [72] * 5
    for rows in found:
        assert set(Counter(patient[rows]).values()) == {3}
    assert len({tuple(rows) for rows in found}) == 5
    assert [rows.tolist() for rows in subsets(made, 5, 0.8, seed=0)] == [rows.tolist() for rows in found]


def test_resamples_keep_every_class_and_draw_patients_as_a_whole():
    patient = np.repeat([f"p{k}" for k in range(20)], 2)
    label = np.repeat([1] + [0] * 19, 2)
    for rows in resamples(target(patient, label), 20, seed=3):
        assert len(rows) == 40
        assert (label[rows] == 1).sum() == 2
        counts = Counter(rows.tolist())
        assert all(counts[2 * k] == counts[2 * k + 1] for k in range(20))


def test_only_the_training_part_of_the_authors_split_counts(tmp_path, dataset_folder):
    uri = dataset_folder(tmp_path / "d")
    labels = storage.read_table(f"{uri}/labels/xr_tkr.parquet").to_pandas()
    role = np.where(np.arange(len(labels)) < 4, "test", "train")
    split = labels[["sample_id", "patient_id"]].assign(fold=0, role=role)
    from orthoray.data.splits import write_splits

    write_splits(f"{uri}/splits/xr_tkr.parquet", pd.DataFrame(split))
    found = labelled(Target(dataset=uri, task="xr_tkr"), 1000, 0)
    assert set(found.sample) == set(labels["sample_id"][role == "train"])
    assert found.left_out == {"not of the training part": 4}


def test_more_samples_than_wanted_are_left_out_by_patients_and_counted(tmp_path, dataset_folder):
    uri = dataset_folder(tmp_path / "d", patients=20)
    found = labelled(Target(dataset=uri, task="mr_acl"), 11, 0)
    assert len(found.sample) == 11
    assert found.left_out == {"beyond max_samples=11": 9}
    assert abs(int(found.label.sum()) - 5.5) <= 1
    assert len(found.image) == 33


def test_features_of_a_study_are_the_mean_of_its_images(tmp_path, dataset_folder, feature_folder):
    found = labelled(Target(dataset=dataset_folder(tmp_path / "d"), task="mr_acl"), 1000, 0)
    values = np.arange(2 * len(found.image), dtype=np.float32).reshape(-1, 2) / 8
    folder = feature_folder(str(tmp_path / "f"), found.image.tolist(), values)
    wanted = [values[found.owner == row].mean(axis=0) for row in range(len(found.sample))]
    np.testing.assert_allclose(found.features(folder), wanted)


def test_bad_targets_are_named(tmp_path, dataset_folder, label_table):
    uri = dataset_folder(tmp_path / "d")
    with pytest.raises(InputError, match="Did you mean"):
        labelled(Target(dataset=uri, task="xr_tk"), 100, 0)
    labels = storage.read_table(f"{uri}/labels/xr_tkr.parquet").to_pandas()
    label_table(uri, "xr_tkr", labels.assign(label=1)[["sample_id", "patient_id", "label"]])
    with pytest.raises(InputError, match="1 class"):
        labelled(Target(dataset=uri, task="xr_tkr"), 100, 0)
