"""Random nested data sets: a token never comes out, and what comes out is stable."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, config
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag
from pydicom.sequence import Sequence
from tests.imaging.deid.phi_object import minimal, read
from tests.imaging.deid.specimens import GOOD_TEXTS

from orthoray.imaging.deid import deidentify, to_bytes
from orthoray.imaging.files import UnreadableImageError
from orthoray.imaging.pseudonyms import Pseudonyms

pytestmark = pytest.mark.slow

IDS = Pseudonyms(b"a key for tests only", "random")
TOKENS = ("Lindqvist", "REG77120045", "小东医院", "1.2.826.0.1.3680043.2.1125.77.9")
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")  # whose content is not looked into

STANDARD = [tag for tag in DicomDictionary if tag >> 16 > 8 or tag >> 16 == 8]
RETAINED = [tag for tag in STANDARD if tag >> 16 in (0x0008, 0x0018, 0x0020, 0x0028)]
TAGS = st.one_of(
    st.sampled_from(STANDARD),
    st.sampled_from(RETAINED),
    st.sampled_from([0x00100020, 0x00291001, 0x00101999, 0x60023000, 0x50003000, 0x60000022]),
).filter(lambda tag: tag & 0xFFFF and keyword_for_tag(tag) not in PIXELS)

TEXT_VRS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT")
TEXTS = st.builds(
    lambda before, token, after: before + token + after,
    st.sampled_from(["", "KNEE ", "Skyra ", "2015", "^"]),
    st.sampled_from(TOKENS),
    st.sampled_from(["", " MR", "^A", "\\FS", " 1.5"]),
)
INNOCENT = st.sampled_from(
    [*(value for value in GOOD_TEXTS.values() if isinstance(value, str)), "YES", "20150407", "1.5"]
)


@st.composite
def elements(draw, depth):
    tag = draw(TAGS)
    vr = (
        DicomDictionary[tag][0][:2]
        if tag in DicomDictionary and draw(st.booleans())
        else draw(st.sampled_from(TEXT_VRS))
    )
    if depth and (vr == "SQ" or draw(st.integers(0, 5)) == 0):
        return DataElement(tag, "SQ", Sequence(draw(st.lists(datasets(depth - 1), max_size=2))))
    if vr in ("OB", "OW", "UN", "OF", "OD", "OL", "OV"):
        return DataElement(tag, vr, draw(TEXTS).encode("gb18030"), validation_mode=config.IGNORE)
    if vr in ("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "DS", "IS", "SQ"):
        return DataElement(tag, "US", draw(st.integers(0, 65535)))
    return DataElement(tag, vr, draw(st.one_of(TEXTS, INNOCENT)), validation_mode=config.IGNORE)


@st.composite
def datasets(draw, depth):
    dataset = Dataset()
    for element in draw(st.lists(elements(depth), max_size=6)):
        dataset[element.tag] = element
    return dataset


@st.composite
def objects(draw):
    dataset = minimal()
    dataset.SpecificCharacterSet = draw(st.sampled_from(["GB18030", "ISO_IR 192"]))
    for element in draw(datasets(3)):
        dataset[element.tag] = element
    return dataset


def result_of(dataset):
    try:
        return deidentify(dataset, IDS)
    except UnreadableImageError as error:
        return error


CHECKS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@CHECKS
@given(objects())
def test_no_token_comes_out(dataset):
    result = result_of(dataset)
    if isinstance(result, UnreadableImageError):
        assert result.reason in ("no_sop_class", "no_instance_uid")
        return
    content = to_bytes(result)
    for token in TOKENS:
        assert not any(token.encode(encoding) in content for encoding in ENCODINGS)
        assert token not in str(result)


@CHECKS
@given(objects())
def test_a_second_pass_changes_nothing(dataset):
    result = result_of(dataset)
    if not isinstance(result, UnreadableImageError):
        content = to_bytes(result)
        assert to_bytes(deidentify(read(content), IDS)) == content
