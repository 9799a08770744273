"""The temperature of a fit, by its own inner validation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.statistics import temperature

NAME = "calibration_temperature"
"""Key of a row's ``params``."""


def inner_temperature(labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Facts for a row's ``params``: the temperature that suits its inner validation best, None where none does.

    Args:
        labels: (n,) of the validated rows.
        scores: (n, K) probabilities that a fit which did not see them gave.
    """
    if len(np.unique(labels)) < 2:
        return {NAME: None}
    found = temperature(labels, scores, probabilities=True)
    return {NAME: None if found.at_bound else round(found.value, 6)}
