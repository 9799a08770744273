"""Leak checks of a study as a table: alarms first, in words that say what each would mean."""

from __future__ import annotations

from typing import Any

from orthoray.evaluation.leaks.findings import Finding, read_findings
from orthoray.report.load import Study

MEANING = {
    "exact copies": "the same image on both sides of a split",
    "near copies": "an image that looks the same as one of another patient on the other side of a split",
    "one examination, two folds": "one examination under two patients",
    "acquisition only": "site, maker, field strength and image size tell the label: models may have learnt them",
    "age and sex only": "how far age and sex alone would go; disease may rightly go with them",
    "margin only": "the image's margin alone tells the label: marks, collimation or a site's look",
    "permuted labels": "labels dealt out at random are found again: the protocol itself leaks",
    "fitted outside training": "something was fitted on rows that it is tested on",
    "seen in pretraining": "patients whose images a model saw before, without labels",
}

NO_ALARM = ("age and sex only", "seen in pretraining")
"""Checks that inform and never raise an alarm."""


def leaks(study: Study) -> dict[str, Any] | None:
    """Rows of the table and their counts; None for a study without checks."""
    findings = read_findings(study.uri)
    if not findings:
        return None
    ordered = sorted(findings, key=lambda finding: not finding.alarm)
    return {
        "alarms": sum(finding.alarm for finding in findings),
        "checks": len(findings),
        "rows": [_row(study, finding) for finding in ordered],
        "meanings": [(check, MEANING[check]) for check in dict.fromkeys(f.check for f in findings) if check in MEANING],
    }


def _row(study: Study, finding: Finding) -> dict[str, Any]:
    task = study.facts["tasks"].get(finding.task, {})
    verdict = "alarm" if finding.alarm else "for information" if finding.check in NO_ALARM else "passed"
    return {
        "task": task.get("title", finding.task),
        "check": finding.check,
        "detail": finding.detail,
        "verdict": verdict,
    }
