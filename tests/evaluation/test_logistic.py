"""Many logistic regressions at once: scikit-learn's optimum, one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orthoray.evaluation.logistic import solve

STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)


def made(n=150, d=12, classes=3, seed=0, spread=1.0):
    """Features of overlapping classes on very different scales, one column constant, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    y[:classes] = np.arange(classes)
    x = rng.standard_normal((n, d)) + spread * rng.standard_normal((classes, d))[y]
    x = x * 10.0 ** rng.uniform(-3, 3, d) + 5.0
    x[:, 0] = 7.0
    return x, y


def parts_of(n, count, seed=0):
    """Rows of ``count`` problems: about two thirds each, always the first ones."""
    rng = np.random.default_rng(seed)
    chosen = rng.random((count, n)) < 0.66
    chosen[:, :12] = True
    return chosen


def reference(x, y, rows, c, class_weight=None):
    """A scikit-learn pipeline fitted to its end, and the objective at its weights."""
    model = LogisticRegression(C=c, tol=1e-10, max_iter=20_000, class_weight=class_weight)
    pipe = make_pipeline(StandardScaler(), model).fit(x[rows], y[rows])
    own = np.ones(rows.sum())
    if class_weight is not None:
        share = len(own) / (len(np.unique(y[rows])) * np.bincount(y[rows]))
        own = share[y[rows]]
    chosen = pipe.predict_proba(x[rows])[np.arange(len(own)), np.searchsorted(model.classes_, y[rows])]
    loss = np.average(-np.log(chosen), weights=own)
    return pipe, loss + 0.5 * np.square(model.coef_).sum() / (c * own.sum()), own


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_every_problem_reaches_scikit_learn_s_optimum(classes, class_weight):
    x, y = made(classes=classes)
    chosen = np.repeat(parts_of(len(x), 3), len(STRENGTHS), axis=0)
    c = np.tile(STRENGTHS, 3)
    expected = [reference(x, y, rows, strength, class_weight) for rows, strength in zip(chosen, c, strict=True)]
    weights = np.zeros(chosen.shape)
    for at, (_, _, own) in enumerate(expected):
        weights[at, chosen[at]] = own
    found = solve(*tensors(x, y, weights, c), classes, tol=1e-6, max_iter=2000)
    assert found.converged.all()
    probabilities = found.probabilities(torch.from_numpy(x)).numpy()
    for at, (pipe, objective, _) in enumerate(expected):
        assert float(found.objective[at]) == pytest.approx(objective, abs=1e-6)
        assert np.abs(probabilities[at] - pipe.predict_proba(x)).max() < 5e-3


def test_a_class_that_a_problem_lacks_gets_no_probability():
    x, y = made(classes=3)
    chosen = np.stack([y != 2, np.ones(len(y), bool), y != 0])
    found = solve(*tensors(x, y, chosen.astype(float), np.ones(3)), 3)
    probabilities = found.probabilities(torch.from_numpy(x)).numpy()
    assert (probabilities[0, :, 2] == 0.0).all()
    assert (probabilities[2, :, 0] == 0.0).all()
    assert (probabilities[1] > 0.0).all()
    assert np.allclose(probabilities.sum(axis=2), 1.0)
    for at, lacking in ((0, 2), (2, 0)):  # two vectors ±w/2 are penalised half as much as scikit-learn's one, w
        names = [name for name in range(3) if name != lacking]
        pipe, _, _ = reference(x, y, chosen[at], 2.0)
        alone = pipe.predict_proba(x)
        assert np.abs(probabilities[at][:, names] - alone).max() < 2e-3


def test_one_class_is_refused():
    x, y = made()
    with pytest.raises(ValueError, match="fewer than two classes"):
        solve(*tensors(x, y, (y == 1)[None].astype(float), np.ones(1)), 3)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), classes=st.sampled_from([2, 4]))
def test_a_problem_does_not_depend_on_its_company_nor_on_the_order_of_rows(seed, classes):
    x, y = made(n=80, d=6, classes=classes, seed=seed)
    chosen = parts_of(len(x), 4, seed).astype(float)
    c = np.array(STRENGTHS)
    together = solve(*tensors(x, y, chosen, c), classes, tol=1e-7, max_iter=3000)
    alone = solve(*tensors(x, y, chosen[2:3], c[2:3]), classes, tol=1e-7, max_iter=3000)
    turned = np.random.default_rng(seed).permutation(len(x))
    again = solve(*tensors(x[turned], y[turned], chosen[:, turned], c), classes, tol=1e-7, max_iter=3000)
    torch.testing.assert_close(together.objective[2], alone.objective[0], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(together.objective, again.objective, atol=1e-9, rtol=1e-9)


def test_going_on_from_another_strength_ends_where_a_new_fit_ends():
    x, y = made(classes=4)
    chosen = parts_of(len(x), 3).astype(float)
    chosen[0, y == 3] = 0.0
    data = tensors(x, y, chosen)
    first = solve(*data, *tensors(np.full(3, 1e-2)), 4, tol=1e-7, max_iter=5000)
    fresh = solve(*data, *tensors(np.full(3, 1.0)), 4, tol=1e-7, max_iter=5000)
    later = solve(*data, *tensors(np.full(3, 1.0)), 4, start=first, tol=1e-7, max_iter=5000)
    assert torch.allclose(later.objective, fresh.objective, atol=1e-9)
    assert torch.allclose(later.weights, fresh.weights, atol=1e-4)
    assert later.intercept[0, 3] == -torch.inf
    assert torch.isfinite(later.intercept[1:]).all()
    again = solve(*data, *tensors(np.full(3, 1.0)), 4, start=fresh, tol=1e-7)
    assert (again.iterations == 0).all()
