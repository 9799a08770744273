"""One image file in, pixels and facts out."""

from orthoray.imaging.display import Display, display_frames, read_display
from orthoray.imaging.facts import ImageFacts, read_facts
from orthoray.imaging.files import UnreadableImageError, is_raster
from orthoray.imaging.stored import read_stored

__all__ = [
    "Display",
    "ImageFacts",
    "UnreadableImageError",
    "display_frames",
    "is_raster",
    "read_display",
    "read_facts",
    "read_stored",
]
