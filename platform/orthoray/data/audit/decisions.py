"""What readers decided: the export of a sheet, its digest, and the merging of several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from orthoray import storage
from orthoray.config import StrictModel
from orthoray.data.audit.sample import FORMAT, Parameters
from orthoray.errors import InputError

REASONS = {
    "anatomy": "wrong body part or view",
    "blur": "severe blur or motion",
    "exposure": "over- or underexposed",
    "stitched": "stitched or long-leg",
    "graphics": "drawn marks or text",
    "other": "artefact or other",
}
"""Reasons of a rejection in the order of the keys 1 to 6."""

Reason = Literal["anatomy", "blur", "exposure", "stitched", "graphics", "other"]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
Reviewer = Annotated[str, Field(pattern=r"^[A-Z]{1,4}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\t\r\n]+$")]


class Decision(StrictModel):
    """One image, one answer. ``decided_at`` is UTC with milliseconds; text of equal form, so it sorts as time does."""

    image_id: Identifier
    verdict: Literal["accept", "reject"]
    reason: Reason | None
    decided_at: Time

    @model_validator(mode="after")
    def _reason_belongs_to_reject(self) -> Decision:
        if (self.verdict == "reject") != (self.reason is not None):
            raise ValueError("a rejection has a reason, an acceptance has none")
        return self

    @property
    def answer(self) -> str:
        """``accept`` or the reason of the rejection."""
        return self.reason or "accept"


class Export(StrictModel):
    """The JSON file that a sheet exports; refused if the digest does not fit or an image is decided twice."""

    format: Literal["orthoray-audit-1"]
    dataset_id: Identifier
    sheet: Hash
    parameters: Parameters
    reviewer: Reviewer
    exported_at: Time
    decisions: tuple[Decision, ...]
    digest: Hash

    @model_validator(mode="after")
    def _intact(self) -> Export:
        if len({decision.image_id for decision in self.decisions}) < len(self.decisions):
            raise ValueError("an image is decided twice")
        if self.digest != digest(self):
            raise ValueError("the digest does not fit the content; the file was changed or damaged after its export")
        return self


Answers: TypeAlias = dict[str, dict[str, Decision]]
"""image_id → reviewer → decision."""


def digest(export: Export) -> str:
    """SHA-256 over what an export says: shows damage and careless edits; it proves no identity.

    The text is UTF-8, one line each for format, dataset_id, sheet, reviewer and exported_at, then for every decision
    by ascending image_id one line ``image_id TAB verdict TAB reason TAB decided_at`` (reason empty for an acceptance),
    lines joined by a line feed. The parameters are covered by the sheet's hash.
    """
    lines = [FORMAT, export.dataset_id, export.sheet, export.reviewer, export.exported_at]
    for decision in sorted(export.decisions, key=lambda item: item.image_id):
        lines.append(f"{decision.image_id}\t{decision.verdict}\t{decision.reason or ''}\t{decision.decided_at}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_export(uri: str) -> Export:
    """Read and check one export; InputError names the file and what is wrong with it, never its content."""
    if not storage.exists(uri) or storage.is_folder(uri):
        raise InputError(f"{uri}: no such file. Give the JSON file that the review sheet exported.")
    try:
        return parse_export(storage.read_bytes(uri))
    except ValueError as error:
        raise InputError(f"{uri}: not an intact export of a review sheet: {error}") from None


def parse_export(content: bytes) -> Export:
    """Check the content of an export; ValueError says in one line what is wrong."""
    try:
        json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("it is not JSON (the CSV export is for reading only).") from None
    try:
        return Export.model_validate_json(content)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        place = ".".join(str(part) for part in problems[0]["loc"]) or "file"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"{place}: {problems[0]['msg'].removeprefix('Value error, ')}{more}.") from None


def merge(exports: Iterable[Export]) -> Answers:
    """The newest decision of every reviewer on every image; the order and repetition of exports do not matter."""
    merged: Answers = {}
    ordered = sorted(exports, key=lambda export: (export.exported_at, export.digest))
    for export in ordered:
        for decision in export.decisions:
            readers = merged.setdefault(decision.image_id, {})
            known = readers.get(export.reviewer)
            if known is None or decision.decided_at >= known.decided_at:
                readers[export.reviewer] = decision
    return {image: dict(sorted(readers.items())) for image, readers in sorted(merged.items())}
