"""Reading a page back: its tables as text, its figures as data."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np

from orthoray.report.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH


class _Tables(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self._cell, self._caption = [], None, None

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append({"caption": "", "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self._cell = []
        elif tag == "caption":
            self._caption = []
        elif tag == "br" and self._cell is not None:
            self._cell.append(" | ")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None
        elif tag == "caption":
            self.tables[-1]["caption"] = " ".join("".join(self._caption).split())
            self._caption = None

    def handle_data(self, data):
        for sink in (self._cell, self._caption):
            if sink is not None:
                sink.append(data)


def tables_of(page):
    """All tables of a page: dicts of ``caption`` and ``rows`` (lists of cell texts, the header first)."""
    parser = _Tables()
    parser.feed(page)
    return parser.tables


def table_about(page, text):
    """Rows of the one table whose caption contains ``text``, as {first cell: {column: cell}}."""
    found = [table for table in tables_of(page) if text in table["caption"]]
    assert len(found) == 1, [table["caption"] for table in found]
    head, *rows = found[0]["rows"]
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def figure(page, axis, title):
    """The SVG of one task's figure with this x axis, and its height."""
    found = re.findall(rf"<h4>{title}</h4>.*?(<svg viewBox=\"0 0 {WIDTH}.*?</svg>)", page, re.S)
    (svg,) = [one for one in found if f">{axis}</text>" in one]
    return svg, int(re.search(rf'viewBox="0 0 {WIDTH} (\d+)"', svg)[1])


def data_of(points, height, low=0.0, high=1.0):
    """(N, 2) pixels → data of axes from 0 to 1, and from ``low`` to ``high``."""
    x, y = np.array(points, dtype=float).reshape(-1, 2).T
    floor = height - BOTTOM
    return np.column_stack([(x - LEFT) / (WIDTH - RIGHT - LEFT), low + (floor - y) / (floor - TOP) * (high - low)])


def marks(svg, css, size=4.2):
    """Middles of marks of one class: of a circle by its left end, of a square by its corners."""
    found = []
    for path in re.findall(rf'<path d="([^"]*)" class="dot {css}"', svg):
        numbers = np.array(re.findall(r"-?\d+\.\d", path.split("a")[0]), dtype=float).reshape(-1, 2)
        found.append(numbers[0] + (size, 0) if "a" in path else numbers.mean(axis=0))
    return found


def line_of(svg, css):
    (path,) = re.findall(rf'<path d="([^"]*)" class="curve {css}"', svg)
    return [pair.split() for pair in re.findall(r"[ML]([^ML]+)", path)]


def rows_about(page, caption):
    """Rows of the one table about it; the first of a task's rows gives its title to the others."""
    (table,) = [table for table in tables_of(page) if caption in table["caption"]]
    head, *rows = table["rows"]
    title, found = "", []
    for row in rows:
        title, cells = (row[0], row[1:]) if len(row) == len(head) else (title, row)
        found.append(dict(zip(head, [title, *cells], strict=True)))
    return found


def text(value, sign=""):
    return format(value, f"{sign}.3f").replace("-", "−")


def within(value, low, high, sign=""):
    return f"{text(value, sign)} ({text(low, sign)} to {text(high, sign)})"
