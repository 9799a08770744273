"""Every rule of the policy does what the profile says, and no rule can be changed without a test that fails."""

import pytest
from pydicom.datadict import keyword_for_tag
from tests.imaging.deid.specimens import TABLE, TOKEN, fault, specimen, specimen_of_table

from orthoray.imaging.deid import deidentify, to_bytes
from orthoray.imaging.deid.policy import standard
from orthoray.imaging.files import UnreadableImageError
from orthoray.imaging.pseudonyms import Pseudonyms

IDS = Pseudonyms(b"a key for tests only", "rules")
RULES = dict(standard().rules())


def name(key):
    return (keyword_for_tag(key) or f"{key:08X}") if isinstance(key, int) else str(key)


def keep(element, scope):
    return element


def remove(element, scope):
    return None


def faults(sample, policy=None):
    """What is wrong with the results of a specimen's two values under a policy."""
    found = []
    good = _result(sample, sample.good, policy)
    if wrong := "refused" if good is None else fault(sample, sample.good, good, IDS):
        found.append(wrong)
    bad = None if sample.bad is None else _result(sample, sample.bad, policy)
    if bad is not None and (TOKEN.encode() in _content(bad, sample.tag) or bad.get(sample.tag) == sample.bad):
        found.append("leaks")
    return found


def _result(sample, planted, policy):
    try:
        return deidentify(sample.dataset(planted), IDS, policy=policy)
    except UnreadableImageError:
        return None


def _content(result, tag):
    if tag >> 16 == 0:  # cannot be written into a file at all
        return str(result).encode()
    return to_bytes(result) + str(result).encode()


def test_the_table_is_complete():
    assert len(TABLE) > 640
    assert {tag for tag in TABLE if tag >> 16 not in (0x0000, 0x0002)} <= set(standard().tags)


@pytest.mark.slow
@pytest.mark.parametrize("code", sorted(set(TABLE.values())))
def test_every_attribute_of_the_table_is_treated_as_its_code_and_our_options_say(code):
    tags = [tag for tag in TABLE if TABLE[tag] == code]
    wrong = {name(tag): found for tag in tags if (found := faults(specimen_of_table(tag)))}
    assert wrong == {}


@pytest.mark.slow
def test_every_rule_holds_on_its_specimen():
    assert {name(key): found for key in RULES if (found := faults(specimen(key)))} == {}


@pytest.mark.parametrize("group", sorted({str(rule.basis) for rule in RULES.values()}))
def test_a_rule_changed_to_keep_is_noticed(group):
    keys = [key for key, rule in RULES.items() if rule.basis == group]
    assert keys
    unnoticed = [name(key) for key in keys if not faults(specimen(key), standard().with_action(key, keep))]
    assert unnoticed == []


@pytest.mark.parametrize("group", sorted({str(rule.basis) for rule in RULES.values()}))
def test_a_rule_that_retains_changed_to_remove_is_noticed(group):
    keys = [key for key, rule in RULES.items() if rule.basis == group and specimen(key).outcome != "removed"]
    unnoticed = [name(key) for key in keys if not faults(specimen(key), standard().with_action(key, remove))]
    assert unnoticed == []


def test_rules_are_found_for_their_tags():
    policy = standard()
    assert policy.rule(0x00291001) is policy.others["private"]
    assert policy.rule(0x60FE3000) is policy.others["overlays"]
    assert policy.rule(0x501E0010) is policy.others["curves"]
    assert policy.rule(0x00180000) is policy.others["lengths"]
    assert policy.rule(0x00180050) is policy.groups[0x0018, "DS"]
    assert policy.rule(0x00189999) is policy.others["default"]
