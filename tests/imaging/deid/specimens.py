"""For every rule of the policy a data set that shows what the rule does, and what must be true of the result.

The expectations are written here by hand or read from the table's module, not taken from the policy under test.
"""

from dataclasses import dataclass, field

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as e1
from pydicom import DataElement, config
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag
from pydicom.sequence import Sequence
from tests.imaging.deid.phi_object import item, minimal

from orthoray.imaging.deid import dates

TOKEN = "TOKQZ"
SCT_KNEE = "72696002"

TABLE = {
    tag[0] << 16 | tag[1]: name
    for name in (
        "D_TAGS",
        "Z_TAGS",
        "X_TAGS",
        "U_TAGS",
        "Z_D_TAGS",
        "X_Z_TAGS",
        "X_D_TAGS",
        "X_Z_D_TAGS",
        "X_Z_U_STAR_TAGS",
    )
    for tag in getattr(e1, name)
    if len(tag) == 2
}
BY_CODE = {
    "D_TAGS": "dummy",
    "Z_TAGS": "empty",
    "X_TAGS": "removed",
    "U_TAGS": "mapped",
    "Z_D_TAGS": "empty",
    "X_Z_TAGS": "empty",
    "X_D_TAGS": "removed",
    "X_Z_D_TAGS": "removed",
    "X_Z_U_STAR_TAGS": "items",
}
BY_OPTION = {
    "PatientID": "patient",
    "AccessionNumber": "accession",
    "InstitutionName": "institution",
    **dict.fromkeys(("DeviceSerialNumber", "StationName", "DetectorID"), "device"),
    **dict.fromkeys(("PlateID", "CassetteID", "GantryID", "GeneratorID"), "device"),
    **dict.fromkeys(("PatientAge", "PatientSex", "PatientSize", "PatientWeight"), "kept"),
    **dict.fromkeys(("GraphicAnnotationSequence", "UnformattedTextValue"), "removed"),
}
NEVER_SHIFTED = ("PatientBirthDate", "PatientBirthTime", "LastMenstrualDate", "GPSDateStamp", "GPSTimeStamp")

NUMBERS = {"DS": "1.5", "IS": "7", "AT": 0x00200032, "FD": 1.5, "FL": 1.5}
INTEGERS = ("US", "SS", "UL", "SL", "UV", "SV")
LONG_TEXT = dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), f"{TOKEN} {TOKEN}")
PLANTED = {
    **LONG_TEXT,
    **dict.fromkeys(INTEGERS, 4711),
    **NUMBERS,
    **dict.fromkeys(("AE", "CS"), TOKEN),
    **dict.fromkeys(("OB", "OW", "UN", "OF", "OD", "OL", "OV"), f"{TOKEN}{TOKEN}".encode() + b"\0" * 6),
    "AS": "045Y",
    "DA": "20150407",
    "DT": "20150407101500.5",
    "TM": "101500",
    "PN": f"{TOKEN}^ANNA",
    "UI": "1.2.826.0.1.3680043.2.1125.77.9",
    "UR": f"http://example.org/{TOKEN}",
}
GOOD_TEXTS = {
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ManufacturerModelName": "DISCOVERY MR750w",
    "SoftwareVersions": ["24", "LX", "MR Software release:DV24.0_R01_1344.a"],
    "DetectorManufacturerName": "Trixell",
    "DetectorManufacturerModelName": "DRX-1",
    "ReceiveCoilName": "HD TR Knee PA",
    "ReceiveCoilManufacturerName": "Invivo",
    "TransmitCoilName": "Body",
    "TransmitCoilManufacturerName": "Philips",
    "MultiCoilElementName": "KN1",
    "SequenceName": "*tse2d1_15",
    "PulseSequenceName": "T1TFE",
    "ImageType": ["DERIVED", "SECONDARY", "MPR"],
    "FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    "BodyPartExamined": "KNEE",
    "PatientOrientation": ["L", "PF"],
    "StackID": "1",
    "FilterType": "STRIP",
    "PatientSex": "F",
    "PatientAge": "045Y",
    "ImagedNucleus": "1H",
    "ResonantNucleus": "31P",
    "DecoupledNucleus": "1H",
    "RescaleType": "US",
    "ModalityLUTType": "OD",
    "PresentationLUTShape": "INVERSE",
}


