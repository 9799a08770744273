"""Subgroups, learning curves and macro AUROC on the page equal the study's tables; what is absent is not shown."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.report import conclusions
from tests.report.conclusions import NAMES, SITES, TITLES
from tests.report.pages import rows_about, within

from orthoray.errors import InputError
from orthoray.evaluation.macro import macro_table
from orthoray.report import build_report

SECTIONS = {"calibration": 'id="calibration"', "subgroups": 'id="subgroups"', "curves": 'id="curves"'}


def test_small_cells_stay_hidden_and_gaps_beyond_their_interval_are_bold(told, page_of):
    predictions, tables = told
    hidden = tables["subgroups"]["level"] == "west"
    spoilt = tables["subgroups"].assign(value=tables["subgroups"]["value"].where(~hidden, 0.98765))
    page = page_of(predictions, subgroups=spoilt)
    shown = rows_about(page, "in each group of patients")
    assert len(shown) == 9
    for row in tables["subgroups"].to_dict("records"):
        (cells,) = [c for c in shown if c["Task"].startswith(TITLES[row["task"]]) and c["Level"] == row["level"]]
        wanted = {"Patients": "–", "Value": "–", "Gap to all others": "–", "Note": row["note"]}
        if row["level"] != "west":
            wanted["Value"] = within(row["value"], row["low"], row["high"])
            wanted["Gap to all others"] = within(row["gap"], row["gap_low"], row["gap_high"], "+")
            wanted["Patients"] = "30" if row["level"] == "north" else "–"
        assert {name: cells[name] for name in wanted} == wanted
    assert "0.98765"[:5] not in page
    far = tables["subgroups"].query("gap_low > 0 or gap_high < 0")
    bold = re.findall(r"<strong>([+−]\d\.\d{3} \([^<]*)</strong>", page)
    assert bold == [within(r["gap"], r["gap_low"], r["gap_high"], "+") for r in far.to_dict("records")]


def test_a_gap_to_hidden_patients_alone_is_hidden(made, page_of):
    subgroups = conclusions.conclude(made.predictions, {"north": 54, "west": 6})["subgroups"]
    assert "gap" not in subgroups or subgroups["gap"].isna().all()
    page = page_of(made.predictions, subgroups=subgroups.assign(gap=0.111, gap_low=0.1, gap_high=0.2))
    rows = rows_about(page, "in each group of patients")
    assert {row["Gap to all others"] for row in rows} == {"–"}
    assert len({row["Value"] for row in rows if row["Level"] == "north"}) == 3


def test_learning_curves_table(told, page_of):
    predictions, tables = told
    curves = tables["curves"].copy()
    curves.loc[curves.index[0], ["fall", "fall_low", "fall_high", "monotone"]] = [0.05, 0.01, 0.09, False]
    page = page_of(predictions, curves=curves)
    shown = rows_about(page, "Learning curves of all models")
    assert len(shown) == len(curves) == 9
    for row in curves.to_dict("records"):
        (cells,) = [c for c in shown if c["Task"].startswith(TITLES[row["task"]]) and c["Model"] == NAMES[row["model"]]]
        assert cells["Twice the labels would add"] == within(row["gain"], row["gain_low"], row["gain_high"], "+")
        fall = within(row["fall"], row["fall_low"], row["fall_high"]) if row["fall"] > 0 else "none"
        assert cells["Largest fall"] == fall
        assert cells["Rises within its interval"] == ("yes" if row["monotone"] else "no")
    assert [cells["Rises within its interval"] for cells in shown].count("no") == 1
    assert 'href="#curves"' in page


def test_tables_of_the_study_are_read_and_those_of_another_are_not(told, page_of):
    predictions, tables = told
    comparisons, efficiency = tables["comparisons"].assign(p=0.1234), tables["efficiency"].assign(share=0.4321)
    page = page_of(predictions, comparisons=comparisons, efficiency=efficiency)
    assert {row["p"] for row in rows_about(page, "minus each comparison")} == {"0.123"}
    assert {row["Share needed"] for row in rows_about(page, "matches a comparison")} == {"43 %"}
    stale = comparisons.assign(value=comparisons["value"] + 0.01)
    page = page_of(predictions, comparisons=stale, efficiency=efficiency.assign(target=0.5))
    assert "0.123" not in {row["p"] for row in rows_about(page, "minus each comparison")}
    assert "43 %" not in {row["Share needed"] for row in rows_about(page, "matches a comparison")}


def test_macro_auroc_of_tasks_of_several_labels(made, page_of):
    parts = {"mr_acl": "mr_findings.mr_acl", "xr_tkr": "mr_findings.mr_pcl"}
    table = macro_table(made.predictions[made.predictions["task"].isin(parts)].replace({"task": parts}), 200)
    page = page_of(made.predictions, macro=table)
    shown = rows_about(page, "Macro AUROC of all models")
    wanted = {NAMES[r["model"]]: within(r["value"], r["low"], r["high"]) for r in table.to_dict("records")}
    assert {row["Model"]: row["Macro AUROC"] for row in shown} == wanted
    assert shown[0]["Task"] == "mr_findings2 parts"


@pytest.mark.parametrize("name", SECTIONS)
def test_no_section_and_no_entry_without_its_file(told, page_of, name):
    predictions, tables = told
    page = page_of(predictions, **{key: table for key, table in tables.items() if key != name})
    for section, anchor in SECTIONS.items():
        assert (anchor in page) == (f'href="#{section}"' in page) == (section != name)


def test_levels_are_escaped(made, page_of):
    table = conclusions.conclude(made.predictions, {"<script>a</script>": 30, "south": 30})["subgroups"]
    page = page_of(made.predictions, subgroups=table)
    assert "<script" not in page
    assert "&lt;script&gt;a" in page


def test_times_to_an_event_have_subgroups_and_no_calibration(made, fresh, save):
    predictions = made.predictions[made.predictions["task"] == "mr_acl"].drop(columns=["score_2", "score_3", "score_4"])
    predictions = predictions.assign(task="xr_tkr_time", score_0=predictions["score_1"], time=1.0)
    predictions["time"] = 400.0 + 90.0 * np.arange(len(predictions)) % 3400
    predictions = predictions.drop(columns="score_1")
    facts = fresh.facts | {"headline": {"xr_tkr_time": "c_index"}}
    task = fresh.facts["tasks"]["mr_acl"] | {"title": "Time to it", "kind": "survival", "metrics": ["c_index"]}
    save(fresh.study, facts | {"tasks": {"xr_tkr_time": task}}, predictions)
    tables = conclusions.conclude(predictions, SITES)
    assert tables["calibration"].empty
    conclusions.write(fresh.study, **tables)
    page = build_report(fresh.study).read_text(encoding="utf-8")
    assert SECTIONS["calibration"] not in page
    assert rows_about(page, "in each group of patients")[0]["Task"] == "Time to itC-index"


def test_a_damaged_table_is_refused(fresh, told):
    conclusions.write(fresh.study, **told[1])
    (fresh.root / "study" / "calibration.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"calibration\.parquet: damaged.*Run `orthoray study` again"):
        build_report(fresh.study)
