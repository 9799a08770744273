"""One MR object with 46 planted tokens, in every place where a DICOM file can hold text, and a search for them."""

import io

import numpy as np
import pydicom
from pydicom import DataElement, Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

ROWS, COLUMNS, BITS = 16, 32, 12
ROOT = "1.2.826.0.1.3680043.2.1125.77."
STUDY_DATE, BIRTH_DATE = "20150407", "19510607"

HEADER = [
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "MedicalRecordLocator",
    "PatientComments",
    "AdditionalPatientHistory",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "StationName",
    "DeviceSerialNumber",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "RequestingService",
]
PLACES = [
    "birth date",
    "study date",
    "image UID",
    "referenced UID",
    "request attributes",
    "original attributes, level 2",
    "code meaning, level 2",
    "private creator",
    "private text",
    "private sequence",
    "private unknown VR",
    "unknown even tag",
    "overlay description",
    "overlay data",
    "overlay in pixel words",
    "curve data",
    "preamble",
    "source AE title",
    "private information",
    "trailing padding element",
    "bytes after the data set",
]
TOKENS = {
    **{place: f"ZQ{number:02}PHI" for number, place in enumerate([*HEADER, *PLACES])},
    "ReferringPhysicianName": "王小东",
    "birth date": BIRTH_DATE,
    "study date": STUDY_DATE,
    "image UID": f"{ROOT}1001",
    "referenced UID": f"{ROOT}2002",
}
assert len(set(TOKENS.values())) == 46

ACQUISITION = {
    "Manufacturer": "SIEMENS",
    "ManufacturerModelName": "MAGNETOM Skyra",
    "SoftwareVersions": "syngo MR E11",
    "MagneticFieldStrength": 3.0,
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
    "ScanningSequence": ["SE", "IR"],
    "SequenceVariant": ["SK", "SP", "OSP"],
    "ScanOptions": ["PFP", "FS"],
    "SequenceName": "*tse2d1_15",
    "MRAcquisitionType": "2D",
    "EchoTime": 35.0,
    "RepetitionTime": 3200.0,
    "EchoTrainLength": 15,
    "FlipAngle": 150.0,
    "SliceThickness": 3.0,
    "SpacingBetweenSlices": 3.3,
    "PixelBandwidth": 203.0,
    "AcquisitionMatrix": [0, 320, 256, 0],
    "ImagedNucleus": "1H",
    "BodyPartExamined": "KNEE",
    "PatientPosition": "FFS",
    "ImagePositionPatient": [-29.0364, -103.429, 56.2757],
    "ImageOrientationPatient": [0.0, 1.0, 0.0, 0.0, 0.0, -1.0],
    "PixelSpacing": [0.3125, 0.3125],
    "Laterality": "R",
    "PatientSex": "F",
    "PatientSize": 1.71,
    "PatientWeight": 68.5,
    "WindowCenter": 400.0,
    "WindowWidth": 900.0,
    "Rows": ROWS,
    "Columns": COLUMNS,
}


def item(**attributes):
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, Sequence(value) if name.endswith("Sequence") else value)
    return dataset


def minimal(**attributes):
    """A data set that can be de-identified, with these attributes."""
    dataset = item(SOPClassUID=MRImageStorage, SOPInstanceUID="1.2.3.4", StudyInstanceUID="1.2.3", PatientID="P-1")
    for name, value in attributes.items():
        setattr(dataset, name, Sequence(value) if name.endswith("Sequence") else value)
    return dataset


def planted(**changes):
    """The object as the bytes of a file; ``changes`` set attributes."""
    dataset = FileDataset("", Dataset(), preamble=_preamble(), file_meta=_meta())
    dataset.SpecificCharacterSet = "GB18030"
    dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"
    for keyword in HEADER:
        setattr(dataset, keyword, TOKENS[keyword])
    for keyword, value in ACQUISITION.items():
        setattr(dataset, keyword, value)
    _dates_and_uids(dataset)
    _sequences(dataset)
    _private(dataset)
    _graphics(dataset)
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.add(DataElement(0xFFFCFFFC, "OB", TOKENS["trailing padding element"].encode() + b"\0"))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
    return buffer.getvalue() + TOKENS["bytes after the data set"].encode()


def read(content):
    return pydicom.dcmread(io.BytesIO(content))


