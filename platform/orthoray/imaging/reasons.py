"""Why a file cannot be used: fixed words, so that nothing of a header or of a file name leaves with an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

REASONS = {
    "blank": "every pixel has the same value, or all of them are padding",
    "colour": "a colour image: a screenshot, a photograph or a rendering, not a radiograph or a slice",
    "dicomdir": "a DICOMDIR, which lists other files and holds no image",
    "decoder_crashed": "a decoder crashed on the file and took its process with it",
    "decoder_failed": "an error of the decoding code that is nobody's fault but its own: please report it",
    "empty": "the file has no bytes",
    "executable_preamble": "a program is hidden in front of the DICOM header (CVE-2019-11687)",
    "file_unreadable": "the storage did not hand the file over",
    "frame_missing": "the file holds fewer frames than its header says",
    "header_unreadable": "the DICOM header is damaged",
    "no_instance_uid": "an object without an identifier cannot be de-identified",
    "no_pixels": "a report, a document, a presentation state or raw data: the object holds no image",
    "no_sop_class": "an object without a class cannot be de-identified",
    "not_decodable": "the pixels are cut off, damaged, or in a compression that no installed decoder reads",
    "not_deidentifiable": "identities could not be removed with certainty",
    "not_dicom": "neither DICOM nor a picture or an array that can be read",
    "not_writable": "the de-identified object could not be written",
    "other_format": "a file of another kind than the card of the source announces",
    "overlay_in_compressed_pixels": "an overlay in compressed pixels cannot be removed",
    "timeout": "decoding took longer than the time limit",
    "too_large": "the file, or the image that it declares, is beyond `imaging.limits`, or needs too much memory",
    "too_small": "fewer pixels than can be judged",
    "transfer_syntax_unknown": "a transfer syntax that is not known cannot be de-identified",
}
"""Reason → what it means, in one line for people."""


class UnreadableImageError(Exception):
    """An image cannot be used.

    Attributes:
        reason: one of the words in `REASONS`.
        detail: a type of exception, the name of a transfer syntax, a number or a fixed phrase. Neither it nor the
            message holds anything of the header, the path or the pixels.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@contextmanager
def refusing(reason: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into UnreadableImageError.

    Messages may quote the file, so only the type of the exception stays. UnreadableImageError itself passes, and so
    does what is no `Exception`, such as an interrupt.
    """
    try:
        yield
    except UnreadableImageError:
        raise
    except MemoryError:
        raise UnreadableImageError("too_large", "MemoryError") from None
    except Exception as error:
        raise UnreadableImageError(reason, type(error).__name__) from None
