"""Linear-probe curves over images and over minutes, of runs of `orthoray pretrain` with probes and of `lightly_kl.py`.

    python benchmarks/learning_curves.py OUT.png LABEL=RUN[@RATE] …

A RUN is a folder with ``probes.jsonl``; minutes come from there or from ``history.jsonl``, or from the images and RATE
(images per second) where a run shared its machine. Runs of one label share a colour.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orthoray.pretrain.monitor import read_history
from orthoray.pretrain.probe_runner import read_probes


class Curve(NamedTuple):
    """One run: images seen, minutes of training, and the probe's values with their 95 % interval."""

    images: Sequence[float]
    minutes: Sequence[float]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def read(run: str, rate: float | None) -> Curve:
    """The linear probe of the one task of a run."""
    probes = [row for row in read_probes(run) if row.get("protocol") == "linear" and row["task"] != "all"]
    probes.sort(key=lambda row: float(row["step"]))
    if "images" in probes[0]:
        images, seconds = ([float(row[name]) for row in probes] for name in ("images", "seconds"))
    else:
        history = [{"step": 0, "seconds": 0, "images_seen": 0}, *read_history(run)]
        steps, known = ([float(row["step"]) for row in rows] for rows in (probes, history))
        images, seconds = (
            list(np.interp(steps, known, [float(row[name]) for row in history])) for name in ("images_seen", "seconds")
        )
    if rate is not None:
        seconds = [seen / rate for seen in images]
    values = ([float(row[name]) for row in probes] for name in ("value", "low", "high"))
    return Curve(images, [second / 60 for second in seconds], *values)


def draw(out: str, runs: Sequence[tuple[str, Curve]]) -> None:
    """Two panels that share their vertical axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    labels = list(dict.fromkeys(label for label, _ in runs))
    for label, curve in runs:
        colour = f"C{labels.index(label)}"
        for axis, place in ((left, [one / 1000 for one in curve.images]), (right, curve.minutes)):
            named = label if label not in axis.get_legend_handles_labels()[1] else None
            axis.plot(place, curve.value, color=colour, marker="o", markersize=3, label=named)
            axis.fill_between(place, curve.low, curve.high, color=colour, alpha=0.08, linewidth=0)
    left.set(xlabel="thousand images seen", ylabel="KL grade, out-of-fold accuracy")
    right.set(xlabel="minutes on two processors")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(loc="upper left", fontsize=8)
    figure.savefig(out, dpi=110)


def main() -> None:
    """Read all, draw once."""
    if len(sys.argv) < 3 or not all("=" in word for word in sys.argv[2:]):
        sys.exit(__doc__)
    runs = []
    for word in sys.argv[2:]:
        label, _, place = word.partition("=")
        run, _, rate = place.partition("@")
        runs.append((label, read(run, float(rate) if rate else None)))
    draw(sys.argv[1], runs)


if __name__ == "__main__":
    main()
