"""The report's table of leak checks."""

from __future__ import annotations

from types import SimpleNamespace

from orthoray.evaluation.leaks.findings import Finding, write_findings
from orthoray.report.leaks import leaks


def test_alarms_come_first_and_information_is_no_verdict(tmp_path):
    found = [
        Finding("a", "near copies", 0.0, 0.0, 0.0, 0.0, False, 9, "none"),
        Finding("a", "age and sex only", 0.9, 0.8, 1.0, 0.55, False, 9, "AUROC 0.90"),
        Finding("b", "margin only", 0.8, 0.7, 0.9, 0.55, True, 9, "AUROC 0.80"),
    ]
    write_findings(str(tmp_path), found, "x")
    shown = leaks(SimpleNamespace(uri=str(tmp_path), facts={"tasks": {"b": {"title": "Bee"}}}))
    assert [(row["task"], row["verdict"]) for row in shown["rows"]] == [
        ("Bee", "alarm"),
        ("a", "passed"),
        ("a", "for information"),
    ]
    assert (shown["alarms"], shown["checks"]) == (1, 3)
    assert leaks(SimpleNamespace(uri=str(tmp_path / "none"), facts={})) is None
