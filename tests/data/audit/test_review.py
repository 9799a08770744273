"""Sheets of images in review: which images they hold, and that they do not count as a random sample."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from tests.data.audit.sources import content_of, export_of

from orthoray import storage
from orthoray.cli import cli
from orthoray.data.audit import Parameters, import_decisions, keep_findings
from orthoray.data.audit.decisions import Decision, Export, digest
from orthoray.data.audit.findings import answers_of
from orthoray.data.audit.review import plan_review
from orthoray.data.audit.sample import FORMAT, make_plan
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError

DOUBTS = {"i0000aa": "implant", "i0003aa": "implant", "i0050aa": "non_knee", "i0119aa": "non_knee"}


@pytest.fixture
def doubtful(fresh):
    """A dataset with four images in review, one of them listed twice."""
    listed = [*DOUBTS.items(), ("i0003aa", "polarity")]
    rows = [{"image_id": image, "reason": why, "detail": "x, limit 1", "value": 2.0} for image, why in listed]
    storage.write_table(pa.Table.from_pylist(rows), f"{fresh}/review.parquet")
    return fresh


def reviewed(uri, verdicts, path):
    """An export of the whole review sheet; ``verdicts``: image → reason, others are accepted."""
    plan = plan_review(Dataset(uri), Parameters(only="review"))
    time = "2026-03-02T10:00:00.000Z"
    decisions = tuple(
        Decision(
            image_id=tile.image_id, verdict="reject" if tile.image_id in verdicts else "accept",
            reason=verdicts.get(tile.image_id), decided_at=time,
        )
        for tile in plan.tiles
    )  # fmt: skip
    facts = {
        "format": FORMAT, "dataset_id": plan.dataset_id, "sheet": plan.sheet, "parameters": plan.parameters,
        "reviewer": "AB", "exported_at": time, "decisions": decisions,
    }  # fmt: skip
    path.write_text(Export(**facts, digest=digest(Export.model_construct(**facts))).model_dump_json())
    return str(path)


def test_the_command_writes_a_sheet_of_what_is_in_review_and_of_nothing_else(doubtful, tmp_path):
    page = tmp_path / "sheet.html"
    done = CliRunner().invoke(cli, ["audit", doubtful, "--only", "review", "--out", str(page)])
    assert done.exit_code == 0, done.exception
    assert "in review: 4 of 4 images" in done.output
    content = content_of(page)
    assert {tile["id"] for tile in content["tiles"]} == set(DOUBTS)
    assert content["parameters"] | {"n": 4, "rejected": 0, "only": "review"} == content["parameters"]
    flags = {tile["id"]: tile["flag"][0] for tile in content["tiles"]}
    assert flags["i0050aa"] == "non_knee"
    assert all(item["among"] in (None, *content["distributions"]) for t in content["tiles"] for item in t["measures"])


def test_fewer_can_be_asked_for_and_every_reason_is_among_them(doubtful):
    plan = plan_review(Dataset(doubtful), Parameters(only="review", n=2))
    assert {tile.stratum for tile in plan.tiles} == {"implant", "non_knee"}
    assert plan.size("accepted") == (2, 4)


def test_nothing_in_review_is_said(fresh):
    table = storage.read_table(f"{fresh}/review.parquet")
    storage.write_table(table.slice(0, 0), f"{fresh}/review.parquet")
    with pytest.raises(InputError, match="listed no image for review"):
        plan_review(Dataset(fresh), Parameters(only="review"))


def test_what_is_found_in_review_is_no_share_of_defects_of_the_dataset(doubtful, save, tmp_path):
    sampled = save("sample", doubtful, lambda tile: "accept", n=60, rejected=0)
    alone = import_decisions(doubtful, [sampled])
    both = import_decisions(doubtful, [reviewed(doubtful, {"i0050aa": "anatomy"}, tmp_path / "r.json")])
    assert both["accepted"] == alone["accepted"]
    assert both["advice"] == alone["advice"]
    assert both["accepted"]["total"]["found"] == 0
    rows = {row["stratum"]: (row["found"], row["read"], row["population"]) for row in both["review"]["strata"]}
    assert rows == {"implant": (0, 2, 2), "non_knee": (1, 2, 2)}


def test_review_answers_hold_when_the_rules_list_other_images(doubtful, tmp_path):
    export = reviewed(doubtful, {"i0050aa": "anatomy"}, tmp_path / "r.json")
    rows = storage.read_table(f"{doubtful}/review.parquet").slice(0, 1)
    storage.write_table(rows, f"{doubtful}/review.parquet")
    found = import_decisions(doubtful, [export])
    assert (found["review"]["total"]["read"], found["review"]["total"]["found"]) == (1, 0)
    keep_findings(doubtful, Dataset(doubtful).manifest["dataset_id"])
    assert Path(doubtful, "audit.json").exists()
    answers = answers_of(Dataset(doubtful))
    assert answers["i0050aa"]["AB"].answer == "anatomy"
    assert {image for image in answers if answers[image]["AB"].answer == "accept"} == set(DOUBTS) - {"i0050aa"}


def test_an_export_of_a_review_with_unknown_images_is_refused(doubtful, tmp_path):
    export = reviewed(doubtful, {}, tmp_path / "r.json")
    index = storage.read_table(f"{doubtful}/index.parquet")
    storage.write_table(index.slice(1), f"{doubtful}/index.parquet")
    with pytest.raises(InputError, match="1 of its decisions"):
        import_decisions(doubtful, [export])


def test_sheets_of_samples_keep_the_hash_they_had_before_there_were_others():
    assert json.loads(Parameters().model_dump_json()) == {
        "n": 300, "rejected": 60, "seed": 0, "double_read": 0.15, "blind": False,
    }  # fmt: skip
    assert Parameters(only="review").model_dump()["only"] == "review"


def test_findings_are_set_aside_when_the_groups_of_the_sample_change_and_answers_stay(fresh, save):
    """Another site moves images to another stratum; dataset_id stays, for images and pixels are the same."""
    import_decisions(fresh, [save("ab", fresh, lambda tile: "accept", n=60, rejected=0)])
    before = answers_of(Dataset(fresh))
    table = storage.read_table(f"{fresh}/index.parquet")
    place = table.schema.get_field_index("site")
    elsewhere = pa.array(["west"] * len(table), table.schema.field("site").type)
    storage.write_table(table.set_column(place, "site", elsewhere), f"{fresh}/index.parquet")
    name = Dataset(fresh).manifest["dataset_id"]
    for aside in (f"audit-{name}.json", f"audit-{name}-2.json"):
        keep_findings(fresh, name)
        assert not Path(fresh, "audit.json").exists()
        assert answers_of(Dataset(fresh)) == before
        Path(fresh, aside).with_name("audit.json").write_bytes(Path(fresh, aside).read_bytes())
    Path(fresh, "audit.json").unlink()
    plan = make_plan(Dataset(fresh), Parameters(n=60, rejected=0))
    assert export_of(fresh, lambda tile: "accept", n=60, rejected=0).sheet == plan.sheet
