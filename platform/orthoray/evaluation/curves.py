"""Learning curves: how a metric grows with the labelled patients, and whether more of them ever seem to hurt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.evaluation.comparisons import ROW, Key, records
from orthoray.evaluation.statistics import Draws

Floats = npt.NDArray[np.float64]

EXPONENTS = np.linspace(0.05, 2.0, 196)
BEST = 1.0
"""No metric goes beyond it."""

LEAST_SHARES = 3


class PowerLaw(NamedTuple):
    """``ceiling - scale * share ** -exponent``, for R curves at once: (R,) each, and the root mean square residual."""

    ceiling: Floats
    scale: Floats
    exponent: Floats
    residual: Floats

    def at(self, share: float) -> Floats:
        """(R,) values at a share, which may exceed 1."""
        return self.ceiling - self.scale * share**-self.exponent


def fit_power_law(shares: Sequence[float], values: Floats) -> PowerLaw:
    """Least squares over the exponents `EXPONENTS`; scale at least 0, ceiling at most `BEST`.

    Args:
        shares: (F,) above 0, three or more.
        values: (R, F) finite, larger is better.

    Source: error falls as a power of the sample size (Hestness et al. 2017; Mahmood et al., CVPR 2022).
    """
    x = np.asarray(shares, dtype=np.float64)
    found: PowerLaw | None = None
    for exponent in EXPONENTS:
        one = _given(x**-exponent, values, float(exponent))
        if found is None:
            found = one
            continue
        better = one.residual < found.residual - 1e-12
        found = PowerLaw(*(np.where(better, new, old) for new, old in zip(one, found, strict=True)))
    assert found is not None
    return found


def _given(basis: Floats, values: Floats, exponent: float) -> PowerLaw:
    """The fit for one exponent: a straight line over ``basis``, inside its bounds."""
    centred = basis - basis.mean()
    scale = np.maximum(-(values @ centred) / (centred @ centred), 0.0)
    ceiling = values.mean(axis=1) + scale * basis.mean()
    beyond = ceiling > BEST
    bound = np.maximum((BEST - values) @ basis / (basis @ basis), 0.0)
    scale, ceiling = np.where(beyond, bound, scale), np.where(beyond, BEST, ceiling)
    residual = np.sqrt(np.mean((ceiling[:, None] - scale[:, None] * basis - values) ** 2, axis=1))
    return PowerLaw(ceiling, scale, np.full(len(values), exponent), residual)


def learning_curves(draws: Mapping[Key, Draws], headline: Mapping[str, str], level: float = 0.95) -> pd.DataFrame:
    """A power law through each model's values over the shares of labelled patients, and the largest fall along them.

    Args:
        draws: of `comparisons.draw_all`.
        headline: task → metric.
        level: of the intervals, over draws of patients.

    Returns:
        One row per (task, model, protocol) with three shares or more: ``metric, ceiling, scale, exponent, residual``;
        ``gain, gain_low, gain_high``: what twice the labels are expected to add; ``fall, fall_low, fall_high``: the
        largest loss between a share and a greater one (0 if there is none); ``monotone``: that loss is within its
        interval of nothing. ``undefined`` counts draws without a value.
    """
    curves: dict[tuple[str, str, str], dict[float, Draws]] = {}
    for (task, model, protocol, fraction, metric), drawn in draws.items():
        if metric == headline[task]:
            curves.setdefault((task, model, protocol), {})[fraction] = drawn
    rows = []
    for where, curve in curves.items():
        if len(curve) >= LEAST_SHARES:
            head = dict(zip(ROW, where, strict=False)) | {"metric": headline[where[0]]}
            rows.append(head | _curve(curve, level))
    return pd.DataFrame(rows)


def _curve(curve: Mapping[float, Draws], level: float) -> dict[str, Any]:
    shares = sorted(curve)
    whole = np.array([[curve[share].value for share in shares]])
    drawn = np.stack([curve[share].values for share in shares], axis=1)
    known = drawn[np.isfinite(drawn).all(axis=1)]
    law = fit_power_law(shares, whole)
    told: dict[str, Any] = {name: float(values[0]) for name, values in law._asdict().items()}
    told |= _ends("gain", _gain(law), _gain(fit_power_law(shares, known)) if len(known) else known[:, 0], level)
    at, to = max(
        ((i, j) for i in range(len(shares)) for j in range(i + 1, len(shares))),
        key=lambda pair: whole[0, pair[0]] - whole[0, pair[1]],
    )
    fall = whole[:, at] - whole[:, to]
    told |= _ends("fall", fall, known[:, at] - known[:, to], level)
    monotone = bool(told["fall"] <= 0 or told["fall_low"] <= 0)
    return told | {"fall": max(0.0, told["fall"]), "monotone": monotone, "undefined": len(drawn) - len(known)}


def _gain(law: PowerLaw) -> Floats:
    return law.at(2.0) - law.at(1.0)


def _ends(name: str, value: Floats, drawn: Floats, level: float) -> dict[str, float]:
    low, high = (float("nan"), float("nan"))
    if len(drawn) > 1:
        low, high = (float(end) for end in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))
    return {name: float(value[0]), f"{name}_low": low, f"{name}_high": high}


def curve_lines(table: pd.DataFrame, candidate: str) -> list[str]:
    """Plain text: what twice the labels would add for the candidate, and curves that fall beyond their interval."""
    lines = [
        "{task}, {protocol}: twice the labels would add {gain:+.3f} ({gain_low:+.3f} to {gain_high:+.3f})".format(**row)
        for row in records(table)
        if row["model"] == candidate
    ]
    falling = [row for row in records(table) if not row["monotone"]]
    lines += [
        "{task}, {model}, {protocol}: falls by {fall:.3f} with more labels ({fall_low:.3f} to {fall_high:.3f})".format(
            **row
        )
        for row in falling
    ]
    return [*lines, f"{len(table) - len(falling)} of {len(table)} curves rise within their intervals"]
