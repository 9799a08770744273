"""One image file in, pixels and facts out."""

from orthoray.imaging.containers import hdf5_attributes
from orthoray.imaging.display import Display, display_frames, read_display
from orthoray.imaging.facts import ImageFacts, read_facts
from orthoray.imaging.files import REASONS, UnreadableImageError, sniff
from orthoray.imaging.stored import count_frames, read_stored

__all__ = [
    "REASONS",
    "Display",
    "ImageFacts",
    "UnreadableImageError",
    "count_frames",
    "display_frames",
    "hdf5_attributes",
    "read_display",
    "read_facts",
    "read_stored",
    "sniff",
]
