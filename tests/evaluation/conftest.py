"""Small synthetic tasks, feature folders and datasets for the evaluation tests."""

from __future__ import annotations

import numpy as np
import pytest
from tests.stores import write_feature_folder

from orthoray.config import parse_config
from orthoray.data.splits import make_splits
from orthoray.evaluation.config import KnnConfig, ProbeConfig, StudyConfig
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.trials import StudyJob, TaskJob


def build_samples(labels, patients, images_per_sample=1):
    """Samples s0000, s0001, … with ``images_per_sample`` images each."""
    n = len(labels)
    owner = np.repeat(np.arange(n), images_per_sample)
    return Samples(
        sample_id=np.array([f"s{i:04d}" for i in range(n)], dtype=object),
        patient_id=np.array([f"p{p:04d}" for p in patients], dtype=object),
        label=np.asarray(labels, dtype=np.int64),
        image_id=np.array([f"i{i:05d}" for i in range(len(owner))], dtype=object),
        image_dataset=np.zeros(len(owner), dtype=np.int64),
        owner=owner,
    )


@pytest.fixture
def samples_of():
    return build_samples


@pytest.fixture
def planted():
    """Return (samples, features): a binary task of 2 samples per patient with a linear signal in noise."""

    def make(n_patients=60, dim=12, strength=2.0, seed=0, classes=2):
        rng = np.random.default_rng(seed)
        patients = np.repeat(np.arange(n_patients), 2)
        labels = np.repeat(rng.permutation(np.arange(n_patients) % classes), 2)
        features = rng.normal(size=(len(labels), dim))
        features[:, 0] += strength * labels
        return build_samples(labels, patients), features

    return make


@pytest.fixture
def job_of():
    """Return a function: (out, samples, features) → a StudyJob of one task `t` and one model `m`."""

    def make(out, samples, features, *, folds=5, seeds=(0,), classes=2, components=None, **probe):
        folder = write_feature_folder(f"{out}/features/m", samples.image_id, features)
        splits = {seed: make_splits(samples.frame(), folds, seed) for seed in seeds}
        return StudyJob(
            out=str(out),
            tasks={"t": TaskJob(samples, classes, splits)},
            features={"m": [folder]},
            components={"m": components},
            aggregate="mean",
            probe=ProbeConfig(**probe),
            knn=KnnConfig(),
        )

    return make


@pytest.fixture
def cohort_of(dataset_folder, tiny_checkpoint, tmp_path):
    """Return a function: patients → a folder with a dataset ``ds`` and a run ``run`` of two backbones."""

    def make(patients=18, depth=2, **options):
        dataset_folder(tmp_path / "ds", patients=patients, **options)
        tiny_checkpoint(tmp_path / "run" / "initial", seed=0, depth=depth)
        tiny_checkpoint(tmp_path / "run" / "checkpoint", seed=1, steps=3, dataset_ids=["ds-test"], depth=depth)
        return tmp_path

    return make


def study_values(folder, **change):
    """Configuration of a small study on what `cohort_of` makes; `change` wins."""
    values = {"out": str(folder / "out"), "datasets": [str(folder / "ds")], "folds": 3, "probe": {"c_steps": 4}}
    values |= {"pretrain_run": str(folder / "run"), "protocols": ["lp", "knn"]}
    return {**values, **change}


def study_config(folder, **change):
    """The same, checked."""
    return parse_config(StudyConfig, study_values(folder, **change), "study")
