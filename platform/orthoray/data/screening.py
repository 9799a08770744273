"""From measures to reasoned exclusions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orthoray.data.screening_checks import Finding, findings
from orthoray.data.screening_rules import ScreeningRules
from orthoray.data.screening_table import ScreeningTable

COLUMNS = ["image_id", "stage", "reason", "detail", "value", "severity"]
STAGE = "quality"
NEEDED = ["image_id", "modality"]

ORDER = (
    "burned_in_text",
    "screenshot",
    "corrupt_pixels",
    "non_knee",
    "end_slice",
    "graphics",
    "stitched",
    "blurred",
    "exposure",
    "low_contrast",
    "mr_artefact",
    "implant",
)
"""Reasons; an image has the first of those that exclude it, else the first of those that send it to review.

Those of which `orthoray.data.pipeline` keeps no thumbnail, because lettering may name somebody, come first: no other
reason must hide them."""


class Screening(NamedTuple):
    """What screening found.

    Attributes:
        exclusions: one row per image found, with the columns `COLUMNS`, in the order of the index. ``value`` is the
            number that decided, ``detail`` says which number that is, its limit, and any further reasons;
            ``severity`` is ``exclude``, ``review`` or ``always`` (excluded whatever the card says).
        account: ``images``; ``by_stratum``: how many images each kind of strata judged (``none``: too few of their
            like, so no z); ``strata``: number of the finest ones; ``missing``: columns that were absent, whose rules
            found nothing; ``counts``: reason → severity → images.
    """

    exclusions: pd.DataFrame
    account: dict[str, Any]


def screen(index: pd.DataFrame, rules: ScreeningRules | None = None) -> Screening:
    """Judge every image of a dataset.

    Measures of sharpness, contrast and artefacts are compared within strata of comparable images
    (`orthoray.data.strata`), so no site or view is judged by another's. Rules that are off or whose columns are absent
    find nothing. Images sent to review are no exclusions: they stay until a person has decided.

    Args:
        index: one row per image: ``image_id``, ``modality`` and any of ``site, body_part, view, plane, series_id,
            slice_index, height, row_spacing_mm``, the measures of `orthoray.imaging.quality.Quality` as columns
            ``quality.<name>`` or as one struct column ``quality``, the flags ``stitched, burned_in, overlay,
            screenshot, implant, body_part_conflict`` and the numbers ``deviation_index, outlier_score``.
        rules: thresholds and severities; None = the defaults.

    Raises:
        KeyError: ``image_id`` or ``modality`` is absent.
    """
    rules = rules or ScreeningRules()
    absent = [name for name in NEEDED if name not in index.columns]
    if absent:
        raise KeyError(f"screening needs the columns {', '.join(absent)}")
    table = ScreeningTable(index, rules)
    exclusions = _gravest(index, [found for found in findings(table, rules) if found.mask.any()])
    counts: dict[str, dict[str, int]] = {}
    for (reason, severity), group in exclusions.groupby(["reason", "severity"]):
        counts.setdefault(str(reason), {})[str(severity)] = len(group)
    account = {"images": len(index), **table.strata.account(), "missing": sorted(table.missing), "counts": counts}
    return Screening(exclusions, account)


def _gravest(index: pd.DataFrame, found: list[Finding]) -> pd.DataFrame:
    """One row per image: its gravest finding, with the other reasons in its detail."""
    if not found:
        return pd.DataFrame({name: pd.Series(dtype=float if name == "value" else object) for name in COLUMNS})
    parts = []
    for finding in found:
        rows = np.flatnonzero(finding.mask)
        rank = ORDER.index(finding.reason) + (len(ORDER) if finding.severity == "review" else 0)
        parts.append(
            pd.DataFrame(
                {
                    "row": rows,
                    "rank": rank,
                    "reason": finding.reason,
                    "detail": finding.detail,
                    "value": finding.value[rows],
                    "severity": finding.severity,
                }
            )
        )
    every = pd.concat(parts, ignore_index=True).sort_values(["row", "rank"], kind="stable", ignore_index=True)
    every = every.drop_duplicates(["row", "reason"], ignore_index=True)
    first = ~every.duplicated("row")
    chosen = every[first].set_index("row")
    others = every[~first].groupby("row")["reason"].agg(", ".join)
    also = ("; also " + others).reindex(chosen.index, fill_value="")
    images = index["image_id"].to_numpy()[chosen.index]
    return chosen.assign(image_id=images, stage=STAGE, detail=chosen["detail"] + also)[COLUMNS].reset_index(drop=True)
