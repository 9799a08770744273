"""Attributes that stay although PS3.15 table E.1-1 would remove them, or that it does not name: the allow-list as data.

Whole groups are allowed by value representation (`GROUPS`), because a number in them describes the acquisition;
attributes that hold text are listed one by one, each with the check that its values must pass.
"""

from __future__ import annotations

from orthoray.imaging.deid import actions
from orthoray.imaging.deid.actions import Action
from orthoray.imaging.deid.pixels import offsets, pixels
from orthoray.imaging.deid.text import device_name, sequence_name, software_version
from orthoray.imaging.deid.vocabulary import ANATOMY

Entry = tuple[str, Action]
"""Why an attribute stays (an option's code in PS3.16 CID 7050, or a purpose), and the check that its values pass."""

DEVICE_NAMES = (
    "Manufacturer",
    "ManufacturerModelName",
    "DetectorManufacturerName",
    "DetectorManufacturerModelName",
    "ReceiveCoilName",
    "ReceiveCoilManufacturerName",
    "TransmitCoilName",
    "TransmitCoilManufacturerName",
    "MultiCoilElementName",
)
SEQUENCE_NAMES = ("SequenceName", "PulseSequenceName")
DEVICE_TEXTS = (*DEVICE_NAMES, *SEQUENCE_NAMES, "SoftwareVersions")
"""The only free texts that may stay; see `orthoray.imaging.deid.text`."""

DEVICE_IDENTITY: dict[str, Entry] = dict.fromkeys(
    (
        "DeviceSerialNumber",
        "StationName",
        "DetectorID",
        "PlateID",
        "CassetteID",
        "GantryID",
        "GeneratorID",
    ),
    ("113109", actions.pseudonym("device")),
)
"""Retain Device Identity: what singles out a device stays as a pseudonym."""

PATIENT: dict[str, Entry] = {
    "PatientID": ("pseudonym", actions.pseudonym("patient")),
    "AccessionNumber": ("pseudonym", actions.pseudonym("accession")),
    "InstitutionName": ("pseudonym", actions.pseudonym("institution")),
    "PatientSex": ("113108", actions.sex),
    "PatientAge": ("113108", actions.age),
    "PatientSize": ("113108", actions.number),
    "PatientWeight": ("113108", actions.number),
}
"""Pseudonyms, and Retain Patient Characteristics."""

NEVER_DATES = (
    "PatientBirthDate",
    "PatientBirthTime",
    "LastMenstrualDate",
    "GPSDateStamp",
    "GPSTimeStamp",
)
"""Dates and times that Retain Longitudinal Temporal Information does not keep: the Basic Profile's code holds."""

GRAPHICS = ("GraphicAnnotationSequence", "UnformattedTextValue")
"""Clean Graphics: removed rather than replaced by a dummy."""

SEQUENCES = (
    "ReferencedImageSequence",
    "SourceImageSequence",
    "DerivationImageSequence",
    "DerivationCodeSequence",
    "ReferencedImageEvidenceSequence",
    "SourceImageEvidenceSequence",
    "ReferencedSeriesSequence",
    "ReferencedSOPSequence",
    "ReferencedInstanceSequence",
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
    "PrimaryAnatomicStructureSequence",
    "PrimaryAnatomicStructureModifierSequence",
    "PurposeOfReferenceCodeSequence",
    "MeasurementUnitsCodeSequence",
    "RealWorldValueMappingSequence",
    "ViewCodeSequence",
    "ViewModifierCodeSequence",
    "PatientOrientationCodeSequence",
    "PatientOrientationModifierCodeSequence",
    "PatientGantryRelationshipCodeSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
"""Sequences outside `GROUPS` whose items are cleaned by the same rules; all others go."""

ATTRIBUTES: dict[str, Entry] = {
    **dict.fromkeys(DEVICE_NAMES, ("device", actions.text(device_name))),
    **dict.fromkeys(SEQUENCE_NAMES, ("acquisition", actions.text(sequence_name))),
    "SoftwareVersions": ("device", actions.text(software_version)),
    **dict.fromkeys(SEQUENCES, ("structure", actions.items)),
    **dict.fromkeys(("ImageType", "FrameType"), ("acquisition", actions.image_type)),
    **dict.fromkeys(
        ("ImagedNucleus", "ResonantNucleus", "DecoupledNucleus", "FilterType"), ("acquisition", actions.term)
    ),
    **dict.fromkeys(("RescaleType", "ModalityLUTType", "PresentationLUTShape"), ("pixel chain", actions.term)),
    **dict.fromkeys(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), ("code", actions.code)),
    **dict.fromkeys(
        (
            "RealWorldValueSlope",
            "RealWorldValueIntercept",
            "RealWorldValueFirstValueMapped",
            "RealWorldValueLastValueMapped",
            "DoubleFloatRealWorldValueFirstValueMapped",
            "DoubleFloatRealWorldValueLastValueMapped",
        ),
        ("pixel chain", actions.number),
    ),
    **dict.fromkeys(
        ("ExposedArea", "EntranceDose", "EntranceDoseInmGy", "OrganDose", "HalfValueLayer", "XRayOutput"),
        ("acquisition", actions.number),
    ),
    **dict.fromkeys(("PixelData", "FloatPixelData", "DoubleFloatPixelData"), ("pixel chain", pixels)),
    **dict.fromkeys(("ExtendedOffsetTable", "ExtendedOffsetTableLengths"), ("pixel chain", offsets)),
    "SpecificCharacterSet": ("text is ASCII", actions.remove),
    "BodyPartExamined": ("acquisition", actions.words(ANATOMY)),
    "PatientOrientation": ("geometry", actions.orientation),
    "StackID": ("geometry", actions.label),
    "PositionReferenceIndicator": ("geometry", actions.empty),
    "LUTDescriptor": ("pixel chain", actions.number),
    "LUTData": ("pixel chain", actions.lookup_table(0x00283002)),
    "RedPaletteColorLookupTableData": ("pixel chain", actions.lookup_table(0x00281101)),
    "GreenPaletteColorLookupTableData": ("pixel chain", actions.lookup_table(0x00281102)),
    "BluePaletteColorLookupTableData": ("pixel chain", actions.lookup_table(0x00281103)),
}
"""Keyword → entry."""

_NUMBERS: dict[str, Entry] = dict.fromkeys(sorted(actions.NUMERIC_VRS), ("acquisition", actions.number))
_DATES: dict[str, Entry] = dict.fromkeys(("DA", "DT", "TM"), ("113107", actions.date))

_IN_ALL: dict[str, Entry] = {
    **_NUMBERS,
    **_DATES,
    "CS": ("acquisition", actions.term),
    "UI": ("structure", actions.uid),
}
_WITH_ITEMS: dict[str, Entry] = {**_IN_ALL, "SQ": ("structure", actions.items)}

GROUPS: dict[int, dict[str, Entry]] = {
    0x0008: _IN_ALL,
    0x0018: _WITH_ITEMS,
    0x0020: _WITH_ITEMS,
    0x0028: _WITH_ITEMS,
}
"""Group → value representation → entry, for attributes that neither it nor table E.1-1 names."""
