"""Online probes: kNN as scikit-learn has it, patients kept apart, intervals, what is refused, the best checkpoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from tests.pretrain.labelled import write_backbone, write_labelled

from orthoray.errors import InputError
from orthoray.evaluation.knn import knn_scores
from orthoray.evaluation.protocol import Samples
from orthoray.pretrain.best import Best
from orthoray.pretrain.probes import out_of_fold, patient_interval, plan_probes, probe_checkpoint, subset
from orthoray.pretrain.settings.probes import ProbesConfig


@pytest.mark.parametrize(("k", "temperature"), [(20, 0.07), (1, 0.07), (7, 0.5)])
def test_knn_is_scikit_learn_s_with_the_same_votes(k, temperature):
    rng = np.random.default_rng(0)
    train, test, labels = rng.normal(size=(200, 16)), rng.normal(size=(1500, 16)), rng.integers(0, 5, 200)
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1.0 - distance) / temperature)
    ).fit(train, labels)
    np.testing.assert_allclose(
        knn_scores(train, labels, test, 5, k, temperature), reference.predict_proba(test), atol=1e-9
    )


def test_knn_with_few_rows_zero_rows_and_a_class_that_nobody_has():
    train, labels = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]), np.array([0, 1, 0])
    scores = knn_scores(train, labels, np.array([[0.0, 5.0], [0.0, 0.0]]), 3, k=20, temperature=1.0)
    e = np.e
    np.testing.assert_allclose(scores[0], [2 / (2 + e), e / (2 + e), 0.0])
    np.testing.assert_allclose(scores[1], [2 / 3, 1 / 3, 0.0])


@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_knn_knows_directions_only(seed, scale):
    rng = np.random.default_rng(seed)
    train, test, labels = rng.normal(size=(30, 4)), rng.normal(size=(5, 4)), rng.integers(0, 3, 30)
    np.testing.assert_allclose(
        knn_scores(train, labels, test, 3, k=5), knn_scores(train * scale, labels, test, 3, k=5), atol=1e-6
    )


@pytest.mark.slow
def test_an_interval_is_that_of_patients_and_wider_than_that_of_samples():
    """Six films of a patient say no more than one: the interval is that of 40 patients, not of 240 films."""
    rng = np.random.default_rng(3)
    right = np.repeat(rng.random(40) < 0.7, 6)
    labels = np.tile([0, 1], 120)
    scores = np.eye(2)[np.where(right, labels, 1 - labels)].astype(float)
    patients = np.repeat(np.arange(40), 6).astype(str).astype(object)
    low, high = patient_interval(labels, scores, patients, "accuracy", resamples=2000, seed=0)
    share = right.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 40)
    assert (low, high) == (pytest.approx(share - half, abs=0.02), pytest.approx(share + half, abs=0.02))
    alone = np.arange(240).astype(str).astype(object)
    near, far = patient_interval(labels, scores, alone, "accuracy", resamples=2000, seed=0)
    assert far - near < 0.6 * (high - low)
    assert patient_interval(labels, scores, patients, "accuracy", resamples=60, seed=1) == patient_interval(
        labels, scores, patients, "accuracy", resamples=60, seed=1
    )


def test_a_draw_of_one_class_is_made_again():
    labels, patients = np.array([0, 0, 0, 0, 0, 0, 0, 1]), np.array(list("abcdefgh"), dtype=object)
    scores = np.eye(2)[labels].astype(float)
    assert patient_interval(labels, scores, patients, "auroc", resamples=50, seed=0) == (1.0, 1.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled") / "dataset")


def config_for(dataset, **changes):
    return ProbesConfig(**{"every_steps": 10, "datasets": [dataset], "folds": 4, "resamples": 100, **changes})


def test_a_probe_finds_what_is_there_and_says_how_sure_it_is(dataset, tmp_path):
    job = plan_probes(config_for(dataset))
    rows = probe_checkpoint(write_backbone(tmp_path / "sound"), job)
    assert [(row["task"], row["protocol"], row["metric"]) for row in rows] == [
        ("xr_tkr", "knn", "auroc"),
        ("xr_tkr", "linear", "auroc"),
    ]
    for row in rows:
        assert row["value"] > 0.9
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["n_patients"], row["n_samples"]) == (24, 48)


def test_a_backbone_that_sees_nothing_is_at_chance(dataset, tmp_path):
    job = plan_probes(config_for(dataset))
    for row in probe_checkpoint(write_backbone(tmp_path / "dead", dead=True), job):
        assert row["value"] == pytest.approx(0.5, abs=0.15)
        assert row["low"] <= 0.5 <= row["high"]


def test_no_patient_is_on_both_sides(dataset):
    """Features that name the patient, and labels that have nothing to do with them: only a leak could be right."""
    (task,) = plan_probes(config_for(dataset, metric="balanced_accuracy")).tasks
    owner = np.unique(task.samples.patient_id, return_inverse=True)[1]
    features = np.eye(owner.max() + 1)[owner] + 0.01
    for protocol in ("knn", "linear"):
        scores = out_of_fold(task, protocol, features, config_for(dataset))
        assert balanced_accuracy_score(task.samples.label, scores.argmax(axis=1)) < 0.75


def test_a_probe_of_fewer_patients_takes_whole_patients_and_says_so(dataset, capsys):
    (task,) = plan_probes(config_for(dataset, patients=12, folds=2)).tasks
    assert len(set(task.samples.patient_id)) == 12
    assert len(task.samples.label) == 24
    assert "looks at 12 of its 24 patients" in capsys.readouterr().out


def test_a_subset_keeps_the_images_of_its_samples():
    samples = Samples(
        sample_id=np.array(["a", "b", "c"], dtype=object),
        patient_id=np.array(["p", "q", "r"], dtype=object),
        label=np.array([0, 1, 0]),
        image_id=np.array(["b1", "a1", "c1", "b2"], dtype=object),
        image_dataset=np.array([0, 1, 0, 1]),
        owner=np.array([1, 0, 2, 1]),
    )
    found = subset(samples, np.array([1, 2]))
    assert found.sample_id.tolist() == ["b", "c"]
    assert found.image_id.tolist() == ["b1", "c1", "b2"]
    assert found.owner.tolist() == [0, 1, 0]
    assert found.image_dataset.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["xr_tkrr"]}, "no labels for 'xr_tkrr'.*There are: xr_tkr"),
        ({"metric": "qwk"}, "'qwk' is not for the binary task xr_tkr; allowed: auroc"),
        ({"tasks": ["xr_tkr"], "folds": 13}, "13 folds"),
        ({"datasets": ["nowhere"]}, "not a dataset"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_the_run(dataset, changes, message):
    with pytest.raises(InputError, match=message):
        plan_probes(config_for(dataset, **changes))


@pytest.mark.parametrize(
    "values",
    [
        {"datasets": ["x"]},
        {"patience": 3},
        {"every_steps": 5},
        {"every_steps": 5, "datasets": ["x"], "protocols": ["knn"]},
    ],
)
def test_settings_that_contradict_each_other_are_refused(values):
    with pytest.raises(ValidationError):
        ProbesConfig(**values)


def probe(value, knn=0.0):
    return [{"protocol": "linear", "value": value}, {"protocol": "knn", "value": knn}]


def test_the_best_checkpoint_and_the_end_of_patience():
    best = Best(ProbesConfig(every_steps=1, datasets=["x"], patience=2, min_gain=0.01))
    taken = [best.take(step, probe(value)) for step, value in ((0, 0.5), (10, 0.6), (20, 0.605), (30, 0.7))]
    assert taken == [True, True, False, True]
    assert (best.step, best.score, best.misses) == (30, 0.7, 0)
    assert best.take(30, probe(0.9))  # the same step again, after a resume
    assert best.score == 0.7
    assert not best.take(40, probe(0.69))
    assert best.verdict() is None
    assert not best.take(50, probe(0.2))
    assert "2 probes in a row were no better than the one of step 30" in best.verdict()


def test_the_deciding_protocol_decides_over_the_mean_of_the_tasks():
    best = Best(ProbesConfig(every_steps=1, datasets=["x"], choose_by="knn"))
    assert best.score_of([*probe(0.1, knn=0.4), *probe(0.2, knn=0.8)]) == pytest.approx(0.6)
    assert best.verdict() is None