@dataclass
class Specimen:
    """``good``: values that must come out as ``outcome``; ``bad``: values that must not come out at all."""

    tag: int
    outcome: str
    good: DataElement | None
    bad: DataElement | None = None
    beside: dict = field(default_factory=dict)

    def dataset(self, element):
        dataset = minimal(**self.beside)
        dataset[element.tag] = element
        return dataset


def vr_of(tag):
    return DicomDictionary[tag][0][:2] if tag in DicomDictionary else "LO"


def element(tag, vr, value):
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)


def of_vr(tag):
    """An element of the tag with the planted value of its VR."""
    vr = vr_of(tag)
    if vr == "SQ":
        return element(tag, vr, Sequence([item(PatientAddress=TOKEN, ReferencedFrameNumber=3)]))
    return element(tag, vr, PLANTED[vr])


def garbage(tag):
    return element(tag, "LO", f"{TOKEN} {TOKEN}")


def table_outcome(tag):
    """What the policy's options make of an attribute of table E.1-1."""
    keyword = keyword_for_tag(tag)
    if tag >> 16 in (0x0000, 0x0002):
        return "removed"
    if keyword in BY_OPTION:
        return BY_OPTION[keyword]
    if vr_of(tag) in ("DA", "DT", "TM") and keyword not in NEVER_SHIFTED and tag in DicomDictionary:
        return "shifted"
    return "mapped" if vr_of(tag) == "UI" and TABLE[tag] == "D_TAGS" else BY_CODE[TABLE[tag]]


def specimen_of_table(tag):
    outcome = table_outcome(tag)
    good = of_vr(tag)
    if outcome == "kept":
        return _kept(tag)
    return Specimen(tag, outcome, good, garbage(tag) if outcome in ("shifted", "items") else good)


def specimen(key):
    """The specimen of a rule's key."""
    if isinstance(key, tuple):
        return _of_group(*key)
    if isinstance(key, str):
        return _of_other(key)
    return specimen_of_table(key) if key in TABLE else _kept(key)


def _of_group(group, vr):
    from orthoray.imaging.deid.policy import standard

    named = standard().tags
    tag = next(
        tag for tag in DicomDictionary if tag >> 16 == group and vr_of(tag) == vr and tag not in named and tag & 0xFFFF
    )
    if vr in ("DA", "DT", "TM"):
        return Specimen(tag, "shifted", of_vr(tag), garbage(tag))
    if vr == "UI":
        return Specimen(tag, "mapped", of_vr(tag), of_vr(tag))
    if vr == "SQ":
        return Specimen(tag, "items", of_vr(tag), of_vr(tag))
    return Specimen(tag, "kept", element(tag, vr, "YES") if vr == "CS" else of_vr(tag), garbage(tag))


def _of_other(name):
    if name == "lengths":
        return _removed(element(0x00100000, "UL", 4711))
    tag = {
        "private": 0x00291001,
        "curves": 0x50003000,
        "overlays": 0x60000022,
        "foreign": 0x00001000,
        "default": 0x00101999,
    }
    if name == "curves":
        return _removed(element(tag[name], "OW", PLANTED["OW"]))
    return _removed(element(tag[name], "UI" if name == "foreign" else "LO", f"{TOKEN} {TOKEN}"))


def _removed(planted):
    return Specimen(int(planted.tag), "removed", planted, planted)


def _kept(tag):
    keyword, vr = keyword_for_tag(tag), vr_of(tag)
    special = _SPECIAL.get(keyword)
    if special:
        return special(tag)
    if keyword in GOOD_TEXTS:
        outcome = "sex" if keyword == "PatientSex" else "kept"
        return Specimen(tag, outcome, element(tag, vr, GOOD_TEXTS[keyword]), element(tag, vr, TOKEN))
    if vr == "SQ":
        return Specimen(tag, "items", of_vr(tag), of_vr(tag))
    return Specimen(tag, "kept", of_vr(tag), garbage(tag))


