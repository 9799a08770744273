"""State of a pass over one file, and the place of an element in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orthoray.imaging.deid.text import needles_of

if TYPE_CHECKING:
    from pydicom import Dataset

    from orthoray.imaging.pseudonyms import Pseudonyms

DEEPEST = 16
"""Nested sequences below this level are removed."""


@dataclass
class Work:
    """One pass over one file.

    Attributes:
        original: the whole data set.
        ids: maker of pseudonyms.
        patient: what the date shift is made from.
        sealed: the data set is already a result of this key: its pseudonyms and dates are passed on.
        spared: tags of the texts that are compared with the needles.
        syntax: transfer syntax of the pixel data.
        clean_graphics: whether pixel words are cleaned.
        replaced: every pseudonym, UID, date and device text of the result, in its order: what the seal is made from.
    """

    original: Dataset
    ids: Pseudonyms
    patient: str
    sealed: bool
    spared: frozenset[int]
    syntax: str
    clean_graphics: bool
    replaced: list[str] = field(default_factory=list)

    @cached_property
    def days(self) -> int:
        """Days to add to every date."""
        return 0 if self.sealed else self.ids.shift_days(self.patient)

    @cached_property
    def needles(self) -> frozenset[str]:
        """Words of the file's identifying values; none in a result of this key, whose seal covers its texts."""
        return frozenset() if self.sealed else needles_of(self.original, self.spared)

    def uid(self, value: str) -> str:
        """Pseudonym of a UID."""
        return self._noted(value if self.sealed else self.ids.uid(value))

    def pseudonym(self, kind: str, value: str, longest: int) -> str:
        """Pseudonym of a text, at most ``longest`` characters."""
        return self._noted(value if self.sealed else self.ids.make(kind, value)[:longest])

    def note(self, found: Iterable[Any]) -> None:
        """Add values of the result to what the seal covers."""
        self.replaced.extend(map(str, found))

    def seal(self) -> str:
        """Code over ``replaced``: tells a result of this key from anything else."""
        return self.ids.seal("\x1f".join(self.replaced))

    def _noted(self, made: str) -> str:
        self.replaced.append(made)
        return made


@dataclass(frozen=True)
class Scope:
    """A data set or an item of a sequence: its original, its depth (0 = the data set), and how to clean an item."""

    dataset: Dataset
    work: Work
    depth: int
    cleaner: Callable[[Scope], Dataset]

    @property
    def may_go_deeper(self) -> bool:
        """False at the deepest level that is read."""
        return self.depth < DEEPEST

    def clean(self, item: Dataset) -> Dataset:
        """Apply all rules to an item of a sequence."""
        return self.cleaner(Scope(item, self.work, self.depth + 1, self.cleaner))
