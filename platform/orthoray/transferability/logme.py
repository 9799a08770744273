"""LogME: log maximum evidence of Bayesian linear regression on each class indicator (You et al., ICML 2021)."""

from __future__ import annotations

import numpy as np

from orthoray.transferability.checks import Matrix, Outcome, Parity, Sample

STEPS, TOLERANCE, EPSILON = 11, 1e-3, 1e-5
SAFE_RMS = (1e-3, 10.0)
"""Between these the absolute epsilon of the published iteration does not matter; outside, features are scaled."""


def logme(sample: Sample, *, seed: int = 0, parity: Parity = "corrected") -> Outcome:
    """Mean evidence per sample over classes; higher is better.

    ``parity="reference"`` leaves out the (D - k) ln(alpha) of the published default path for N < D, and never rescales.
    """
    x = sample.x
    rms = float(np.linalg.norm(x) / np.sqrt(x.size))
    rescaled = parity == "corrected" and not SAFE_RMS[0] <= rms <= SAFE_RMS[1]
    sigma, z = _spectrum(x / rms if rescaled else x, sample)
    n, d = x.shape
    rest = np.maximum(sample.counts - z.sum(axis=0), 0.0)
    alpha, beta, m2, r2 = _fixed_point(sigma, z, rest, n)
    padded = d - len(sigma) if parity == "corrected" else 0
    logs = np.log(alpha + beta * sigma[:, None]).sum(axis=0) + padded * np.log(alpha)
    evidence = (d * np.log(alpha) + n * np.log(beta) - logs - beta * r2 - alpha * m2 - n * np.log(2 * np.pi)) / 2 / n
    flags = tuple(name for name, holds in {"rescaled": rescaled, "interpolated": (r2 < EPSILON).any()}.items() if holds)
    return Outcome(float(evidence.mean()), flags, {"alpha": alpha.tolist(), "beta": beta.tolist()})


def _spectrum(x: Matrix, sample: Sample) -> tuple[Matrix, Matrix]:
    """Squared singular values (k,) and (k, C) squared projections of the class indicators on the left vectors."""
    onehot = np.eye(sample.classes)[sample.y]
    if len(x) >= x.shape[1]:
        values, vectors = np.linalg.eigh(x.T @ x)
        sigma = np.maximum(values, 0.0)
        products = np.square(vectors.T @ (x.T @ onehot))
        kept = sigma > sigma[-1] * np.finfo(float).eps
        return sigma, np.where(kept[:, None], products / np.where(kept, sigma, 1.0)[:, None], 0.0)
    values, vectors = np.linalg.eigh(x @ x.T)
    return np.maximum(values, 0.0), np.square(vectors.T @ onehot)


def _fixed_point(sigma: Matrix, z: Matrix, rest: Matrix, n: int) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Alpha, beta, |w|² and the squared residual of every class, each (C,)."""
    alpha, beta = np.ones(z.shape[1]), np.ones(z.shape[1])
    m2, r2, active = np.zeros_like(alpha), np.zeros_like(alpha), np.ones(len(alpha), dtype=bool)
    for _ in range(STEPS):
        lam = alpha[active] / beta[active]
        damped = sigma[:, None] + lam
        gamma = (sigma[:, None] / damped).sum(axis=0)
        m2[active] = (sigma[:, None] * z[:, active] / damped**2).sum(axis=0)
        r2[active] = (z[:, active] * (lam / damped) ** 2).sum(axis=0) + rest[active]
        alpha[active] = gamma / (m2[active] + EPSILON)
        beta[active] = np.maximum(n - gamma, np.finfo(float).eps) / (r2[active] + EPSILON)
        moved = np.abs(alpha[active] / beta[active] - lam) / lam > TOLERANCE
        active[np.flatnonzero(active)[~moved]] = False
        if not active.any():
            break
    return alpha, beta, m2, r2
