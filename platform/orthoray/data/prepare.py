"""From one file to the images of the training tier. Runs in a guarded child, which decodes and reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.data.codec import encode
from orthoray.imaging import Display, UnreadableImageError, display_frames, sniff
from orthoray.imaging.files import read_dicom
from orthoray.imaging.lettering import Lettering, find_lettering
from orthoray.imaging.needles import needles_of
from orthoray.imaging.polarity import polarity
from orthoray.imaging.quality import measure

LEAST_SIDE = 16
"""Pixels on either side below which an image shows nothing that could be judged."""

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Want:
    """One image to make: of which frame, which half (``R`` = image-left, ``L`` = image-right, "" = all), inverted?"""

    frame: int
    part: str = ""
    inverted: bool = False
    modality: str = "XR"


@dataclass(frozen=True)
class Treatment:
    """How images are made: the window's policy, the short side in pixels, and whether lettering is read."""

    window: str
    short_side: int
    ocr: bool = False


@dataclass(frozen=True)
class Refused:
    """Why there is no image: a fixed word and a detail that names nobody."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Made:
    """An image of the training tier.

    ``fields``: height, width, codec, pixels, sha256, quality and the window, as columns of a dataset. ``scale``: by how
    much a pixel grew.
    """

    fields: dict[str, Any]
    scale: float


Outcome = Made | Refused


def prepare(files: Sequence[tuple[str, Sequence[Want]]], treatment: Treatment) -> list[list[Outcome]]:
    """Make the wanted images of some files; what cannot be made is refused with its reason, file by file."""
    cv2.setNumThreads(1)
    return [_file(uri, wants, treatment) for uri, wants in files]


def _file(uri: str, wants: Sequence[Want], treatment: Treatment) -> list[Outcome]:
    try:
        frames = display_frames(uri, treatment.window)
        read = _lettering(uri, frames, wants) if treatment.ocr else {}
    except UnreadableImageError as error:
        return [Refused(error.reason, error.detail)] * len(wants)
    return [
        _image(frames[want.frame], want, treatment.short_side, read.get(want.frame))
        if want.frame < len(frames)
        else Refused("frame_missing", "fewer frames than the header says")
        for want in wants
    ]


def _lettering(uri: str, frames: Sequence[Display], wants: Sequence[Want]) -> dict[int, Lettering]:
    """What is read on each wanted frame: on all of it, before it is cut in halves and reduced."""
    needles = needles_of(read_dicom(uri, pixels=False)) if sniff(uri) == "dicom" else frozenset()
    wanted = sorted({want.frame for want in wants if want.frame < len(frames)})
    return {number: find_lettering(frames[number].grey, needles) for number in wanted}


def _image(frame: Display, want: Want, short_side: int, read: Lettering | None) -> Outcome:
    image, scale = reduced(frame.grey, want.part, short_side)
    image = 255 - image if want.inverted else image
    if image.min() == image.max():
        return Refused("blank", "all pixels have the same value")
    if min(image.shape) < LEAST_SIDE:
        return Refused("too_small", f"{image.shape[0]} x {image.shape[1]} pixels")
    quality = measure(image, want.modality)
    fields = {
        "height": image.shape[0],
        "width": image.shape[1],
        "codec": "png",
        "pixels": encode(image),
        "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
        "intensity_low": frame.low,
        "intensity_high": frame.high,
        "intensity_policy": frame.policy + ("+inverted" if want.inverted else ""),
        "quality": quality.row() | (read.row() if read else {}),
        "phash": quality.phash,
        "polarity": polarity(image).score if want.modality == "XR" else None,
    }
    return Made(fields, scale)


def reduced(image: Grey, part: str, short_side: int) -> tuple[Grey, float]:
    """Cut out a half (``R`` = image-left, ``L`` = image-right) and reduce to the short side.

    An odd width gives the middle column to the image-right half.

    Returns:
        (h, w) uint8, and by how much a pixel grew.
    """
    middle = image.shape[1] // 2
    image = image[:, :middle] if part == "R" else image[:, middle:] if part == "L" else image
    scale = min(image.shape) / short_side
    if scale <= 1.0:
        return np.ascontiguousarray(image), 1.0
    size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale
