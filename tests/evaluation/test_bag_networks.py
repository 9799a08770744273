"""Networks over slices: what they may see, what they find, and that a seed decides it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from tests.evaluation.bags import (
    SLICES,
    STRENGTH,
    auroc,
    best_of_the_largest,
    best_of_the_mean,
    fitted,
    folds_of,
    marked_places,
    planted_lesions,
    samples_of_slices,
    spread_by_chance,
)

from orthoray.errors import RunError
from orthoray.evaluation.bag_fits import fit_bags
from orthoray.evaluation.bag_networks import GatedAttention, SliceTransformer
from orthoray.evaluation.bags import Bags, Batch, train_bags
from orthoray.evaluation.frozen_settings import MilConfig, TransformerConfig
from orthoray.evaluation.task_features import TaskFeatures

QUICK = {"hidden": 32, "members": 1, "epochs": 40}


def network_of(kind, dim=6, seed=0):
    torch.manual_seed(seed)
    made = GatedAttention(dim, 3, MilConfig()) if kind == "mil" else SliceTransformer(dim, 3, TransformerConfig())
    if kind == "mil":
        torch.nn.init.normal_(made.w.weight)  # it starts at zero, where every slice weighs the same
    return made.eval()


def batch_of(seed, studies=4, most=9, dim=6):
    rng = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, most + 1, (studies,), generator=rng)
    there = torch.arange(most) < counts[:, None]
    x = torch.randn(studies, most, dim, generator=rng).masked_fill(~there[..., None], 0.0)
    plane = torch.randint(0, 5, (studies, most), generator=rng)
    return Batch(x, there, plane, torch.rand(studies, most, generator=rng))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_mil_does_not_see_the_order_of_slices(seed):
    network, batch = network_of("mil", seed=seed), batch_of(seed)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    mixed = Batch(*(part[:, order] for part in batch))
    with torch.inference_mode():
        torch.testing.assert_close(network(mixed), network(batch), atol=1e-5, rtol=1e-5)
        weights = network.attention(batch)
        torch.testing.assert_close(network.attention(mixed), weights[:, order])
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    assert (weights[~batch.there] == 0).all()
    assert weights[batch.there].std() > 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["mil", "transformer"]))
def test_what_fills_up_a_batch_has_no_influence(seed, kind):
    network, batch = network_of(kind), batch_of(seed)
    with torch.inference_mode():
        together = network(batch)
        for study, count in enumerate(batch.there.sum(dim=1)):
            alone = network(Batch(*(part[study : study + 1, :count] for part in batch)))
            torch.testing.assert_close(alone[0], together[study], atol=1e-5, rtol=1e-4)


def test_the_transformer_sees_place_and_plane():
    network, batch = network_of("transformer"), batch_of(0)
    with torch.inference_mode():
        before = network(batch)
        assert not torch.allclose(network(batch._replace(position=1 - batch.position)), before, atol=1e-3)
        assert not torch.allclose(network(batch._replace(plane=(batch.plane + 1) % 5)), before, atol=1e-4)


def test_gated_attention_by_the_papers_equations():
    """Eqs. 8 and 9, term by term in NumPy."""
    network, batch = network_of("mil"), batch_of(3, studies=1)
    count = int(batch.there.sum())
    w = {name: value.detach().numpy() for name, value in network.named_parameters()}
    h = np.maximum(batch.x[0, :count].numpy() @ w["embed.0.weight"].T + w["embed.0.bias"], 0)
    gate = 1 / (1 + np.exp(-(h @ w["u.weight"].T + w["u.bias"])))
    e = np.exp((np.tanh(h @ w["v.weight"].T + w["v.bias"]) * gate) @ w["w.weight"][0])
    expected = ((e / e.sum()) @ h) @ w["head.1.weight"].T + w["head.1.bias"]
    np.testing.assert_allclose(network(batch)[0].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_bags_hold_every_slice_of_a_study_in_any_order_of_images():
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.concatenate([np.arange(7), rng.integers(0, 7, 30)]))
    samples = replace(
        samples_of_slices(np.arange(7) % 2, slices=1),
        owner=owner,
        plane=np.array(["axial", "coronal"] * 18 + ["none"], dtype=object),
        position=rng.random(37),
    )
    features = rng.normal(size=(37, 3)).astype(np.float32)
    bags = Bags.of(features, samples)
    chosen = torch.tensor([5, 0, 3])
    batch = bags.batch(chosen)
    for row, study in enumerate(chosen.tolist()):
        mine = owner == study
        np.testing.assert_array_equal(batch.x[row][batch.there[row]].numpy(), features[mine])
        np.testing.assert_allclose(batch.position[row][batch.there[row]].numpy(), samples.position[mine], rtol=1e-6)
    np.testing.assert_array_equal(
        bags.x[bags.rows(chosen)].numpy(), np.concatenate([features[owner == k] for k in chosen])
    )


def test_standardisation_and_networks_know_the_training_part_only():
    """Wild features of one test study change its own scores and nobody else's."""
    samples, features, _ = planted_lesions(n=60)
    fold = folds_of(samples)[0]
    wild = features.copy()
    wild[samples.owner == fold.test[0]] = 1e4
    for config in (MilConfig(**QUICK), TransformerConfig(**QUICK | {"epochs": 2})):
        (clean, _), (dirty, _) = (
            fit_bags(TaskFeatures(samples, "mean", lambda x=x: x), *fold, 2, config, 0) for x in (features, wild)
        )
        np.testing.assert_array_equal(clean[1:], dirty[1:])
        assert not np.allclose(clean[0], dirty[0])


