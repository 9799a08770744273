"""Block masks: exact counts, evenly spread ratios, blocks rather than single patches, any grid, only the seed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orthoray.pretrain.masks import PatchMasks, block_mask, block_masks

GRIDS = st.tuples(st.integers(1, 20), st.integers(1, 20))
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def settings(draw):
    low, high = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    return draw(st.integers(0, 12)), draw(GRIDS), draw(st.floats(0, 1)), (low, high)


@given(grid=GRIDS, share=st.floats(0, 1), seed=SEEDS)
def test_a_mask_has_exactly_the_count_on_any_grid(grid, share, seed):
    count = round(share * grid[0] * grid[1])
    mask = block_mask(grid, count, np.random.default_rng(seed))
    assert (mask.shape, mask.dtype, int(mask.sum())) == (grid, bool, count)


@given(made=settings(), seed=SEEDS)
def test_ratios_are_spread_evenly_over_the_masked_share_of_a_batch(made, seed):
    batch, grid, probability, (low, high) = made
    found = block_masks(batch, grid, probability, (low, high), np.random.default_rng(seed))
    counts = np.sort(found.masks.flatten(1).sum(dim=1).numpy())
    chosen, patches = round(probability * batch), grid[0] * grid[1]
    assert counts[: batch - chosen].tolist() == [0] * (batch - chosen)
    for place, count in enumerate(counts[batch - chosen :]):
        least, most = (low + (high - low) * edge / chosen for edge in (place, place + 1))
        assert math.floor(patches * least - 1e-9) <= count <= math.floor(patches * most + 1e-9)
    assert len(found.indices) <= found.most <= batch * patches


@given(made=settings(), seed=SEEDS)
def test_indices_and_weights_are_those_of_the_masks(made, seed):
    found = block_masks(*made, np.random.default_rng(seed))
    masks = found.masks.numpy()
    expected = [
        (number, 1.0 / image.sum())
        for at, image in enumerate(masks)
        for number in (at * image.size + np.flatnonzero(image))
    ]
    assert found.masks.dtype == torch.bool
    assert found.masks.shape == (made[0], *made[1])
    assert found.indices.tolist() == [number for number, _ in expected]
    np.testing.assert_allclose(found.weights, [weight for _, weight in expected], rtol=1e-6)


@given(made=settings(), seed=SEEDS)
def test_the_generator_s_state_is_all_that_counts(made, seed):
    one, other = (block_masks(*made, np.random.default_rng(seed)) for _ in range(2))
    assert torch.equal(one.masks, other.masks)
    assert torch.equal(one.indices, other.indices)


def test_a_batch_s_crops_are_masked_at_other_places_each_time():
    random = np.random.default_rng(0)
    first, second = (block_masks(16, (14, 14), 0.5, (0.1, 0.5), random).masks for _ in range(2))
    assert not torch.equal(first.any(dim=(1, 2)), second.any(dim=(1, 2)))
    every = torch.stack([block_masks(16, (14, 14), 0.5, (0.1, 0.5), random).masks for _ in range(100)])
    often = every.any(dim=(2, 3)).double().mean(dim=0)
    assert often.sum() == pytest.approx(8.0)
    assert (often - 0.5).abs().max() < 0.2
    assert every.any(dim=1).any(dim=0).all()  # no patch is out of reach


def test_all_four_edges_are_masked_alike():
    random = np.random.default_rng(0)
    often = np.mean([block_mask((12, 12), 36, random) for _ in range(400)], axis=0)
    edges = [often[0].mean(), often[-1].mean(), often[:, 0].mean(), often[:, -1].mean()]
    assert min(edges) > 0.8 * max(edges)


def neighbours(mask):
    """Mean number of masked neighbours, up, down, left and right, of a masked patch."""
    padded = np.pad(mask, 1).astype(int)
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return around[mask].mean()


def test_masked_patches_lie_together():
    random = np.random.default_rng(0)
    blocks = np.mean([neighbours(block_mask((14, 14), 49, random)) for _ in range(100)])
    lots = []
    for _ in range(100):
        mask = np.zeros(196, dtype=bool)
        mask[random.choice(196, 49, replace=False)] = True
        lots.append(neighbours(mask.reshape(14, 14)))
    assert np.mean(lots) == pytest.approx(0.25 * 4 * 13 / 14, abs=0.1)  # a quarter of the neighbours
    assert blocks > 2.5


@pytest.mark.parametrize("count", [20, 40, 90])
def test_the_first_block_is_a_rectangle_of_moderate_aspect(count):
    """One block of all that may be masked: seen as the bounding box of masks whose patches are one rectangle."""
    random = np.random.default_rng(count)
    seen = []
    for _ in range(300):
        mask = block_mask((20, 20), count, random)
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        if height * width == count:
            seen.append(height / width)
    assert len(seen) >= 3
    assert all(0.2 < aspect < 5.0 for aspect in seen)


def test_masks_of_some_images_and_on_a_device():
    found = block_masks(6, (4, 4), 1.0, (0.5, 0.5), np.random.default_rng(0))
    assert (found.most, len(found.indices)) == (48, 48)
    part = PatchMasks.of(found.masks[2:4])
    assert torch.equal(part.indices, found.indices[16:32] - 32)
    assert torch.equal(part.weights, torch.full((16,), 0.125))
    moved = found.to(torch.device("cpu"))
    assert torch.equal(moved.indices, found.indices)
    assert moved.most == 48


@pytest.mark.parametrize(("probability", "ratios"), [(1.1, (0.1, 0.5)), (0.5, (0.5, 0.1)), (0.5, (0.1, 1.5))])
def test_settings_out_of_range_are_refused(probability, ratios):
    with pytest.raises(ValueError, match="must be within"):
        block_masks(4, (4, 4), probability, ratios, np.random.default_rng(0))
