"""Figures of a ranking, as SVG text: equal tables give equal bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "orthoray", "font.family": "sans-serif", "font.size": 9.0}


def heat_table(ranks: pd.DataFrame) -> Markup:
    """Mean ranks, (candidates, estimators): dark = good."""

    def draw(axes: Any) -> None:
        values = ranks.to_numpy(dtype=float)
        axes.imshow(values, cmap="Blues_r", aspect="auto", vmin=1, vmax=max(2.0, len(ranks)))
        for (row, column), value in np.ndenumerate(values):
            dark = not np.isnan(value) and value < 1 + 0.4 * (len(ranks) - 1)
            text = "–" if np.isnan(value) else f"{value:.1f}"
            axes.text(column, row, text, ha="center", va="center", color="white" if dark else "#1b2127")
        axes.set_xticks(range(ranks.shape[1]), ranks.columns, rotation=35, ha="right")
        axes.set_yticks(range(len(ranks)), ranks.index)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    words = "Mean rank over targets by estimator; 1 is best."
    return _svg(1.6 + 0.75 * ranks.shape[1], 0.9 + 0.34 * len(ranks), words, draw)


def bump_chart(scores: pd.DataFrame, estimator: str, labels: list[str], name: str) -> Markup:
    """Rank of every candidate from target to target by one estimator."""
    table = scores[scores["estimator"] == estimator].pivot(index="candidate", columns="target", values="rank")
    targets = list(dict.fromkeys(scores["target"]))

    def draw(axes: Any) -> None:
        colours = matplotlib.colormaps["tab10"]
        for place, label in enumerate(labels):
            ranks = table.loc[label, targets].to_numpy(dtype=float)
            axes.plot(range(len(targets)), ranks, marker="osD^vP*X"[place % 8], color=colours(place % 10), lw=1.6)
            if not np.isnan(ranks[-1]):
                axes.annotate(
                    label, (len(targets) - 1, ranks[-1]), xytext=(8, 0), textcoords="offset points", va="center"
                )
        axes.set_xticks(range(len(targets)), targets, rotation=20, ha="right")
        axes.set_ylim(len(labels) + 0.5, 0.5)
        axes.set_ylabel(f"Rank by {name}")
        axes.spines[["top", "right"]].set_visible(False)

    words = f"Rank by {name}, target by target; lines that cross are backbones that change places."
    return _svg(2.6 + 1.3 * len(targets), 0.9 + 0.34 * len(labels), words, draw)


def pareto_plot(primary: pd.DataFrame, scores: pd.DataFrame) -> Markup:
    """Mean rank against the number of parameters; the front is joined."""
    facts = scores.drop_duplicates("candidate").set_index("candidate").loc[primary.index]

    def draw(axes: Any) -> None:
        size, rank = facts["parameters"].to_numpy(dtype=float) / 1e6, primary["mean_rank"].to_numpy(dtype=float)
        front = primary["pareto"].to_numpy(dtype=bool)
        axes.scatter(size[~front], rank[~front], color="#8b959f", label="beaten at no greater cost")
        order = np.argsort(size[front])
        axes.plot(size[front][order], rank[front][order], "o-", color="#0b5fa5", label="Pareto front")
        places: dict[tuple[float, float], list[str]] = {}  # backbones of one place share a label, a line each
        for label, x, y in zip(primary.index, size, rank, strict=True):
            places.setdefault((round(float(np.log10(x)), 2), round(float(y), 1)), []).append(str(label))
        for (x, y), labels in places.items():
            axes.annotate("\n".join(labels), (10**x, y), xytext=(6, 0), textcoords="offset points", va="center")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(LogFormatter())
        axes.xaxis.set_minor_formatter(LogFormatter())
        axes.invert_yaxis()
        axes.set_xlabel("Parameters, millions")
        axes.set_ylabel("Mean rank (1 is best, up)")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        axes.spines[["top", "right"]].set_visible(False)

    words = "Mean rank against size. A backbone on the front has none that is better and no dearer."
    return _svg(6.4, 4.0, words, draw)


def _svg(width: float, height: float, description: str, draw: Callable[[Any], None]) -> Markup:
    """SVG of so many inches with what ``draw`` puts on its axes, and a description for those who do not see it."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    head = f'<svg role="img" aria-label="{description}"'
    return Markup(re.sub(r"^.*?<svg", head, buffer.getvalue(), count=1, flags=re.DOTALL))
