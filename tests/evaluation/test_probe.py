"""The linear probe: finds what is there, finds nothing where nothing is, learns from the training part alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as reference_log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from orthoray.data.splits import make_splits
from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.probe import Part, Problem, Walk, fit_probe, fit_probes, log_loss
from orthoray.evaluation.protocol import fold_rows, inner_folds, training_subset
from orthoray.evaluation.rows import Row, read_part
from orthoray.evaluation.trials import run_unit


def out_of_fold(job):
    """Predictions of all folds of seed 0, through the same function that a trial runs."""
    rows = [Row("t", "m", "lp", 1.0, 0, fold, "d") for fold in range(5)]
    assert run_unit(job, rows) == 5
    return [read_part(row.part(job.out))[0].to_pandas() for row in rows]


def mean_auroc(tables):
    values = [compute(["auroc"], t["label"].to_numpy(), t[["score_0", "score_1"]].to_numpy()) for t in tables]
    return np.mean([value["auroc"] for value in values])


def test_planted_signal_is_found(tmp_path, planted, job_of):
    samples, features = planted(strength=2.0)
    assert mean_auroc(out_of_fold(job_of(tmp_path, samples, features))) > 0.85


def test_neighbours_find_the_signal_and_see_the_training_part_only(tmp_path, planted, job_of):
    samples, features = planted(strength=4.0)
    job = job_of(tmp_path / "clean", samples, features)
    rows = [Row("t", "m", "knn", 0.5, 0, fold, "d") for fold in range(5)]
    run_unit(job, rows)
    tables = [read_part(row.part(job.out)) for row in rows]
    assert mean_auroc([table.to_pandas() for table, _ in tables]) > 0.85
    for fold, (table, facts) in enumerate(tables):
        train, test = fold_rows(samples, job.tasks["t"].splits[0], fold)
        train = training_subset(samples, train, 0.5, 0)
        model = KNeighborsClassifier(
            n_neighbors=20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
        )
        # features are stored as float16
        stored = features.astype(np.float16).astype(np.float64)
        expected = model.fit(stored[train], samples.label[train]).predict_proba(stored[test])
        np.testing.assert_allclose(table.select(["score_0", "score_1"]).to_pandas(), expected, atol=1e-9)
        assert (facts["k"], facts["n_train"]) == (20, len(train))


@pytest.mark.slow
def test_permuted_labels_give_chance(tmp_path, planted, job_of, samples_of):
    _, features = planted(strength=2.0, n_patients=80)
    got = []
    for seed in range(8):
        by_patient = np.random.default_rng(1000 + seed).permutation(np.arange(80) % 2)
        shuffled = samples_of(np.repeat(by_patient, 2), np.repeat(np.arange(80), 2))
        got.append(mean_auroc(out_of_fold(job_of(tmp_path / str(seed), shuffled, features))))
    assert abs(np.mean(got) - 0.5) < 0.08
    assert max(got) < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("components", [None, 4])
def test_scaler_and_pca_see_the_training_part_only(tmp_path, planted, job_of, components):
    samples, features = planted(dim=8)
    job = job_of(tmp_path / "clean", samples, features, components=components)
    _, test = fold_rows(samples, job.tasks["t"].splits[0], 0)
    wild = features.copy()
    wild[test[0]] = 60000.0
    row = Row("t", "m", "lp", 1.0, 0, 0, "d")
    tables = []
    for name, values in (("clean", features), ("wild", wild)):
        other = job_of(tmp_path / name, samples, values, components=components)
        run_unit(other, [row])
        tables.append(read_part(row.part(other.out)))
    (clean, facts), (dirty, wild_facts) = tables
    keep = clean["sample_id"].to_numpy() != samples.sample_id[test[0]]
    # the other folds, fitted beside it, do see the wild row: what they share is rounding, at most
    ours, theirs = (table["score_1"].to_numpy()[keep] for table in (clean, dirty))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert facts["inner_scores"] == pytest.approx(wild_facts["inner_scores"], abs=2e-6)
    assert clean["score_1"].to_numpy()[~keep] != dirty["score_1"].to_numpy()[~keep]


def test_an_inner_fold_learns_from_its_fit_rows_only(planted):
    """An outlier among the inner validation rows moves its own score and nothing else of the inner fold."""
    samples, features = planted(dim=6)
    wild = features.copy()
    wild[0] = 1e6
    fold = Problem(0, np.arange(40, 120), np.arange(40))
    clean, dirty = (Walk(x, samples.label, [fold], 2, ProbeConfig()) for x in (features, wild))
    (_, calm, _), (_, moved, _) = clean.step(0.1, {0})[0], dirty.step(0.1, {0})[0]
    assert calm != moved
    for ours, theirs in zip(clean.found, dirty.found, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.allclose(clean.found.mean[0], torch.from_numpy(features[40:].mean(axis=0)))


@pytest.mark.slow
@pytest.mark.parametrize("components", [None, 5])
@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_probes_fitted_together_are_those_fitted_alone(planted, components, class_weight):
    samples, features = planted(dim=12, classes=3, strength=0.5)
    config = ProbeConfig(c_steps=7, tol=1e-8, max_iter=5000, class_weight=class_weight)
    splits = make_splits(samples.frame(), 4, 0)
    trains = [fold_rows(samples, splits, fold)[0] for fold in range(4)]
    parts = [Part(train, inner_folds(samples, train, config, 0)) for train in trains]
    together = fit_probes(features, samples.label, parts, 3, config, components)
    for part, probe in zip(parts, together, strict=True):
        train = part.train
        alone = fit_probe(features[train], samples.label[train], part.inner, 3, config, components)
        assert probe.facts["c"] == alone.facts["c"]
        assert probe.facts["inner_scores"] == pytest.approx(alone.facts["inner_scores"], abs=2e-6)
        np.testing.assert_allclose(probe.predict(features), alone.predict(features), atol=1e-6)


def test_the_walk_ends_and_chooses_as_one_by_one_with_scikit_learn(planted):
    samples, features = planted(n_patients=40, dim=60, strength=1.0)
    config = ProbeConfig(tol=1e-8, max_iter=5000)
    inner = inner_folds(samples, np.arange(len(samples.label)), config, 0)
    expected, misses = {}, 0
    for c in config.grid():
        losses = []
        for fit, validate in inner:
            scaler = StandardScaler().fit(features[fit])
            model = LogisticRegression(C=c, tol=1e-10, max_iter=9999)
            model.fit(scaler.transform(features[fit]), samples.label[fit])
            scores = model.predict_proba(scaler.transform(features[validate]))
            losses += [reference_log_loss(samples.label[validate], scores)] * len(validate)
        expected[f"{c:.6g}"] = -np.mean(losses)
        misses = 0 if expected[f"{c:.6g}"] == max(expected.values()) else misses + 1
        if misses == config.patience:
            break
    facts = fit_probe(features, samples.label, inner, 2, config).facts
    assert facts["inner_scores"] == pytest.approx(expected, abs=1e-5)
    assert f"{facts['c']:.6g}" == max(expected, key=expected.get)


def test_refit_equals_plain_scikit_learn(planted):
    samples, features = planted(dim=5, classes=3)
    config = ProbeConfig(log10_c_min=-1, log10_c_max=-1, c_steps=1, tol=1e-8, max_iter=5000)
    probe = fit_probe(features, samples.label, [], 3, config)
    scaler = StandardScaler().fit(features)
    reference = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit(scaler.transform(features), samples.label)
    expected = reference.predict_proba(scaler.transform(features))
    np.testing.assert_allclose(probe.predict(features), expected, atol=1e-5)
    assert probe.facts["c"] == pytest.approx(0.1)


def test_inner_choice_prefers_strong_regularisation_in_noise(planted):
    """Many noise features, few samples: weak regularisation must lose on the inner log-loss."""
    samples, features = planted(n_patients=40, dim=300, strength=1.0)
    config = ProbeConfig()
    inner = inner_folds(samples, np.arange(len(samples.label)), config, 0)
    facts = fit_probe(features, samples.label, inner, 2, config).facts
    assert facts["c"] < 0.1
    walked = list(facts["inner_scores"].values())
    assert max(walked) == facts["inner_scores"][f"{facts['c']:.6g}"]
    assert len(walked) < config.c_steps  # patience ended the walk


def test_absent_class_gets_probability_zero(planted):
    samples, features = planted()
    scores = fit_probe(features, samples.label, [], 4, ProbeConfig(c_steps=1)).predict(features)
    assert scores.shape == (120, 4)
    np.testing.assert_array_equal(scores[:, 2:], 0)
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_balanced_weights_raise_the_rare_class():
    rng = np.random.default_rng(1)
    labels = (np.arange(200) < 20).astype(np.int64)
    features = rng.normal(size=(200, 3)) + labels[:, None]
    inner = [(np.arange(0, 200, 2), np.arange(1, 200, 2))]
    plain = fit_probe(features, labels, inner, 2, ProbeConfig()).predict(features)[:, 1].mean()
    even = fit_probe(features, labels, inner, 2, ProbeConfig(class_weight="balanced")).predict(features)[:, 1].mean()
    assert plain < 0.15 < even


def test_bad_training_data_is_refused(planted):
    samples, features = planted()
    with pytest.raises(RunError, match="one class"):
        fit_probe(features, np.zeros_like(samples.label), [], 2, ProbeConfig())
    features[3, 2] = np.nan
    with pytest.raises(RunError, match="1 feature rows are not finite"):
        fit_probe(features, samples.label, [], 2, ProbeConfig())


def test_log_loss_equals_scikit_learn():
    rng = np.random.default_rng(2)
    scores, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    weights = rng.uniform(0.5, 2, 4)
    expected = reference_log_loss(labels, scores, labels=range(4), sample_weight=weights[labels])
    assert log_loss(labels, scores, weights) == pytest.approx(expected)
