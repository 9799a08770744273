"""De-identification of DICOM headers by a table of rules (PS3.15 annex E); see docs/deidentification.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

    from orthoray.imaging.deid.policy import Policy
    from orthoray.imaging.pseudonyms import Pseudonyms

__all__ = ["deidentify", "to_bytes"]


def deidentify(
    dataset: Dataset,
    ids: Pseudonyms,
    *,
    clean_pixels: bool = False,
    clean_graphics: bool = True,
    policy: Policy | None = None,
) -> Dataset:
    """A new data set without what identifies the patient, the staff or the institution.

    Basic Application Level Confidentiality Profile with the options Clean Graphics, Clean Descriptors, Retain
    Longitudinal Temporal Information with Modified Dates, Retain Patient Characteristics and Retain Device Identity
    (PS3.15 annex E). What no rule names is removed. ``dataset`` stays as it is; the result shares its pixel data.

    Args:
        dataset: a parsed DICOM object, with or without pixel data.
        ids: makes the pseudonyms, the UIDs and the date shift; equal for all files of a source.
        clean_pixels: lettering was looked for in every frame and none was found that could identify somebody: claim
            the option Clean Pixel Data and set Burned In Annotation to NO. The pixels are not looked at here.
        clean_graphics: also clear bits of native pixel words that are not the pixel's, where old files keep overlays
            (PS3.5 8.1.1); False leaves the words unread and does not claim the option. Overlay, curve and annotation
            elements go in both cases. Pixel words that are clean already are passed on without a copy.
        policy: other rules than ``policy.standard()``.

    Returns:
        The data set with new file meta information and an empty preamble. Marks: (0012,0062), (0012,0063),
        (0012,0064), (0028,0303). A result given in again with the same key comes out unchanged.

    Raises:
        UnreadableImageError: ``no_sop_class``, ``no_instance_uid``, ``transfer_syntax_unknown``,
            ``overlay_in_compressed_pixels`` or ``not_deidentifiable``; no message holds anything of the header.
    """
    from orthoray.imaging.deid.execute import run

    return run(dataset, ids, clean_pixels, clean_graphics, policy)


def to_bytes(dataset: Dataset) -> bytes:
    """The DICOM file (PS3.10) of a data set from `deidentify`: a preamble of zeros, nothing after the last element.

    Raises:
        UnreadableImageError: ``not_writable``.
    """
    from orthoray.imaging.deid.execute import written

    return written(dataset)
