"""Losses of the ordinal and of the survival head."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orthoray.evaluation.coral import CoralHead, coral_loss, coral_probabilities
from orthoray.evaluation.cox_torch import cox_loss


def coral_by_hand(logits, labels):
    """Equation 4 of Cao et al. with all importance weights 1, question by question."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        for k, logit in enumerate(row):
            p = 1.0 / (1.0 + math.exp(-logit))
            total -= math.log(p) if label > k else math.log(1.0 - p)
    return total / len(labels)


def cox_by_hand(scores, time, event):
    """Sum over events of log of the risk set's hazards minus the own log hazard."""
    terms = [
        math.log(sum(math.exp(scores[j]) for j in range(len(time)) if time[j] >= time[i])) - scores[i]
        for i in range(len(time))
        if event[i]
    ]
    return sum(terms) / max(len(terms), 1)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), k=st.integers(2, 6))
def test_coral_loss_is_the_sum_of_the_binary_questions(seed, n, k):
    rng = np.random.default_rng(seed)
    logits, labels = torch.from_numpy(rng.normal(0, 3, (n, k - 1))), torch.from_numpy(rng.integers(0, k, n))
    assert coral_loss(logits, labels).item() == pytest.approx(coral_by_hand(logits, labels), rel=1e-9)


def test_coral_probabilities_are_differences_of_the_cumulative_ones():
    above = torch.tensor([[0.9, 0.5, 0.2], [0.3, 0.3, 0.0001]], dtype=torch.float64)
    found = coral_probabilities(above.logit())
    expected = [[0.1, 0.4, 0.3, 0.2], [0.7, 0.0, 0.2999, 0.0001]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 6))
def test_coral_probabilities_are_probabilities_even_where_biases_are_out_of_order(seed, k):
    found = coral_probabilities(torch.from_numpy(np.random.default_rng(seed).normal(0, 20, (9, k - 1))))
    assert found.shape == (9, k)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(dim=1), 1.0, atol=1e-12)


def test_coral_head_starts_with_equal_grades_and_learns_an_order():
    torch.manual_seed(0)
    head = CoralHead(1, 4)
    np.testing.assert_allclose(coral_probabilities(head(torch.zeros(1, 1))).detach(), [[0.25] * 4], atol=1e-6)
    grades = torch.arange(4).repeat(25)
    x = grades[:, None] - 1.5 + 0.1 * torch.randn(100, 1)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=50)

    def closure():
        optimiser.zero_grad()
        loss = coral_loss(head(x), grades)
        loss.backward()
        return loss

    for _ in range(3):
        optimiser.step(closure)
    assert (coral_probabilities(head(x)).argmax(dim=1) == grades).all()
    assert (head.bias.diff() < 0).all()


def test_wrong_shapes_of_the_ordinal_head_are_refused():
    with pytest.raises(ValueError, match="expected"):
        coral_loss(torch.zeros(3, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="2 classes"):
        CoralHead(4, 1)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 15))
def test_cox_loss_is_the_partial_likelihood_with_ties(seed, n):
    rng = np.random.default_rng(seed)
    scores, time, event = rng.normal(0, 2, n), rng.integers(1, 6, n), rng.integers(0, 2, n)
    found = cox_loss(*(torch.from_numpy(part) for part in (scores, time, event))).item()
    assert found == pytest.approx(cox_by_hand(scores, time, event), abs=1e-9)


def test_gradients_of_the_cox_loss():
    rng = np.random.default_rng(3)
    scores = torch.from_numpy(rng.normal(size=12)).requires_grad_()
    time, event = torch.from_numpy(rng.integers(1, 5, 12)), torch.from_numpy(rng.integers(0, 2, 12))
    assert torch.autograd.gradcheck(lambda s: cox_loss(s, time, event), scores)


def test_a_batch_without_an_event_costs_nothing_and_moves_nothing():
    scores = torch.randn(4, requires_grad=True)
    loss = cox_loss(scores, torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert (scores.grad == 0).all()


def test_large_scores_do_not_overflow():
    found = cox_loss(torch.tensor([900.0, 100.0]), torch.tensor([1.0, 2.0]), torch.tensor([1, 1]))
    assert found.item() == 0.0
    with pytest.raises(ValueError, match="expected"):
        cox_loss(torch.zeros(3), torch.zeros(2), torch.zeros(3))
