"""Sinkhorn–Knopp: targets that share out the rows of all workers evenly among the prototypes.

Caron et al., arXiv:2006.09882, §3.2 and algorithm in appendix A. From Q = exp(S/τ) (n rows over all workers, K columns)
a round divides every column by its sum, so that it holds n/K, and then every row by its sum, so that it is a
distribution. After any number of rounds Q_rk = softmax_k(S_rk/τ + g_k), with the logarithm g of what the columns were
divided by.
"""

from __future__ import annotations

import torch

from orthoray.pretrain.losses.floats import full, without_autocast
from orthoray.pretrain.losses.workers import max_over_workers, sum_over_workers

ROUNDS = 3
"""As in DINOv2 (arXiv:2304.07193, §4) and SwAV."""


@torch.no_grad()
def sinkhorn_knopp(scores: torch.Tensor, temperature: float, rounds: int = ROUNDS) -> torch.Tensor:
    """Balanced assignment of the rows of all workers to prototypes.

    Finite for any finite scores. The first round takes logarithms; from then on every row sums to 1 and every column to
    1/K at least (one round's columns hold n/K, and no row more than n), whatever single entries underflow to. Further
    rounds are two products of the matrix with a vector.

    Args:
        scores: (n, K); n may differ between workers and may be 0 on some, as with masked patches.
        temperature: τ.
        rounds: at least 1.

    Returns:
        (n, K) float32 (float64 for float64), each row a distribution.
    """
    if rounds < 1:
        raise ValueError(f"Sinkhorn–Knopp needs at least one round, not {rounds}")
    with without_autocast(scores):
        scaled = full(scores) / temperature
        share = rows_of_workers(scaled) / scaled.shape[1]
        scaled += share.log() - logsum_over_workers(torch.logsumexp(scaled, dim=0))
        found = torch.softmax(scaled, dim=1)
        del scaled
        columns = found.new_ones(found.shape[1])
        for _ in range(rounds - 1):
            rows = (found @ columns).reciprocal_()
            columns = share / sum_over_workers(found.t() @ rows)
        found *= columns
        return found.div_(found.sum(dim=1, keepdim=True))


def rows_of_workers(values: torch.Tensor) -> torch.Tensor:
    """Number of rows of ``values`` over all workers, as a scalar of its type on its device."""
    return sum_over_workers(values.new_full((), float(len(values))))


def logsum_over_workers(own: torch.Tensor) -> torch.Tensor:
    """Elementwise log Σ_w exp(own_w) over the workers; −∞ for a worker that has nothing to add."""
    highest = max_over_workers(own.clone())
    return highest + sum_over_workers((own - highest).exp_()).log_()
