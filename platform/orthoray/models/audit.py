"""What became of each tensor when weights were loaded, and whether that is good enough."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass

from orthoray.errors import InputError
from orthoray.models.weights.fitting import How

MATCH_REQUIRED = 0.99
"""Share of the model's tensors that weights must fill; below it, loading is refused."""

FILLED: tuple[How, ...] = ("same", "renamed", "joined", "split", "folded", "interpolated")

PERIODS = "rope.periods"
"""DINOv3's RoPE, which timm computes and does not count among its tensors."""

LICENCES = {"dinov3-license": "DINOv3 License (https://ai.meta.com/resources/models-and-libraries/dinov3-license/)"}
"""Licences by their short name that bind what is derived from the weights."""


@dataclass(frozen=True)
class AuditRow:
    """One tensor: its names in the file and in the model (either may be empty), its shape, and what was done to it."""

    file: str
    model: str
    shape: tuple[int, ...]
    how: How
    note: str = ""


@dataclass(frozen=True)
class LoadAudit:
    """The load of one source into one model.

    ``layout`` and ``prefix`` say how the file names the tensors; ``licence`` is the short name of the weights' licence,
    as far as it is known; ``named`` the architecture that the folder's ``config.json`` names.
    """

    origin: str
    architecture: str
    layout: str
    prefix: str
    rows: tuple[AuditRow, ...]
    licence: str | None = None
    named: str | None = None

    @property
    def counts(self) -> dict[How, int]:
        """Number of tensors by what became of them."""
        return dict(Counter(row.how for row in self.rows))

    @property
    def wanted(self) -> list[AuditRow]:
        """The rows of the tensors in the model's state."""
        return [row for row in self.rows if row.how != "unused" and row.model != PERIODS]

    @property
    def matched(self) -> int:
        """How many of the model's tensors were filled."""
        return sum(row.how in FILLED for row in self.wanted)

    @property
    def share(self) -> float:
        """`matched` as a share of the model's tensors, 0..1."""
        return self.matched / max(1, len(self.wanted))

    @property
    def leftovers(self) -> list[AuditRow]:
        """Tensors of the backbone in the file that found no place and have no excuse."""
        return [row for row in self.rows if row.how == "unused" and not row.note]

    def check(self) -> LoadAudit:
        """Give back the audit if it is good enough.

        Raises:
            InputError: less than 99 % of the model's tensors were filled, or the file's backbone has tensors that this
                architecture has no place for.
        """
        if self.share >= MATCH_REQUIRED and not self.leftovers:
            return self
        total = len(self.wanted)
        if self.share < MATCH_REQUIRED:
            head = f"only {self.matched} of {total} tensors fit this architecture (99 % are required)."
        else:
            head = f"{len(self.leftovers)} tensor(s) of the file have no place in this architecture."
        missing = [row.model for row in self.wanted if row.how == "missing"]
        shapes = [f"{row.model} {row.note}" for row in self.wanted if row.how == "misfit"]
        left = [row.file for row in self.leftovers]
        raise InputError(
            f"{self.origin}: {head} Missing: {some(missing)}. Other shape: {some(shapes)}. "
            f"Not known to the model: {some(left)}. {self._advice(missing, left)}"
        )

    def _advice(self, missing: list[str], left: list[str]) -> str:
        name = self.architecture
        if any(text.endswith(("attn.qkv.bias", "q_proj.bias", "q_bias", "query.bias")) for text in left):
            return f"The file has biases of query and value: use {name}_qkvb."
        if missing and all(text.endswith(("q_bias", "v_bias")) for text in missing):
            return f"The file has no biases of query and value: use {name.removesuffix('_qkvb')}."
        if any(text.endswith("rope_embed.periods") for text in left):
            return "The file's network knows positions by RoPE: use a backbone vit_…_dinov3 (or model.rope=off)."
        said = f" Its config.json names {self.named}." if self.named else ""
        return f"Check backbone, patch_size, depth and img_size.{said}"

    def summary(self) -> str:
        """Two or three lines: how much was matched and how, what was not, what the licence is."""
        counts = ", ".join(f"{count} {how}" for how, count in self.counts.items() if how in FILLED)
        lines = [f"{self.origin}: {self.matched} of {len(self.wanted)} tensors ({self.share:.1%}; {counts})"]
        changed = [row for row in self.rows if row.how == "interpolated"]
        lines += [f"interpolated: {row.model} ({row.note})" for row in changed]
        missing = [row.model for row in self.wanted if row.how not in FILLED]
        lines += [f"not in the file, at its starting value: {some(missing, 8)}"] if missing else []
        lines += [f"licence of these weights: {LICENCES.get(self.licence, self.licence)}"] if self.licence else []
        return "\n".join(lines)

    def table(self) -> str:
        """All rows as text, one a line: what was done, name in the model, shape, name in the file, note."""
        wide = max([len(row.model) for row in self.rows], default=0)
        lines = []
        for row in self.rows:
            shape = " × ".join(str(side) for side in row.shape)
            origin = row.file if row.file != row.model else ""
            note = f"({row.note})" if row.note else ""
            lines.append(f"{row.how:<12} {row.model:<{wide}} {shape:<20} {origin} {note}".rstrip())
        return "\n".join(lines)

    def csv(self) -> str:
        """All rows as CSV with a heading: ``how, model, shape, file, note``."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("how", "model", "shape", "file", "note"))
        for row in self.rows:
            writer.writerow((row.how, row.model, "x".join(str(side) for side in row.shape), row.file, row.note))
        return text.getvalue()


def some(names: list[str], most: int = 4) -> str:
    """The first names of a list, and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
