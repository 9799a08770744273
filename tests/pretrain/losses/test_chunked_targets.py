"""Targets that are not kept equal those that are: Sinkhorn–Knopp's scaling, the centre, measures, parts of a batch."""

import numpy as np
import pytest
import torch
from tests.pretrain.losses import formulas
from torch.nn.functional import normalize

from orthoray.pretrain.losses.chunked_targets import (
    chunked_targets,
    parts,
    sinkhorn_bias,
    target_measures,
    update_centre,
)
from orthoray.pretrain.losses.dino import Centre, teacher_targets

CPU = torch.device("cpu")


def pair(rows=23, prototypes=31, width=6, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    made = (torch.randn(count, width, generator=random, dtype=dtype) for count in (rows, prototypes))
    return [normalize(values, dim=-1) for values in made]


@pytest.mark.parametrize("rounds", [1, 2, 3, 6])
@pytest.mark.parametrize("chunk", [1, 31 * 4, 10**6])
def test_the_scaling_of_columns_gives_sinkhorn_s_assignment(rounds, chunk):
    bottlenecks, prototypes = pair()
    bias = sinkhorn_bias(bottlenecks, prototypes, 0.07, rounds, chunk=chunk)
    scores = (bottlenecks @ prototypes.t()).numpy()
    expected = formulas.sinkhorn(scores, 0.07, rounds)
    np.testing.assert_allclose(formulas.softmax(scores / 0.07 + bias.numpy()), expected, atol=1e-13)


def test_float32_is_enough_for_many_prototypes_and_a_low_temperature():
    bottlenecks, prototypes = pair(12, 131072, 4, torch.float32)
    bottlenecks[:8] = prototypes[0]  # collapsed, save for a few
    bias = sinkhorn_bias(bottlenecks, prototypes, 0.04, chunk=2**19)
    scores = bottlenecks.double().numpy() @ prototypes.double().numpy().T
    found = formulas.softmax(scores / 0.04 + bias.double().numpy())
    np.testing.assert_allclose(found, formulas.sinkhorn(scores, 0.04), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("centring", ["centre", "sinkhorn_knopp"])
def test_logits_and_parts_of_a_batch_give_the_targets_of_the_whole(centring):
    bottlenecks, prototypes = pair(rows=24)
    centre = Centre(31, 0.9, CPU)
    centre.value = torch.rand(1, 31)
    dense = teacher_targets(bottlenecks @ prototypes.t(), 0.05, centring, centre, 2)
    made = chunked_targets(bottlenecks, prototypes, 0.05, centring, centre, 2, chunk=100)
    whole = torch.softmax(made.logits(slice(0, 12)), dim=-1)
    torch.testing.assert_close(whole.flatten(0, 1), dense, atol=1e-7, rtol=1e-6)
    part = made.of_part(slice(3, 8))
    assert torch.equal(torch.softmax(part.logits(slice(1, 5)), dim=-1), whole[:, 4:8])


def test_the_centre_needs_no_scores():
    bottlenecks, prototypes = pair()
    one, other = Centre(31, 0.9, CPU), Centre(31, 0.9, CPU)
    for scale in (1.0, -0.5):
        one.update(scale * bottlenecks @ prototypes.t())
        update_centre(other, scale * bottlenecks, prototypes)
    assert one.value.abs().max() > 0.001
    torch.testing.assert_close(other.value, one.value, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 100, 10**6])
def test_measures_are_those_of_the_dense_targets(chunk):
    bottlenecks, prototypes = pair(rows=24)
    made = chunked_targets(bottlenecks, prototypes, 0.05, "sinkhorn_knopp", Centre(31, 0.9, CPU), 2)
    dense = teacher_targets(bottlenecks @ prototypes.t(), 0.05, "sinkhorn_knopp", Centre(31, 0.9, CPU), 2).numpy()
    measured = target_measures(made, chunk)
    assert float(measured.entropy) == pytest.approx(-(dense * np.log(dense)).sum(axis=1).mean(), rel=1e-12)
    np.testing.assert_allclose(measured.share, dense.mean(axis=0), atol=1e-13)
    assert measured.favourite.tolist() == dense.argmax(axis=1).tolist()


def test_measures_of_no_rows():
    bottlenecks, prototypes = pair(rows=0)
    made = chunked_targets(bottlenecks, prototypes, 0.05, "centre", Centre(31, 0.9, CPU), 1)
    measured = target_measures(made)
    assert (float(measured.entropy), measured.favourite.shape) == (0.0, (0,))


def test_parts_cover_all_rows_once():
    assert [(part.start, part.stop) for part in parts(7, 3)] == [(0, 3), (3, 6), (6, 7)]
    assert [(part.start, part.stop) for part in parts(2, 0)] == [(0, 1), (1, 2)]
    assert list(parts(0, 5)) == []


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="at least one round"):
        sinkhorn_bias(*pair(), 0.1, rounds=0)