def _code(tag):
    beside = {
        "CodeValue": SCT_KNEE,
        "CodingSchemeDesignator": "SCT",
        "CodeMeaning": "Knee region structure (body structure)",
    }
    good = element(tag, vr_of(tag), beside.pop(keyword_for_tag(tag)))
    return Specimen(tag, "kept", good, garbage(tag), beside)


def _table_data(descriptor):
    def make(tag):
        good = element(tag, "OW", bytes(range(8)))
        return Specimen(tag, "kept", good, element(tag, "OW", PLANTED["OW"]), {descriptor: [4, 0, 16]})

    return make


def _pixels(tag):
    words = {"PixelData": ("OW", 16), "FloatPixelData": ("OF", 32), "DoubleFloatPixelData": ("OD", 64)}
    vr, width = words[keyword_for_tag(tag)]
    beside = {"Rows": 1, "Columns": 2, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    beside |= {"BitsAllocated": width, "BitsStored": width, "HighBit": width - 1, "PixelRepresentation": 0}
    frame = bytes(range(width // 4))
    return Specimen(tag, "kept", element(tag, vr, frame), element(tag, vr, frame + PLANTED["OW"]), beside)


def _offsets(tag):
    beside = {"NumberOfFrames": 2, "PixelData": bytes(64)}
    places = b"".join(number.to_bytes(8, "little") for number in (0, 16))
    return Specimen(tag, "kept", element(tag, "OV", places), element(tag, "OV", f"{TOKEN}{TOKEN}".encode()), beside)


def _emptied(tag):
    return Specimen(tag, "empty", garbage(tag), garbage(tag))


_SPECIAL = {
    **dict.fromkeys(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), _code),
    "LUTData": _table_data("LUTDescriptor"),
    "RedPaletteColorLookupTableData": _table_data("RedPaletteColorLookupTableDescriptor"),
    "GreenPaletteColorLookupTableData": _table_data("GreenPaletteColorLookupTableDescriptor"),
    "BluePaletteColorLookupTableData": _table_data("BluePaletteColorLookupTableDescriptor"),
    **dict.fromkeys(("PixelData", "FloatPixelData", "DoubleFloatPixelData"), _pixels),
    **dict.fromkeys(("ExtendedOffsetTable", "ExtendedOffsetTableLengths"), _offsets),
    "PositionReferenceIndicator": _emptied,
    "LUTDescriptor": lambda tag: Specimen(tag, "kept", element(tag, "US", [4, 0, 16]), garbage(tag)),
    "SpecificCharacterSet": lambda tag: _removed(element(tag, "CS", "ISO_IR 192")),
}


def fault(specimen, planted, result, ids):
    """What is wrong with the result of a specimen's good value; empty if it is as it must be."""
    found = result.get(specimen.tag)
    present = found is not None
    days = ids.shift_days("P-1" if keyword_for_tag(specimen.tag) != "PatientID" else planted.value)
    vr = vr_of(specimen.tag)
    if specimen.outcome == "removed":
        return "is present" if present else ""
    if not present:
        return "is absent"
    value = found.value
    if specimen.outcome == "empty":
        return "" if value in (None, "", []) or (vr == "SQ" and len(value) == 0) else "has a value"
    if specimen.outcome == "dummy":
        same = value == planted.value or TOKEN in str(value) or (isinstance(value, bytes) and TOKEN.encode() in value)
        return (
            "is no dummy"
            if same or value in (None, "") or (vr == "SQ" and [len(part) for part in value] != [0])
            else ""
        )
    if specimen.outcome == "items":
        names = [element.keyword for part in value for element in part]
        return "" if names == ["ReferencedFrameNumber"] else f"holds {names}"
    expected = {
        "mapped": lambda: ids.uid(str(planted.value)),
        "shifted": lambda: _shifted(vr, planted.value, days),
        "kept": lambda: planted.value,
        "sex": lambda: planted.value,
    }.get(specimen.outcome, lambda: ids.make(specimen.outcome, planted.value)[: 16 if vr == "SH" else 64])()
    return "" if value == expected else "has another value"


def _shifted(vr, value, days):
    if vr == "TM":
        return value
    return dates.shifted_date(value[:8], days) + value[8:]
