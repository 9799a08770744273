"""Images whose 64-bit hashes are within a small Hamming distance, without comparing all pairs."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
BITS = 64

CROWD = 32
"""Of images with one and the same hash so many are paired all with all; of more, each with two of them."""


class ClosePairs(NamedTuple):
    """Pairs of hashes, or of images.

    Attributes:
        first, second: (n,) places, ``first < second``, each pair once.
        capped: hashes (images) of which pairs may be missing, because too many are alike; 0 = all pairs were found.
    """

    first: Places
    second: Places
    capped: int


def close_images(hashes: Hashes, apart: Places, distance: int, most: int = 5_000_000) -> ClosePairs:
    """Pairs of images with close hashes and different values of ``apart``.

    Equal hashes are paired within their group, different ones by `close_pairs`. Images that nearly all have one hash,
    blank ones say, are not paired all with all: in groups of more than `CROWD` each image is paired with the group's
    first and with the first that is apart from it, and groups are paired by their first `CROWD` images.

    Args:
        hashes: (n,) uint64, repeats allowed.
        apart: (n,) series, as numbers.
        distance: largest Hamming distance, 0 … 16.
        most: largest number of pairs of different hashes.
    """
    values, group = np.unique(hashes, return_inverse=True)
    order = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=len(values))
    start = np.cumsum(size) - size
    close = close_pairs(values, distance, most=most)
    small, large = np.flatnonzero((size > 1) & (size <= CROWD)), np.flatnonzero(size > CROWD)
    few = np.minimum(size, CROWD)
    parts = [_anchored(start[one], size[one], apart[order]) for one in large]
    parts.append(_products(start[small], size[small], start[small], size[small]))
    wanted = np.cumsum(few[close.first] * few[close.second]) <= most
    one, other = close.first[wanted], close.second[wanted]
    parts.append(_products(start[one], few[one], start[other], few[other]))
    cut = int(few[close.first[~wanted]].sum())
    every = order[np.concatenate(parts, axis=1)]
    first, second = every.min(axis=0), every.max(axis=0)
    chosen = (first < second) & (apart[first] != apart[second])
    codes = np.unique(first[chosen] * len(hashes) + second[chosen])
    return ClosePairs(
        codes // max(1, len(hashes)), codes % max(1, len(hashes)), close.capped + int(size[large].sum()) + cut
    )


def _products(start: Places, size: Places, other: Places, other_size: Places) -> Places:
    """(2, n) every place of each block with every place of the other block."""
    count = size * other_size
    block = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(block)) - np.repeat(np.cumsum(count) - count, count)
    return np.stack([start[block] + within // other_size[block], other[block] + within % other_size[block]])


def _anchored(start: int, size: int, apart: Places) -> Places:
    """(2, n) every place of a block with its first place and with the first that is apart from that."""
    places = np.arange(start, start + size)
    others = np.flatnonzero(apart[places] != apart[start])
    anchors = [start, start + int(others[0])] if len(others) else [start]
    return np.concatenate([np.stack([np.full(size, anchor), places]) for anchor in anchors], axis=1)


def close_pairs(hashes: Hashes, distance: int, reach: int = 2048, most: int = 5_000_000) -> ClosePairs:
    """All pairs of hashes whose Hamming distance is at most ``distance``.

    The bits are cut into ``distance + 2`` blocks. ``distance`` differing bits touch at most ``distance`` blocks, so at
    least two blocks are equal in every such pair: sorting by each pair of blocks brings it together (the pigeonhole
    principle as in Manku et al., WWW 2007). For a distance of 4 that makes 15 sorts by 20 to 22 bits, in which a
    million random hashes hardly ever meet by chance.

    Args:
        hashes: (n,) uint64, no two equal.
        distance: 0 … 16.
        reach: in a bucket of more hashes than this each is compared with the next ``reach`` only. It bounds the work
            to ``15 n reach`` comparisons whatever the hashes are.
        most: after so many pairs no more are looked for; it bounds memory.

    Raises:
        ValueError: a distance that is not supported.
    """
    if not 0 <= distance <= 16:
        raise ValueError(f"distance {distance}: 0 to 16 are supported")
    blocks = _blocks(distance + 2)
    found = [np.zeros((2, 0), np.int64)]
    capped, count = np.zeros(len(hashes), bool), 0
    for one, other in combinations(range(len(blocks)), 2):
        mask = np.uint64(blocks[one] | blocks[other])
        order = np.argsort(hashes & mask, kind="stable")
        unequal = [np.uint64(blocks[block]) for block in range(other) if block != one]
        pairs, full = _in_buckets(hashes[order], mask, unequal, distance, reach, most - count)
        capped[order[full]] = True
        found.append(order[pairs])
        count += pairs.shape[1]
    every = np.concatenate(found, axis=1)
    return ClosePairs(every.min(axis=0), every.max(axis=0), int(capped.sum()))


def _blocks(count: int) -> list[int]:
    """Masks that cut the bits into ``count`` blocks of nearly the same size."""
    edges = [BITS * place // count for place in range(count + 1)]
    return [((1 << (end - start)) - 1) << start for start, end in pairwise(edges)]


def _in_buckets(
    values: Hashes, mask: np.uint64, unequal: list[np.uint64], distance: int, reach: int, most: int
) -> tuple[Places, npt.NDArray[np.bool_]]:
    """(2, n) places of close pairs that agree in ``mask``, and which places lie in buckets that are not finished.

    Pairs that agree in one of the blocks ``unequal`` too were found with an earlier mask and are left out.
    """
    keys = values & mask
    found = [np.zeros((2, 0), np.int64)]
    full = np.zeros(len(values), bool)
    active = np.flatnonzero(keys[:-1] == keys[1:])
    step, count = 1, 0
    while len(active):
        if step > reach or count >= most:
            full[active] = full[active + step] = True
            break
        differing = values[active] ^ values[active + step]
        near = np.bitwise_count(differing) <= distance
        for block in unequal:
            near &= (differing & block) != 0
        found.append(np.stack([active[near], active[near] + step]))
        count += int(near.sum())
        step += 1
        active = active[active + step < len(values)]
        active = active[keys[active] == keys[active + step]]
    return np.concatenate(found, axis=1), full
