"""Exports in, findings out: what is refused, how readers are merged, what the numbers are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from orthoray.cli import cli
from orthoray.data.audit import Parameters, import_decisions
from orthoray.data.audit.sample import make_plan
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError

SMALL = {"n": 60, "rejected": 10}


def accept(tile):
    return "accept"


def as_ingest(tile):
    """What a reader says who agrees with ingest throughout."""
    return "accept" if tile.arm == "accepted" else "blur"


def south_is_bad(tile):
    """Blurred in one stratum, everything else as ingest says."""
    return "blur" if tile.stratum == "MR sagittal south" else as_ingest(tile)


def nothing_but_findings_changed(before, uri):
    after = tree(uri)
    assert after.pop("audit.json", None) is not None
    assert after == before


def tree(uri):
    return {str(file.relative_to(uri)): file.read_bytes() for file in sorted(Path(uri).rglob("*")) if file.is_file()}


def test_findings_by_stratum_and_in_total(fresh, save):
    before = tree(fresh)
    found = import_decisions(fresh, [save("ab", fresh, south_is_bad, **SMALL)])
    nothing_but_findings_changed(before, fresh)
    assert json.loads((Path(fresh) / "audit.json").read_text()) == found
    accepted = {item["stratum"]: item for item in found["accepted"]["strata"]}
    bad = accepted.pop("MR sagittal south")
    assert (bad["found"], bad["read"], bad["population"]) == (5, 5, 10)
    assert bad["answers"] == {"blur": 5}
    assert bad["exact_upper"] == 1.0
    assert bad["rule_of_three"] is None
    assert all(item["found"] == 0 and item["rule_of_three"] for item in accepted.values())
    total = found["accepted"]["total"]
    assert (total["found"], total["read"], total["population"]) == (5, 60, 120)
    assert total["weighted"] == pytest.approx(10 / 120)
    assert total["wilson_low"] < 5 / 60 < total["wilson_high"]
    assert found["rejected"]["total"]["found"] == 0
    assert found["rejected"]["total"]["read"] == 10
    assert found["advice"]["action"] == "stop"
    assert found["agreement"] == []


def test_a_rejected_image_that_a_reader_accepts_was_wrongly_rejected(fresh, save):
    def kinder(tile):
        return "accept" if tile.stratum == "quality/graphics" else as_ingest(tile)

    found = import_decisions(fresh, [save("ab", fresh, kinder, **SMALL)])
    rejected = {item["stratum"]: (item["found"], item["read"]) for item in found["rejected"]["strata"]}
    assert rejected == {"quality/blurred": (0, 7), "quality/graphics": (3, 3)}
    assert found["rejected"]["total"]["answers"] == {"accept": 3}
    assert found["accepted"]["total"]["found"] == 0
    assert found["advice"]["action"] == "widen"


def test_double_reads_give_kappa_and_conflicts(fresh, save):
    twice = [tile for tile in make_plan(Dataset(fresh), Parameters(**SMALL)).tiles if tile.second]
    odd = next(tile.image_id for tile in twice if tile.arm == "accepted")

    def second_reader(tile):
        """Reads what two people read; sees graphics where the first saw blur, and one overexposed image more."""
        if not tile.second:
            return None
        if tile.arm == "rejected":
            return "graphics"
        return "exposure" if tile.image_id == odd else "accept"

    exports = save("ab", fresh, as_ingest, **SMALL), save("cd", fresh, second_reader, reviewer="CD", **SMALL)
    found = import_decisions(fresh, exports)
    assert len(twice) == 9 + 2
    assert found["double_read"] == {"planned": 11, "read": 11}
    (pair,) = found["agreement"]
    assert (pair["readers"], pair["images"], pair["agree"]) == (["AB", "CD"], 11, 10)
    by_chance = (9 * 8 + 2 * 3) / 121  # AB: 9 accepted, 2 rejected; CD: 8 and 3
    assert pair["kappa"] == pytest.approx((10 / 11 - by_chance) / (1 - by_chance))
    by_chance = 9 * 8 / 121
    assert pair["kappa_reasons"] == pytest.approx((8 / 11 - by_chance) / (1 - by_chance))
    (conflict,) = found["conflicts"]
    assert conflict["image_id"] == odd
    assert conflict["answers"] == {"AB": "accept", "CD": "exposure"}
    assert found["accepted"]["total"]["found"] == 1  # a conflict counts until the readers agree


def test_importing_twice_in_any_order_or_one_by_one_is_the_same(fresh, save):
    first = save("ab", fresh, as_ingest, **SMALL)
    second = save("cd", fresh, accept, reviewer="CD", minute=5, **SMALL)
    file = Path(fresh) / "audit.json"
    import_decisions(fresh, [first, second])
    both = file.read_bytes()
    import_decisions(fresh, [second])
    assert file.read_bytes() == both
    import_decisions(fresh, [second, first, first])
    assert file.read_bytes() == both
    file.unlink()
    import_decisions(fresh, [second])
    assert file.read_bytes() != both
    import_decisions(fresh, [first])
    assert file.read_bytes() == both


def test_the_newest_answer_of_a_reader_counts(fresh, save):
    old = save("old", fresh, lambda tile: "blur", minute=1, **SMALL)
    new = save("new", fresh, lambda tile: "accept" if tile.stratum.startswith("MR") else None, minute=2, **SMALL)
    found = import_decisions(fresh, [new, old])
    counts = {item["stratum"]: item["found"] for item in found["accepted"]["strata"]}
    assert counts["MR sagittal north"] == counts["MR sagittal south"] == 0
    assert counts["XR AP north"] == 20
    assert found["reviewers"] == ["AB"]


def test_two_sheets_of_one_dataset_add_up(fresh, save):
    first = save("first", fresh, as_ingest, n=30, rejected=5)
    wide = save("wide", fresh, as_ingest, n=90, rejected=5, minute=9)
    found = import_decisions(fresh, [first, wide])
    assert found["accepted"]["total"]["read"] == 90
    assert len(found["sheets"]) == 2


def test_an_unfinished_sheet_asks_to_read_on(fresh, save):
    found = import_decisions(fresh, [save("ab", fresh, lambda tile: tile.second and as_ingest(tile), **SMALL)])
    assert found["advice"]["action"] == "read on"
    unread = next(item for item in found["accepted"]["strata"] if not item["read"])
    assert unread["rate"] is unread["wilson_high"] is None
    assert found["accepted"]["total"]["weighted"] is None


def change(path, **values):
    content = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(content | values))


def mend(path):
    """Give a changed file a digest that fits it, by the recipe of docs/audit.md."""
    import hashlib

    content = json.loads(Path(path).read_text())
    lines = [content[key] for key in ("format", "dataset_id", "sheet", "reviewer", "exported_at")]
    for item in sorted(content["decisions"], key=lambda item: item["image_id"]):
        lines.append("\t".join([item["image_id"], item["verdict"], item["reason"] or "", item["decided_at"]]))
    change(path, digest=hashlib.sha256("\n".join(lines).encode()).hexdigest())


def damage_verdict(path):
    content = json.loads(Path(path).read_text())
    content["decisions"][3] |= {"verdict": "reject", "reason": "blur"}
    change(path, decisions=content["decisions"])


def twice(path):
    content = json.loads(Path(path).read_text())
    change(path, decisions=[*content["decisions"], content["decisions"][0]])
    mend(path)


def foreign_image(path):
    content = json.loads(Path(path).read_text())
    content["decisions"][0]["image_id"] = "i9x"
    change(path, decisions=content["decisions"])
    mend(path)


def unreasoned(path):
    content = json.loads(Path(path).read_text())
    content["decisions"][0] |= {"verdict": "reject", "reason": None}
    change(path, decisions=content["decisions"])
    mend(path)


def other_parameters(path):
    change(path, parameters=json.loads(Path(path).read_text())["parameters"] | {"seed": 9})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_verdict, "the digest does not fit"),
        (lambda path: change(path, reviewer="ZZ"), "the digest does not fit"),
        (lambda path: change(path, reviewer="Jane Doe"), "reviewer: String should match pattern"),
        (lambda path: change(path, extra=1), "extra: Extra inputs are not permitted"),
        (twice, "decided twice"),
        (unreasoned, "a rejection has a reason"),
        (foreign_image, "not on its sheet"),
        (other_parameters, "is no sheet of"),
        (lambda path: Path(path).write_text(Path(path).read_text()[:-40]), "not JSON"),
        (lambda path: Path(path).write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (lambda path: Path(path).write_text("[]"), "file: "),
        (lambda path: Path(path).unlink(), "no such file"),
    ],
)
def test_damaged_or_foreign_exports_are_refused_and_nothing_is_written(fresh, save, damage, message):
    before = tree(fresh)
    good, bad = save("good", fresh, accept, reviewer="CD", **SMALL), save("bad", fresh, as_ingest, **SMALL)
    damage(bad)
    with pytest.raises(InputError, match=r"bad\.json") as stop:
        import_decisions(fresh, [good, bad])
    assert message in str(stop.value)
    assert "Jane" not in str(stop.value)
    assert tree(fresh) == before


def test_exports_of_another_dataset_are_refused(fresh, other, save):
    with pytest.raises(InputError, match="made for dataset ds-"):
        import_decisions(fresh, [save("ab", other, accept, **SMALL)])


def test_findings_of_what_the_dataset_was_before_are_not_mixed_in(fresh, other, save):
    import_decisions(other, [save("before", other, accept, **SMALL)])
    (Path(fresh) / "audit.json").write_bytes((Path(other) / "audit.json").read_bytes())
    with pytest.raises(InputError, match="which this dataset was before"):
        import_decisions(fresh, [save("ab", fresh, accept, **SMALL)])


def test_findings_that_are_damaged_are_not_overwritten(fresh, save):
    (Path(fresh) / "audit.json").write_text('{"exports": [1]}')
    with pytest.raises(InputError, match="Move it away"):
        import_decisions(fresh, [save("ab", fresh, accept, **SMALL)])
    assert (Path(fresh) / "audit.json").read_text() == '{"exports": [1]}'


def run(*arguments):
    return CliRunner().invoke(cli, ["audit", *arguments])


def test_the_command_imports_several_files_and_says_what_it_found(fresh, save):
    files = save("ab", fresh, as_ingest, **SMALL), save("cd", fresh, accept, reviewer="CD", **SMALL)
    done = run(fresh, "--import", *files)
    assert done.exit_code == 0, done.output
    assert "70 images read by AB, CD" in done.output
    assert "AB and CD: 70 images, 60 alike, kappa of accept/reject 0.00, of reasons 0.00" in done.output
    assert "advice: widen" in done.output
    assert "(rejected, quality/blurred): AB blur, CD accept" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "0"], "n: Input should be greater than or equal to 1"),
        (["--double-read", "1.5"], "double_read"),
        (["stray.json"], "given with --import"),
        (["--import", "nowhere.json"], "nowhere.json: no such file"),
        (["--import", "x.json", "--tolerance", "0"], "--tolerance 0"),
    ],
)
def test_wrong_options(made, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(made, *options)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_dataset_is_refused(tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        done = run(str(place), "--out", str(tmp_path / "sheet.html"))
        assert isinstance(done.exception, InputError)
        assert "not a dataset" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
