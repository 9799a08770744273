"""The conformance statement says what the policy does."""

import re
from pathlib import Path

from orthoray.imaging.deid import retained
from orthoray.imaging.deid.marks import OPTIONS
from orthoray.imaging.deid.table import EDITION

STATEMENT = (Path(__file__).resolve().parents[3] / "docs" / "deidentification.md").read_text(encoding="utf-8")


def test_every_attribute_that_is_named_in_the_policy_is_in_the_statement():
    named = {*retained.ATTRIBUTES, *retained.PATIENT, *retained.DEVICE_IDENTITY, *retained.NEVER_DATES}
    words = set(re.findall(r"\w+", STATEMENT))
    assert named - words == {"SpecificCharacterSet"}
    assert "Specific Character Set is removed" in STATEMENT


def test_the_statement_names_no_attribute_that_goes():
    table = STATEMENT.split("## What is retained, and why")[1].split("**Device text**")[0]
    listed = {word for word in re.findall(r"\b[A-Z]\w+[a-z]\w*[A-Z]\w+\b", table) if "CT" not in word}
    assert listed <= {*retained.ATTRIBUTES, *retained.PATIENT, *retained.DEVICE_IDENTITY}


def test_options_and_edition_are_those_of_the_code():
    assert f"edition {EDITION}" in STATEMENT
    claimed = re.findall(r"^\| (1131\d\d) \|[^|]*\| (?:yes|in part) \|", STATEMENT, flags=re.MULTILINE)
    assert claimed == sorted(OPTIONS)