@pytest.mark.parametrize(
    "config", [MilConfig(**QUICK | {"members": 2, "epochs": 3}), TransformerConfig(**QUICK | {"epochs": 2})]
)
def test_a_seed_decides_the_scores_and_leaves_the_global_state_alone(config):
    samples, features, _ = planted_lesions(n=60)
    fold, data = folds_of(samples)[0], TaskFeatures(samples, "mean", lambda: features)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, facts = fit_bags(data, *fold, 2, config, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, told = fit_bags(data, *fold, 2, config, 0)
    np.testing.assert_array_equal(first, again)
    assert facts == told
    assert not np.allclose(first, fit_bags(data, *fold, 2, config, 1)[0])


def test_the_best_epoch_is_kept_and_patience_ends_the_training():
    samples, features, _ = planted_lesions(n=60, strength=0.0)  # nothing to learn: the loss rises soon
    bags, rows = Bags.of(features, samples), np.arange(60)
    config = MilConfig(lr=3e-3, patience=4, epochs=60)
    make = lambda: GatedAttention(features.shape[1], 2, config)  # noqa: E731
    trained = train_bags(make, bags, samples.label, rows[:40], rows[40:], 2, config, 0)
    assert trained.facts["epochs"] == trained.facts["best_epoch"] + 4
    chosen = trained.predict(rows[40:])[np.arange(20), samples.label[40:]]
    assert -np.log(chosen).mean() == pytest.approx(trained.facts["inner_log_loss"], abs=1e-5)


def test_a_training_that_diverges_says_so():
    samples, features, _ = planted_lesions(n=60)
    features[samples.owner >= 40] = 3e38  # beyond float32 after the first layer, where the best epoch is chosen
    rows = np.arange(60)
    make = lambda: GatedAttention(features.shape[1], 2, MilConfig())  # noqa: E731
    with pytest.raises(RunError, match=r"diverged: no epoch of 10 had a finite loss\. Lower lr"):
        train_bags(make, Bags.of(features, samples), samples.label, rows[:40], rows[40:], 2, MilConfig(), 0)


def test_a_plane_that_is_not_known_does_not_disturb_attention():
    samples, features, _ = planted_lesions(n=60)
    strange = replace(samples, plane=np.array(["radial"] * len(samples.owner), dtype=object))
    fold, config = folds_of(samples)[0], MilConfig(**QUICK | {"epochs": 2})
    (ours, _), (theirs, _) = (
        fit_bags(TaskFeatures(one, "mean", lambda: features), *fold, 2, config, 0) for one in (samples, strange)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_balanced_classes_raise_the_rare_one():
    """On noise the mean probability is the share that training counts with: a fifth, or a half where balanced."""
    rng = np.random.default_rng(0)
    samples = samples_of_slices((np.arange(80) < 16).astype(np.int64), slices=3)
    features = rng.normal(size=(240, 4)).astype(np.float32)
    fold = folds_of(samples)[0]
    data = TaskFeatures(samples, "mean", lambda: features)
    plain, even = (
        fit_bags(data, *fold, 2, MilConfig(class_weight=how, **QUICK), 0)[0][:, 1].mean()
        for how in ("none", "balanced")
    )
    assert plain < 0.3 < 0.4 < even


@pytest.mark.slow
def test_attention_finds_a_lesion_that_the_mean_of_features_dilutes():
    """Better than any score of the mean can be (AUROC 0.82); attention points at the lesion."""
    samples, features, where = planted_lesions()
    folds = folds_of(samples)
    pooled = auroc(samples, folds, fitted(["lp"], samples, features, folds)["lp"])
    found = auroc(samples, folds, fitted(["mil"], samples, features, folds)["mil"])
    margin = 3 * spread_by_chance(120, 120)
    assert found > best_of_the_mean() + margin > pooled
    assert found < best_of_the_largest() + margin

    fold, config = folds[0], MilConfig()
    fit, validate = fold.train[::2], fold.train[1::2]
    make = lambda: GatedAttention(features.shape[1], 2, config)  # noqa: E731
    trained = train_bags(make, Bags.of(features, samples), samples.label, fit, validate, 2, config, 0)
    ill = fold.test[samples.label[fold.test] == 1]
    with torch.inference_mode():
        weights = trained.network.attention(trained.bags.batch(torch.from_numpy(ill))).numpy()
    assert weights.shape == (len(ill), SLICES)
    hits = (weights.argmax(axis=1) == where[ill]).mean()
    # the lesion's slice has the largest value of its feature in 99.3 % of ill studies, ∫ φ(x - 4.5) Φ(x)¹¹ dx
    x = np.linspace(-6, 11, 20_001)
    assert np.trapezoid(norm.pdf(x - STRENGTH) * norm.cdf(x) ** (SLICES - 1), x) == pytest.approx(0.993, abs=1e-3)
    assert hits > 0.8


@pytest.mark.slow
def test_the_transformer_uses_where_a_slice_lies():
    """The transformer comes near the AUROC of 1 that is possible; attention, which knows no places, stays at chance."""
    samples, features = marked_places()
    folds = folds_of(samples, 2)
    config = TransformerConfig(hidden=32, members=1, epochs=60, lr=2e-3)
    placed = auroc(samples, folds, fitted(["transformer"], samples, features, folds, transformer=config)["transformer"])
    blind = auroc(samples, folds, fitted(["mil"], samples, features, folds, mil=MilConfig(**QUICK))["mil"])
    assert placed > 0.95
    assert abs(blind - 0.5) < 3 * spread_by_chance(80, 80) / np.sqrt(2)  # the mean of two folds
