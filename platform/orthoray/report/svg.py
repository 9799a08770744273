"""Small line and dot charts as inline SVG whose colours come from the page's style sheet (light, dark, print)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 40


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) inside ``low``..``high``."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * k, 12) for k in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """A tick's label with as many decimals as the step needs."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if abs(step) < 1e-3:
        factor, power = f"{value:.2e}".split("e")
        return f"{float(factor):g}e{int(power)}"
    digits = max(0, min(4, math.ceil(-math.log10(step) - 1e-9)))
    if abs(round(step, digits) - step) > 1e-9:
        digits += 1
    return f"{value:.{digits}f}"


@dataclass(frozen=True)
class Scale:
    """Linear map from data (``low``..``high``) to pixels (``start``..``end``)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a data value."""
        span = self.high - self.low
        return self.start + (value - self.low) / (span or 1.0) * (self.end - self.start)


def padded(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """Range of the values with a margin on both sides; never empty."""
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * 0.1 or 0.5
    return low - room, high + room


@dataclass
class Chart:
    """One panel of WIDTH × ``height`` units with axes; add marks, then `render`."""

    x: Scale
    y: Scale
    height: int = HEIGHT
    parts: list[str] = field(default_factory=list)

    @classmethod
    def over(cls, x: tuple[float, float], y: tuple[float, float], height: int = HEIGHT, left: int = LEFT) -> Chart:
        """An empty chart over the given data ranges."""
        return cls(Scale(*x, left, WIDTH - RIGHT), Scale(*y, height - BOTTOM, TOP), height)

    def axes(self, x_label: str, y_ticks: bool = True, x_ticks: Sequence[float] | None = None) -> None:
        """Grid lines with labels, and the title of the x axis."""
        floor, left, right = self.y.start, self.x.start, self.x.end
        values = nice_ticks(self.x.low, self.x.high) if x_ticks is None else list(x_ticks)
        step = values[1] - values[0] if len(values) > 1 else 1.0
        for value in values:
            self.line(self.x(value), TOP, self.x(value), floor, "rule")
            self.text(self.x(value), floor + 15, tick_text(value, step), "tick", "middle")
        if y_ticks:
            marks = nice_ticks(self.y.low, self.y.high, 4)
            step = marks[1] - marks[0] if len(marks) > 1 else 1.0
            for value in marks:
                self.line(left, self.y(value), right, self.y(value), "rule")
                self.text(left - 6, self.y(value) + 4, tick_text(value, step), "tick", "end")
        self.line(left, floor, right, floor, "axis")
        self.text((left + right) / 2, self.height - 6, x_label, "label", "middle")

    def line(self, x0: float, y0: float, x1: float, y1: float, style: str) -> None:
        """A straight line in pixels."""
        self.parts.append(f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" class="{escape(style)}"/>')

    def text(self, x: float, y: float, content: str, style: str, anchor: str = "start") -> None:
        """Text at a pixel position."""
        head = f'<text x="{x:.1f}" y="{y:.1f}" class="{escape(style)}" text-anchor="{anchor}">'
        self.parts.append(f"{head}{escape(content)}</text>")

    def y_title(self, content: str) -> None:
        """Title of the y axis, written upwards at the left edge."""
        middle = (self.y.start + self.y.end) / 2
        head = f'<text transform="translate(11 {middle:.1f}) rotate(-90)" class="label" text-anchor="middle">'
        self.parts.append(f"{head}{escape(content)}</text>")

    def curve(self, xs: Sequence[float], ys: Sequence[float], style: str) -> None:
        """A line through data points; points that are not finite break it."""
        pieces, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            pieces.append(f"{pen}{self.x(x):.1f} {self.y(y):.1f}")
            pen = "L"
        self.parts.append(f'<path d="{"".join(pieces)}" class="{escape(style)}"/>')

    def mark(self, shape: str, x: float, y: float, size: float, style: str) -> None:
        """A mark of one of `naming.MARKS` centred on a pixel position."""
        self.parts.append(f'<path d="{_outline(shape, x, y, size)}" class="{escape(style)}"/>')

    def render(self, title: str) -> Markup:
        """The SVG element; ``title`` is its text alternative."""
        box = f'viewBox="0 0 {WIDTH} {self.height}"'
        body = "".join(self.parts)
        return Markup(f'<svg {box} role="img" aria-label="{escape(title)}">{body}</svg>')


def mark_icon(shape: str, style: str) -> Markup:
    """A mark alone, for legends."""
    path = f'<path d="{_outline(shape, 7, 7, 5)}" class="{escape(style)}"/>'
    return Markup(f'<svg viewBox="0 0 14 14" class="icon" aria-hidden="true">{path}</svg>')


def _outline(shape: str, x: float, y: float, r: float) -> str:
    def polygon(*points: tuple[float, float]) -> str:
        return "M" + "L".join(f"{x + r * dx:.1f} {y + r * dy:.1f}" for dx, dy in points) + "Z"

    if shape == "circle":
        return f"M{x - r:.1f} {y:.1f}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0Z"
    if shape == "square":
        return polygon((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9))
    if shape == "triangle":
        return polygon((0, -1.1), (1.05, 0.8), (-1.05, 0.8))
    if shape == "diamond":
        return polygon((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0))
    arm = [(-1, -0.35), (-0.35, -0.35), (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35)]
    plus = arm + [(-a, -b) for a, b in arm]
    turn = math.sqrt(0.5)
    return polygon(*(plus if shape == "plus" else [((a - b) * turn, (a + b) * turn) for a, b in plus]))
