"""ITM: held-out accuracy of a small linear embedding that evolves one step towards class targets (arXiv:2510.23145)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from orthoray.transferability.checks import Matrix, Outcome, Parity, Sample, ScoreInputError

STEPS, CHECK, BATCH, LEAST_BATCH, ETA = 500, 100, 256, 64, 0.5
RATE, DECAY_STEPS, WEIGHT_DECAY, BETAS = 5e-3, 10_000, 0.01, (0.9, 0.999)

Labels = npt.NDArray[np.int64]


class _Model:
    """Embedding (D → C), head (C → C) and their AdamW; gradients in closed form."""

    def __init__(self, d: int, c: int, rng: np.random.Generator) -> None:
        bounds = ((c, d), d), ((c,), d), ((c, c), c), ((c,), c)
        drawn = [rng.uniform(-1, 1, shape) / np.sqrt(fan) for shape, fan in bounds]
        self.flat = np.concatenate([value.ravel() for value in drawn])
        self.slopes, self.first, self.second = (np.zeros_like(self.flat) for _ in range(3))
        self.values = _views(self.flat, [value.shape for value in drawn])
        self.parts = _views(self.slopes, [value.shape for value in drawn])

    def forward(self, x: Matrix, target: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        """Embedding, its norms, evolved embedding and logits; labels enter through ``target`` by construction.

        All but ``x`` (B, D) are (C, B), the norms (B,): sums over few classes are then sums of long rows.
        """
        raw = self.values[0] @ x.T + self.values[1][:, None]
        norm = np.maximum(np.sqrt(np.square(raw).sum(axis=0)), 1e-12)
        unit = raw / norm
        evolved = unit - (ETA / len(x)) * (((unit - target) @ unit.T) @ unit)
        return unit, norm, evolved, self.values[2] @ evolved + self.values[3][:, None]

    def step(self, x: Matrix, target: Matrix, number: int) -> None:
        """One optimisation step of cross-entropy; the kernel is held fixed in the gradient."""
        unit, norm, evolved, logits = self.forward(x, target)
        error = (softmax(logits, axis=0) - target) / len(x)
        back = self.values[2].T @ error
        back -= (ETA / len(x)) * ((back @ unit.T) @ unit)
        back = (back - unit * (back * unit).sum(axis=0)) / norm
        np.matmul(back, x, out=self.parts[0])
        np.matmul(error, evolved.T, out=self.parts[2])
        self.parts[1][:], self.parts[3][:] = back.sum(axis=1), error.sum(axis=1)
        rate = RATE * (1 - number / DECAY_STEPS)
        bias = [1 - beta ** (number + 1) for beta in BETAS]
        self.flat *= 1 - rate * WEIGHT_DECAY
        self.first += (1 - BETAS[0]) * (self.slopes - self.first)
        self.second += (1 - BETAS[1]) * (self.slopes * self.slopes - self.second)
        self.flat -= rate / bias[0] * self.first / (np.sqrt(self.second / bias[1]) + 1e-8)


def _views(flat: Matrix, shapes: list[tuple[int, ...]]) -> list[Matrix]:
    """Pieces of a vector in the shapes wanted, one after another; they share its memory."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def itm(sample: Sample, *, seed: int = 0, parity: Parity = "corrected", repeats: int = 1) -> Outcome:
    """Best held-out accuracy in 0..1 over five checks, mean over ``repeats`` seeds; balanced accuracy in the details.

    A last validation batch under 64 samples joins the one before, unless ``parity="reference"``.
    """
    n = len(sample.y)
    if n < 5:
        raise ScoreInputError(f"{n} samples are too few: ITM holds one fifth of them out.")
    if repeats < 1:
        raise ScoreInputError(f"repeats={repeats} must be at least 1.")
    spread = np.maximum(sample.x.std(axis=0, ddof=1), 1e-6)
    x = (sample.x - sample.x.mean(axis=0)) / spread
    found = np.array([_one(x, sample, seed + number, parity) for number in range(repeats)])
    value, balanced = found.mean(axis=0)
    majority = float(sample.counts.max() / n)
    facts = {"saturated": value > 0.9999, "majority": value <= majority}
    details = {"balanced_accuracy": float(balanced), "majority_rate": majority, "values": found[:, 0].tolist()}
    return Outcome(float(value), tuple(name for name, holds in facts.items() if holds), details)


def _one(x: Matrix, sample: Sample, seed: int, parity: Parity) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    order, held = rng.permutation(len(x)), int(0.2 * len(x))
    targets, model = np.eye(sample.classes), _Model(x.shape[1], sample.classes, rng)
    validation, training = order[:held], order[held:]
    batches: Iterator[Labels] = iter(())
    best, room = (-1.0, 0.0), np.empty((BATCH, x.shape[1]))
    for number in range(STEPS):
        rows = next(batches, None)
        if rows is None:
            batches = iter(np.split(rng.permutation(training), range(BATCH, len(training), BATCH)))
            rows = next(batches)
        batch = np.take(x, rows, axis=0, out=room[: len(rows)], mode="clip")
        model.step(batch, targets[:, sample.y[rows]], number)
        if (number + 1) % CHECK == 0:
            best = max(best, _accuracy(model, x, sample.y, targets, validation, parity))
    return best


def _accuracy(
    model: _Model, x: Matrix, y: Labels, targets: Matrix, rows: Labels, parity: Parity
) -> tuple[float, float]:
    """Accuracy and balanced accuracy on ``rows``."""
    cuts = list(range(BATCH, len(rows), BATCH))
    if parity == "corrected" and cuts and len(rows) - cuts[-1] < LEAST_BATCH:
        cuts.pop()
    parts = [model.forward(x[part], targets[:, y[part]])[3].argmax(axis=0) for part in np.split(rows, cuts)]
    right = np.concatenate(parts) == y[rows]
    return float(right.mean()), float(np.mean([right[y[rows] == c].mean() for c in np.unique(y[rows])]))
