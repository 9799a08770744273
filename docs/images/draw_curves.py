"""Draw label-efficiency curves of studies: `python docs/images/draw_curves.py OUT.svg STUDY [STUDY …]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
mpl.rcParams.update({"svg.hashsalt": "orthoray", "font.size": 9, "svg.fonttype": "none"})

from matplotlib import pyplot as plt  # noqa: E402 (after the choice of a backend)

COLOURS = {"pretrained": "#0b6e99", "untrained": "#b4540a", "pixels": "#5b5b5b"}
MARKS = {"pretrained": "o", "untrained": "^", "pixels": "s"}


def draw(out: Path, studies: list[Path]) -> None:
    """One panel per task: the headline by the linear probe over the share of training patients, 95 % intervals."""
    panels = []
    for study in studies:
        facts = json.loads((study / "study.json").read_text())
        table = pd.read_parquet(study / "intervals.parquet").query("protocol == 'lp'")
        panels += [
            (name, metric, table.query("task == @name and metric == @metric"))
            for name, metric in facts["headline"].items()
        ]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.3 * len(panels), 2.7), squeeze=False, layout="constrained")
    for axis, (name, metric, rows) in zip(axes[0], panels, strict=True):
        for at, (model, part) in enumerate(rows.groupby("model", sort=False)):
            x = 100 * part["fraction"] * (1 + 0.04 * (at - 1))
            error = [part["value"] - part["low"], part["high"] - part["value"]]
            axis.errorbar(
                x,
                part["value"],
                error,
                label=model,
                color=COLOURS.get(model),
                marker=MARKS.get(model, "d"),
                ms=4,
                lw=1.2,
            )
        axis.set(title=name, xscale="log", xlabel="% of training patients", ylabel=metric)
        axis.set_xticks([12.5, 25, 50, 100], ["12.5", "25", "50", "100"])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
