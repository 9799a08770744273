"""Labels of several readers: majority, ties, adjudicator, arthroscopy."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.config import parse_config
from orthoray.data.cards import load_card
from orthoray.data.labels import label_rows
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.hospital import HospitalTables
from orthoray.data.sources.options import HospitalOptions
from orthoray.data.tables import Tables
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import Pseudonyms

COLUMNS = "acl_reader1,acl_reader2,acl_reader3,acl_adjudicator,meniscus_reader1,meniscus_reader2,meniscus_reader3"
READINGS = f"""study_uid,{COLUMNS}
1.1,torn,torn,intact,,intact,intact,intact
1.2,torn,intact,,torn,torn,intact,
1.3,torn,intact,NA,,torn,,
1.4,intact,intact,intact,torn,,,
1.5,,,,torn,torn,torn,intact
"""
SCOPE = "study_uid,acl,meniscus\n1.4,torn,\n1.5,,intact\n"
ACL = {
    "raters": ["acl_reader1", "acl_reader2", "acl_reader3"],
    "adjudicator": "acl_adjudicator",
    "values": {"intact": 0, "torn": 1},
}


def tables_of(root, readings=READINGS, finding=ACL, **changes):
    (root / "readings.csv").write_text(readings)
    (root / "arthroscopy.csv").write_text(SCOPE)
    values = {"name": "hospital", "table": "readings.csv", "key": ["study_uid"], "findings": {"acl": finding}}
    options = parse_config(HospitalOptions, values | changes, "test")
    return HospitalTables(SourceFiles(str(root), tables=""), options)


def judged(root, **changes):
    table = tables_of(root, **changes).makers["acl"]()
    return {row["study_uid"]: (row["label"], row["source"], row["reason"]) for row in table.to_dict("records")}


def test_majority_then_adjudicator_then_no_label(tmp_path):
    assert judged(tmp_path) == {
        "1.1": ("1", "consensus", ""),
        "1.2": ("1", "adjudicated", ""),
        "1.3": ("", "", "tie"),
        "1.4": ("0", "consensus", ""),
        "1.5": ("", "", "not_judged"),
    }


def test_arthroscopy_overrules_readers_where_it_looked(tmp_path):
    found = judged(tmp_path, finding=ACL | {"reference": {"table": "arthroscopy.csv", "column": "acl"}})
    assert found["1.4"] == ("1", "arthroscopy", "")
    assert found["1.1"] == ("1", "consensus", "")


def test_too_few_readers_make_no_label(tmp_path):
    finding = {"raters": ["meniscus_reader1", "meniscus_reader2"], "values": {"intact": 0, "torn": 1}}
    assert judged(tmp_path, finding=finding)["1.3"] == ("1", "reader", "")
    assert judged(tmp_path, finding=finding | {"min_raters": 2})["1.3"] == ("", "", "too_few_readers")


def test_readers_may_have_rows_of_their_own(tmp_path):
    text = "study_uid,reader,acl\n1.1,a,1\n1.1,b,1\n1.1,c,0\n1.2,a,0\n"
    found = judged(tmp_path, readings=text, finding={"raters": ["acl"]}, rater="reader")
    assert found == {"1.1": ("1", "consensus", ""), "1.2": ("0", "reader", "")}
    with pytest.raises(InputError, match="one row per sample"):
        judged(tmp_path, readings=text, finding={"raters": ["acl"]})
    with pytest.raises(InputError, match="one row per sample and reader"):
        judged(tmp_path, readings=text + "1.2,a,1\n", finding={"raters": ["acl"]}, rater="reader")


@pytest.mark.slow
@given(st.lists(st.sampled_from(["0", "1", "2", ""]), min_size=5, max_size=5), st.randoms(use_true_random=False))
def test_no_order_of_readers_matters(tmp_path_factory, votes, random):
    shuffled = random.sample(votes, 5)
    names = [f"r{place}" for place in range(5)]
    root = tmp_path_factory.mktemp("votes")
    found = [
        judged(root, readings=",".join(["study_uid", *names]) + f"\n1.1,{','.join(cells)}\n", finding={"raters": names})
        for cells in (votes, shuffled)
    ]
    assert found[0] == found[1]
    best = [label for label in "012" if votes.count(label) == max(votes.count(other) for other in "012")]
    assert found[0]["1.1"][0] == (best[0] if len(best) == 1 else "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.1,torn", "1.1,tron", "column 'acl_reader1' are no class"),
        ("\n1.1,", "\n,", "have no study_uid"),
        ("acl_reader1", "acl_readre1", "Did you mean 'acl_readre1'"),
    ],
)
def test_faults_are_named_without_the_sample(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message) as caught:
        judged(tmp_path, readings=READINGS.replace(old, new, 1))
    assert "1.1" not in str(caught.value).replace(str(tmp_path), "")


def test_the_example_card_tells_the_source_of_every_label(tmp_path):
    tables_of(tmp_path)
    (tmp_path / "exams.csv").write_text("study_uid,site,exclude\n1.1,north,\n1.2,north,prior_surgery\n")
    card = load_card("hospital_example")
    ids = Pseudonyms(b"a key of the tests 0123", "hospital_example")
    tables = Tables(str(tmp_path), ids, card.adapter)
    tables.check(card.facts[0], card.facts[0].columns.values())
    names = {study: ids.make("study", study) for study in ("1.1", "1.2", "1.3", "1.4", "1.5")}
    images = pd.DataFrame(
        {"image_id": list(names), "study_id": names.values(), "study_key": names.values(), "patient_id": "p"}
    )
    rows, account = label_rows(images, set(names), card.labels[0], tables)
    sources = rows.set_index("sample_id")["label_source"]
    assert {study: sources.get(name) for study, name in names.items()} == {
        "1.1": "consensus", "1.2": "adjudicated", "1.3": None, "1.4": "arthroscopy", "1.5": None,
    }  # fmt: skip
    assert account["reasons"] == {
        "no label": 0,
        "no such image in the source": 0,
        "its images were excluded": 0,
        "no label: tie": 1,
        "no label: not_judged": 1,
    }
    meniscus, _ = label_rows(images, set(names), card.labels[1], tables)
    assert meniscus.set_index("sample_id").loc[names["1.5"], ["label", "label_source"]].tolist() == [0, "arthroscopy"]
