"""How the results were measured, in words, from the protocol facts of study.json."""

from __future__ import annotations

from typing import Any

from orthoray.evaluation.applicable import Gap, gap_lines
from orthoray.report.load import Study
from orthoray.report.naming import count, joined, model_name, model_text


def method(study: Study) -> list[tuple[str, str]]:
    """Pairs of (question, answer). A fact that study.json does not record is left out."""
    facts: dict[str, Any] = study.facts["protocol"]
    rows: list[tuple[str, str]] = []
    folds, seeds = int(facts.get("folds", 0)), list(facts.get("seeds", []))
    if facts.get("test_data"):
        rows.append(("Test data", str(facts["test_data"])))
    elif folds:
        how = f", stratified by {facts['stratified_by']}" if facts.get("stratified_by") else ""
        rows.append(
            (
                "Test data",
                f"{count(folds, 'fold')}, grouped by {facts.get('grouping', 'patient')}{how}: all images of a patient "
                "are in one fold, and every patient is tested once per seed, by a classifier that never saw them.",
            )
        )
    if facts.get("probe"):
        grid = facts.get("c_grid", [])
        span = f" C is chosen from {len(grid)} values between {min(grid):g} and {max(grid):g}." if grid else ""
        balanced = " Classes are weighted to count the same." if facts.get("class_weight") == "balanced" else ""
        rows.append(("Classifier", f"{facts['probe']}. The network itself is not changed.{span}{balanced}"))
    if facts.get("inner"):
        by = f", by {str(facts.get('inner_metric', '')).replace('_', ' ')}" if facts.get("inner_metric") else ""
        rows.append(("Selection", f"{facts['inner']}{by}; never on the fold that is reported."))
    if facts.get("aggregate"):
        rows.append(("Studies of several images", f"The features of their images are pooled: {facts['aggregate']}."))
    others: dict[str, str] = facts.get("others", {})
    rows += [(f"Protocol {name}", f"{text}.") for name, text in others.items()]
    gaps = gap_lines([Gap(**gap) for gap in study.facts.get("not_applicable", [])])
    if gaps:
        rows.append(("Not applicable", f"These have no results: {'; '.join(gaps)}."))
    texts = {name: model_text(study.model(name)) for name in study.models}
    if facts.get("pixels"):
        texts |= {name: f"{texts[name]} {facts['pixels']}." for name in texts if study.model(name)["kind"] == "pixels"}
    rows += [(f"Model “{model_name(name)}”", text) for name, text in texts.items()]
    if seeds:
        rows.append(("Repetitions", f"{count(len(seeds), 'seed')} ({joined([str(seed) for seed in seeds])})."))
    if facts.get("sd"):
        rows.append(("±", f"{facts['sd']}. It is a spread, not a confidence interval: folds share training data."))
    if facts.get("pooled"):
        rows.append(("Pooled", f"{facts['pooled']}."))
    rows.append(
        (
            "“Clearly better”",
            "The mean exceeds that of every comparison by more than the larger of the two models' SDs over folds. "
            "This is a cautious yardstick, not a significance test.",
        )
    )
    return rows
