"""Synthetic DICOM files for the tests of imaging and data."""

import numpy as np
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ComputedRadiographyImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage


def save_dicom(path, pixels, modality="CR", **attributes):
    """Write a single-frame object with the given stored values and further attributes; return its path as text."""
    kind = MRImageStorage if modality == "MR" else ComputedRadiographyImageStorage
    dataset = _base(kind, np.asarray(pixels), modality, str(path))
    for name, value in attributes.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return str(path)


def save_enhanced(path, pixels, groups, shared=None, own=True, **attributes):
    """An enhanced MR object; ``groups``: per frame (slope, intercept, (centre, width) or None, position, echo time).

    ``shared``: more sequences of the shared group. ``own=False``: frames have no transformation of their own.
    """
    dataset = _base(EnhancedMRImageStorage, np.asarray(pixels), "MR", str(path))
    dataset.NumberOfFrames = len(groups)
    orientation = item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    measures = item(PixelSpacing=[0.5, 0.25])
    common = item(PlaneOrientationSequence=[orientation], PixelMeasuresSequence=[measures], **(shared or {}))
    dataset.SharedFunctionalGroupsSequence = Sequence([common])
    frames = []
    for slope, intercept, window, position, echo in groups:
        frame = item(
            PlanePositionSequence=[item(ImagePositionPatient=[position, 0, 0])],
            MREchoSequence=[item(EffectiveEchoTime=echo)],
        )
        if own:
            scale = item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")
            frame.PixelValueTransformationSequence = Sequence([scale])
        if window and own:
            frame.FrameVOILUTSequence = Sequence([item(WindowCenter=window[0], WindowWidth=window[1])])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return str(path)


def lookup_table(first, entries, bits=16):
    """An item of a Modality or VOI LUT Sequence."""
    found = item(LUTDescriptor=[len(entries), first, bits], ModalityLUTType="US")
    found["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    found.add_new("LUTData", "US", [int(entry) for entry in entries])
    return found


def item(**attributes):
    """An item of a sequence; the values of ``...Sequence`` are lists of items."""
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, Sequence(value) if name.endswith("Sequence") else value)
    return dataset


def _base(kind, pixels, modality, name):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = kind
    unique = f"2.25.{int.from_bytes(name.encode()[-14:], 'big')}"
    meta.MediaStorageSOPInstanceUID = unique
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, unique
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.11", "2.25.12"
    dataset.Modality, dataset.PatientID = modality, "TEST-1"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return dataset
