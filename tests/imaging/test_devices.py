"""Names of makers and products: what stays of them in the facts."""

import pytest
from tests.imaging.headers import header, one

PERSON = {"PatientName": "DOE^JANE", "InstitutionName": "ST NOWHERE", "DeviceSerialNumber": "MR750"}


@pytest.mark.parametrize(
    "text", ["Achieva  dStream", "DISCOVERY MR450w", "1.5T SIGNA (HDxt)", "MAGNETOM Vida", "unit 3"]
)
def test_products_keep_their_name(text):
    facts = one(header(ManufacturerModelName=text, **PERSON))
    assert (facts.manufacturer, facts.model) == ("", " ".join(text.split()))


@pytest.mark.parametrize(
    "text",
    [
        "DOE^JANE", "MAGNETOM of Jane", "Doe's unit", "Scanner of Prof Miller", "Nowhere", "DISCOVERY MR750",
        "unit 123456", "2015-04-07", "10.1.2.3", "\u5317\u4eac", "MR " * 33, "",
    ],
)  # fmt: skip
def test_what_may_be_an_identity_goes(text):
    """A name that no maker is known by, a word of another field, a number, a date, an address."""
    facts = one(header(Manufacturer=text, ManufacturerModelName=text, **PERSON))
    assert (facts.manufacturer, facts.model) == ("", "")


def test_a_known_maker_comes_out_of_any_text_by_its_usual_name():
    facts = one(header(Manufacturer="Philips, room of Dr Miller", **PERSON))
    assert facts.manufacturer == "Philips"
