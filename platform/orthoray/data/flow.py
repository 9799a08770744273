"""The flow of images through ingest as a diagram (CONSORT style), drawn from the manifest."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

BOX_W, SIDE_W, LINE, GAP, PAD = 300, 380, 17, 22, 10
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1a1a1a}.n{font-weight:600}rect{fill:#fff;stroke:#555}"
    ".side rect{stroke-dasharray:4 3}path{stroke:#555;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}rect{fill:#1e1e1e;stroke:#aaa}path{stroke:#aaa}}"
)


def flow_svg(manifest: dict[str, Any]) -> str:
    """An SVG: what there was after every stage on the left, what each stage excluded and why on the right."""
    steps = manifest["funnel"]
    parts: list[str] = []
    top = PAD
    for number, step in enumerate(steps):
        reasons = [
            f"{row['count']:,} {row['reason'].replace('_', ' ')}"
            for row in manifest["excluded"]
            if number and row["stage"] == step.get("stage_id")
        ]
        if reasons:
            height = PAD * 2 + LINE * (len(reasons) + 1)
            lost = steps[number - 1]["count"] - step["count"]
            parts.append(_box(BOX_W + 60, top, SIDE_W, [f"excluded: {lost:,}", *reasons], "side"))
            parts.append(_line(f"M{PAD + BOX_W / 2} {top - GAP}V{top + height + GAP}"))
            parts.append(_line(f"M{PAD + BOX_W / 2} {top + height / 2}H{BOX_W + 60}"))
            top += height + GAP
        elif number:
            parts.append(_line(f"M{PAD + BOX_W / 2} {top - GAP}V{top}"))
        parts.append(_box(PAD, top, BOX_W, [f"{step['count']:,}", step["stage"]], "main"))
        top += PAD * 2 + LINE * 2 + GAP
    width, height = BOX_W + SIDE_W + 80, top
    title = escape(f"Flow of images: {manifest['title']}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{title}"><title>{title}</title><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _box(left: float, top: float, width: float, lines: list[str], kind: str) -> str:
    height = PAD * 2 + LINE * len(lines)
    rows = "".join(_text(left + PAD, top + PAD + LINE * (row + 0.75), line, row) for row, line in enumerate(lines))
    return f'<g class="{kind}"><rect x="{left}" y="{top}" width="{width}" height="{height}" rx="3"/>{rows}</g>'


def _text(left: float, base: float, line: str, row: int) -> str:
    return f'<text x="{left}" y="{base}" class="{"m" if row else "n"}">{escape(line)}</text>'


def _line(path: str) -> str:
    return f'<path d="{path}"/>'
