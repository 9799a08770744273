"""Headers of synthetic DICOM objects in memory, and the table that a survey would make of them."""

import copy
from dataclasses import asdict

import numpy as np
import pandas as pd
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from orthoray.imaging.facts import facts_of
from orthoray.imaging.parsing import quieten

quieten()
SAGITTAL, CORONAL, AXIAL = [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0]


def item(**attributes):
    """A data set; lists of data sets become sequences."""
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, Sequence(value) if _holds_items(value) else value)
    return dataset


def _holds_items(value):
    return isinstance(value, list) and bool(value) and isinstance(value[0], Dataset)


def header(modality="MR", **attributes):
    """A single-frame header of 8 rows and 8 columns."""
    sop_class = MRImageStorage if modality == "MR" else ComputedRadiographyImageStorage
    return item(
        **{
            "SOPClassUID": sop_class, "SOPInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", "Modality": modality,
            "Rows": 8, "Columns": 8, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        } | attributes
    )  # fmt: skip


def slices(positions, orientation=SAGITTAL, **attributes):
    """A single-frame header for each position; attributes that are lists of as many values are given out in order."""
    found = []
    for number, position in enumerate(positions):
        own = {
            name: value[number] if isinstance(value, list) and len(value) == len(positions) else value
            for name, value in attributes.items()
        }
        own = {"InstanceNumber": number + 1, "PixelSpacing": [0.5, 0.5], "SOPInstanceUID": f"2.25.9{number}"} | own
        found.append(
            header(ImagePositionPatient=[float(x) for x in position], ImageOrientationPatient=orientation, **own)
        )
    return found


def enhanced(groups, shared=None, converted=False, **attributes):
    """An enhanced MR header; ``groups``: per frame macros by keyword, each one item."""
    sop_class = LegacyConvertedEnhancedMRImageStorage if converted else EnhancedMRImageStorage
    dataset = header(SOPClassUID=sop_class, NumberOfFrames=len(groups), **attributes)
    dataset.SharedFunctionalGroupsSequence = Sequence([_group(shared or {})])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([_group(group) for group in groups])
    return dataset


def _group(macros):
    return item(**{name: [content] for name, content in macros.items()})


def table(datasets):
    """One row per frame, as after the survey; the series is its own id."""
    rows = []
    for number, dataset in enumerate(datasets):
        for fact in facts_of(copy.deepcopy(dataset)):
            own = {"file": f"{number:04d}.dcm", "series_id": fact.series_uid, "image_key": fact.image_uid}
            rows.append(asdict(fact) | own)
    return pd.DataFrame(rows)


def one(dataset):
    """Facts of a header of one frame."""
    (facts,) = facts_of(dataset)
    return facts


def rotation(x, y, z, w):
    """Rotation matrix of a quaternion that is not zero."""
    x, y, z, w = np.array([x, y, z, w]) / np.linalg.norm([x, y, z, w])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
