"""One function per rule of screening: which images it finds, and by which number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from orthoray.data.screening_rules import (
    ArtefactRule,
    BlurRule,
    BodyPartRule,
    ContrastRule,
    CorruptRule,
    DeviationIndexRule,
    EndSliceRule,
    ExposureRule,
    GraphicsRule,
    ImplantRule,
    OutlierRule,
    Rule,
    ScreeningRules,
    Severity,
    StitchedRule,
    TextRule,
)
from orthoray.data.screening_table import Mask, ScreeningTable, Values

MR_SIGNS = ("snr", "noise", "ghost", "streaks", "air", "efc", "spike", "shading")


@dataclass(frozen=True)
class Finding:
    """Images of one reason.

    Attributes:
        reason: fixed word.
        severity: ``exclude``, ``review``, or ``always``: to be excluded whatever the card says.
        mask: (n,) bool.
        value: (n,) the number that decided.
        detail: what that number is and its limit.
    """

    reason: str
    severity: Severity | Literal["always"]
    mask: Mask
    value: Values
    detail: str


def corrupt_pixels(table: ScreeningTable, rule: CorruptRule) -> Iterator[Finding]:
    """At most `CorruptRule.levels` different grey levels."""
    levels = table.measure("levels")
    yield Finding("corrupt_pixels", rule.severity, levels <= rule.levels, levels, f"grey levels, limit {rule.levels}")


def screenshot(table: ScreeningTable, rule: Rule) -> Iterator[Finding]:
    """The header says that it is a picture of a screen."""
    yield _flagged(table, rule, "screenshot", "screenshot")


def non_knee(table: ScreeningTable, rule: BodyPartRule) -> Iterator[Finding]:
    """A body part that is not allowed, or one that header and description disagree about."""
    part = table.text("body_part")
    names, places = np.unique(part.astype(str), return_inverse=True)
    other = np.array([name not in ("", *rule.allowed) for name in names], bool)[places]
    yield Finding("non_knee", rule.severity, other, np.ones(len(part)), "body part in the header")
    yield _flagged(table, rule, "body_part_conflict", "non_knee")


def outlier(table: ScreeningTable, rule: OutlierRule) -> Iterator[Finding]:
    """Unlike what was audited as good."""
    score = table.number("outlier_score")
    yield Finding("non_knee", rule.severity, score > rule.limit, score, f"outlier score, limit {rule.limit:g}")


def identity(table: ScreeningTable) -> Finding:
    """Identifying values of the image's own header, read in its pixels."""
    lines = table.measure("ocr_identity")
    return Finding("burned_in_text", "always", lines > 0, lines, "ocr_identity, limit 0")


def burned_in_text(table: ScreeningTable, rule: TextRule) -> Iterator[Finding]:
    """Words in the pixels, by their strokes or read, or the header's BurnedInAnnotation."""
    words, read = table.measure("text_boxes"), table.measure("ocr_words")
    yield Finding("burned_in_text", rule.severity, words > rule.words, words, f"words, limit {rule.words}")
    yield Finding("burned_in_text", rule.severity, read > rule.ocr_words, read, f"ocr_words, limit {rule.ocr_words}")
    yield _flagged(table, rule, "burned_in", "burned_in_text")


def graphics(table: ScreeningTable, rule: GraphicsRule) -> Iterator[Finding]:
    """Arrows and lines on a film."""
    drawn = table.measure("graphics")
    yield Finding("graphics", rule.severity, drawn > rule.drawn, drawn, f"drawn lines or arrows, limit {rule.drawn}")


def overlay(table: ScreeningTable, rule: Rule) -> Iterator[Finding]:
    """Overlay planes in the header."""
    yield _flagged(table, rule, "overlay", "graphics")


def stitched(table: ScreeningTable, rule: StitchedRule) -> Iterator[Finding]:
    """Composed of several exposures, or as long as only such films are."""
    yield _flagged(table, rule, "stitched", "stitched")
    film = ~table.is_mr
    length = table.number("height") * table.number("row_spacing_mm")
    yield Finding("stitched", rule.severity, film & (length > rule.length_mm), length, f"mm, limit {rule.length_mm:g}")
    aspect = table.measure("aspect")
    yield Finding("stitched", rule.severity, film & (aspect > rule.aspect), aspect, f"aspect, limit {rule.aspect:g}")
    seam = table.measure("seam")
    far = table.z("seam", "high", film) > rule.seam_z
    yield Finding("stitched", rule.severity, far & (seam > rule.seam), seam, f"seam, limit {rule.seam:g}")


def blurred(table: ScreeningTable, rule: BlurRule) -> Iterator[Finding]:
    """Far less sharp than its like: by two of three measures of edges, or by the detail overall or in one direction."""
    z = np.stack([table.z(name, "low") for name in ("laplacian", "tenengrad", "high_frequency")])
    second = np.sort(np.nan_to_num(z, nan=-np.inf), axis=0)[1]
    yield Finding("blurred", rule.severity, second > rule.z, -second, f"z of edges, limit -{rule.z:g}")
    for name, limit in (("detail", rule.detail_z), ("detail_least", rule.direction_z)):
        far = table.z(name, "low")
        yield Finding("blurred", rule.severity, far > limit, -far, f"z of {name}, limit -{limit:g}")


def exposure(table: ScreeningTable, rule: ExposureRule) -> Iterator[Finding]:
    """Films: clipped, without detail in the histogram, or noisy, each far beyond their like."""
    film = ~table.is_mr
    for name, limit in (("clipped_low", rule.black), ("clipped_high", rule.white)):
        share = table.measure(name)
        mask = (share > limit) & (table.z(name, "high", film) > rule.z)
        yield Finding("exposure", rule.severity, mask, share, f"share {name}, limit {limit:g}")
    sides: tuple[tuple[str, Literal["low", "high"], float], ...] = (
        ("entropy", "low", rule.entropy_z),
        ("noise", "high", rule.noise_z),
    )
    for name, side, limit in sides:
        z = table.z(name, side, film)
        yield Finding("exposure", rule.severity, z > limit, z, f"z of {name}, {side} side, limit {limit:g}")


def deviation_index(table: ScreeningTable, rule: DeviationIndexRule) -> Iterator[Finding]:
    """The detector's own verdict on the exposure."""
    index = table.number("deviation_index")
    yield Finding(
        "exposure", rule.severity, np.abs(index) > rule.limit, index, f"deviation index, limit {rule.limit:g}"
    )


def low_contrast(table: ScreeningTable, rule: ContrastRule) -> Iterator[Finding]:
    """Few bits, or a narrow range of grey levels."""
    film, bits, levels = ~table.is_mr, table.measure("entropy"), table.measure("contrast")
    yield Finding("low_contrast", rule.severity, film & (bits < rule.entropy), bits, f"bits, limit {rule.entropy:g}")
    mask = film & (levels < rule.levels)
    yield Finding("low_contrast", rule.severity, mask, levels, f"contrast, limit {rule.levels:g}")
    z = table.z("contrast", "low", film)
    yield Finding("low_contrast", rule.severity, z > rule.z, -z, f"z of contrast, limit -{rule.z:g}")


def mr_artefact(table: ScreeningTable, rule: ArtefactRule) -> Iterator[Finding]:
    """Noise, ghosts, movement, spikes and shading, each far beyond its like, or two signs of movement."""
    far = {name: table.z(name, "low" if name == "snr" else "high", table.is_mr) for name in MR_SIGNS}
    far["ghost"] = np.where(table.measure("ghost") > rule.ghost, far["ghost"], np.nan)
    for name in ("snr", "noise", "ghost", "streaks", "air", "spike", "shading"):
        limit: float = getattr(rule, f"{name}_z")
        yield Finding("mr_artefact", rule.severity, far[name] > limit, far[name], f"z of {name}, limit {limit:g}")
    signs = np.stack([far[name] for name in ("snr", "streaks", "air", "efc")])
    second = np.sort(np.nan_to_num(signs, nan=-np.inf), axis=0)[-2]
    detail = f"z of movement, limit {rule.movement_z:g}"
    yield Finding("mr_artefact", rule.severity, second > rule.movement_z, second, detail)


def implant(table: ScreeningTable, rule: ImplantRule) -> Iterator[Finding]:
    """Metal, by saturated patches of a film or by the header."""
    yield _flagged(table, rule, "implant", "implant")
    share, z = table.measure("implant"), table.z("implant", "high", ~table.is_mr)
    mask = (share > rule.share) & (z > rule.z)
    yield Finding("implant", rule.severity, mask, share, f"share of saturated patches, limit {rule.share:g}")


def end_slice(table: ScreeningTable, rule: EndSliceRule) -> Iterator[Finding]:
    """Slices before the first and after the last that show something; never between them.

    A stack that shows next to nothing throughout goes to review as a whole: its foreground was more likely measured
    wrongly than that it has none.
    """
    share = table.measure("foreground")
    if not {"series_id", "slice_index"} <= set(table.index.columns):
        table.missing |= {"series_id", "slice_index"} - set(table.index.columns)
        return
    rows = np.flatnonzero(table.is_mr)
    if not len(rows):
        return
    series = pd.factorize(table.index["series_id"].iloc[rows])[0]
    order = np.lexsort((table.number("slice_index")[rows], series))
    rows, series = rows[order], series[order]
    place, first = np.arange(len(rows)), np.flatnonzero(np.diff(series, prepend=-1))
    empty = share[rows] < rule.foreground
    run = np.cumsum(np.diff(series, prepend=-1) != 0) - 1
    begin = np.minimum.reduceat(np.where(empty, len(rows), place), first)[run]
    end = np.maximum.reduceat(np.where(empty, -1, place), first)[run]
    whole = end < 0
    ends = empty & ~whole & ((place < begin) | (place > end))
    stacks: tuple[tuple[Mask, Severity, str], ...] = (
        (ends, rule.severity, "end of the stack"),
        (whole, "review", "whole stack"),
    )
    for mask, severity, what in stacks:
        found = np.zeros(len(share), bool)
        found[rows[mask]] = True
        detail = f"share of foreground, {what}, limit {rule.foreground:g}"
        yield Finding("end_slice", severity, found, share, detail)


def _flagged(table: ScreeningTable, rule: Rule, column: str, reason: str) -> Finding:
    mask = table.flag(column)
    return Finding(reason, rule.severity, mask, np.ones(len(mask)), f"header: {column}")


CHECKS: dict[str, Callable[[ScreeningTable, Any], Iterator[Finding]]] = {
    check.__name__: check
    for check in (
        corrupt_pixels, screenshot, non_knee, outlier, end_slice, burned_in_text, graphics, overlay,
        stitched, blurred, exposure, deviation_index, low_contrast, mr_artefact, implant,
    )
}  # fmt: skip
"""Rule of `ScreeningRules` → what it finds."""


def findings(table: ScreeningTable, rules: ScreeningRules) -> Iterator[Finding]:
    """What every rule that is on finds, and what no rule can switch off; a reason may come several times."""
    yield identity(table)
    for name, check in CHECKS.items():
        rule: Rule = getattr(rules, name)
        if rule.on:
            yield from check(table, rule)