def leaks(content, tokens):
    """Names of the tokens that a file holds: in its bytes in any usual encoding, or in unused bits of its pixels."""
    planes = b"".join(_planes(read(content)))
    everything = content + planes
    return [name for name, token in tokens.items() if any(written in everything for written in _ways(token))]


def _ways(token):
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "gb18030", "latin-1"):
        try:
            yield token.encode(encoding)
        except UnicodeEncodeError:
            continue


def _planes(dataset):
    words = np.frombuffer(dataset.PixelData[: 2 * ROWS * COLUMNS], "<u2")
    for bit in range(BITS, 16):
        for order in ("big", "little"):
            yield np.packbits((words >> bit & 1).astype(np.uint8), bitorder=order).tobytes()


def _preamble():
    return TOKENS["preamble"].encode().ljust(128, b"\0")


def _meta():
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = TOKENS["image UID"]
    meta.ImplementationClassUID, meta.ImplementationVersionName = f"{ROOT}1", "SOMEBODY"
    meta.SourceApplicationEntityTitle = TOKENS["source AE title"]
    meta.PrivateInformationCreatorUID = f"{ROOT}2"
    meta.PrivateInformation = TOKENS["private information"].encode() + b"\0"
    return meta


def _dates_and_uids(dataset):
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PerformedProcedureStepStartDate"):
        setattr(dataset, name, STUDY_DATE)
    dataset.StudyTime, dataset.AcquisitionDateTime = "101112.25", f"{STUDY_DATE}101500.5+0100"
    dataset.PatientBirthDate = BIRTH_DATE
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = TOKENS["image UID"], f"{ROOT}3"
    dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = f"{ROOT}4", f"{ROOT}5"


def _sequences(dataset):
    code = item(CodeValue="121311", CodingSchemeDesignator="99LOCAL", CodeMeaning=TOKENS["code meaning, level 2"])
    referenced = item(
        ReferencedSOPClassUID=MRImageStorage,
        ReferencedSOPInstanceUID=TOKENS["referenced UID"],
        PurposeOfReferenceCodeSequence=[code],
    )
    own = item(ReferencedSOPClassUID=MRImageStorage, ReferencedSOPInstanceUID=TOKENS["image UID"])
    dataset.ReferencedImageSequence = Sequence([referenced, own])
    dataset.SourceImageSequence = Sequence([item(ReferencedSOPInstanceUID=TOKENS["referenced UID"])])
    dataset.RequestAttributesSequence = Sequence([item(ScheduledProcedureStepID=TOKENS["request attributes"])])
    earlier = item(PatientName=TOKENS["original attributes, level 2"])
    dataset.OriginalAttributesSequence = Sequence([item(ModifiedAttributesSequence=[earlier])])
    knee = item(CodeValue="72696002", CodingSchemeDesignator="SCT", CodeMeaning="Knee")
    dataset.AnatomicRegionSequence = Sequence([knee])


def _private(dataset):
    block = dataset.private_block(0x0029, TOKENS["private creator"], create=True)
    block.add_new(0x01, "LO", TOKENS["private text"])
    nested = Dataset()
    nested.private_block(0x0031, "SOMEBODY", create=True).add_new(0x01, "LO", TOKENS["private sequence"])
    block.add_new(0x02, "SQ", Sequence([nested]))
    block.add_new(0x03, "UN", TOKENS["private unknown VR"].encode() + b"\0")
    dataset.add_new(0x00101999, "LO", TOKENS["unknown even tag"])


def _graphics(dataset):
    dataset.add_new(0x60000010, "US", 1)
    dataset.add_new(0x60000022, "LO", TOKENS["overlay description"])
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OW", TOKENS["overlay data"].encode() + b"\0")
    dataset.add_new(0x60020102, "US", BITS)
    dataset.add_new(0x50003000, "OW", TOKENS["curve data"].encode() + b"\0")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS, BITS - 1
    words = true_pixels().ravel().copy()
    bits = np.unpackbits(np.frombuffer(TOKENS["overlay in pixel words"].encode(), np.uint8))
    words[: len(bits)] |= bits.astype(np.uint16) << BITS
    dataset.PixelData = words.astype("<u2").tobytes()


def true_pixels():
    return (np.arange(ROWS * COLUMNS, dtype=np.uint16) * 7 % (1 << BITS)).reshape(ROWS, COLUMNS)
