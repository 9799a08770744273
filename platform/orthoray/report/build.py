"""`orthoray report`: one self-contained page from the folder of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orthoray import storage
from orthoray.report.attention import attention
from orthoray.report.calibration import calibration
from orthoray.report.cohort import labels_of, read_cohorts
from orthoray.report.curves import learning, macro
from orthoray.report.differences import differences
from orthoray.report.figures import confusions, dot_plots, fraction_plots, roc_plots, style
from orthoray.report.images import sample_grid
from orthoray.report.leaks import leaks
from orthoray.report.load import Study, load_study
from orthoray.report.method import method
from orthoray.report.naming import EXPLAINED, breakable, metric_name, model_name
from orthoray.report.pages import templates
from orthoray.report.provenance import provenance
from orthoray.report.subgroups import subgroups
from orthoray.report.svg import mark_icon
from orthoray.report.tables import fraction_table, protocol_table, result_tables
from orthoray.report.training import training
from orthoray.report.words import question, scope, summary, verdicts


def build_report(run: str, out: str | None = None) -> Path | str:
    """Write ``report.html`` for a finished study.

    The page holds its styles, figures and images, so it can be passed on as one file. All results on it come from
    ``results.parquet``, ``predictions.parquet`` and the tables that the study computed from these. Equal inputs give
    equal bytes.

    Args:
        run: folder that `orthoray study` wrote.
        out: folder for ``report.html``; None = ``run``.

    Returns:
        The page's path, or its URI on a remote filesystem.

    Raises:
        InputError: ``run`` is no finished study, or its files are damaged. A dataset, checkpoint or pretraining run
            that is gone is no error: its section says so.
    """
    study = load_study(str(run).rstrip("/"))
    page = render(collect(study))
    target = storage.join(run if out is None else out, "report.html")
    storage.write_bytes(target, page.encode("utf-8"))
    return storage.local_path(target) or target


def collect(study: Study) -> dict[str, Any]:
    """Everything that the template shows."""
    cohorts = read_cohorts(study)
    judged = verdicts(study)
    pictures, pictures_note = sample_grid(cohorts, labels_of(study))
    metrics = list(dict.fromkeys(m for task in study.tasks.values() for m in task["metrics"]))
    return {
        "name": study.facts["name"],
        "candidate": study.candidate,
        "models": [{"id": m, "name": model_name(m), **style(study, m)} for m in study.ranked],
        "question": question(study),
        "scope": scope(study),
        "summary": summary(study, judged),
        "verdicts": judged,
        "overlap": study.facts.get("overlap", {}),
        "skipped": study.facts.get("skipped", {}),
        "missing": list(study.facts.get("missing_models", {})),
        "cohorts": cohorts,
        "pictures": pictures,
        "pictures_note": pictures_note,
        "training": training(study),
        "dots": dot_plots(study),
        "differences": differences(study),
        "tables": result_tables(study),
        "protocols": protocol_table(study),
        "rocs": roc_plots(study),
        "confusions": confusions(study),
        "fractions": {"plots": fraction_plots(study), "table": fraction_table(study)},
        "learning": learning(study),
        "macro": macro(study),
        "calibration": calibration(study),
        "subgroups": subgroups(study),
        "attention": attention(study, cohorts),
        "leaks": leaks(study),
        "method": method(study),
        "provenance": provenance(study, cohorts),
        "metrics": [(metric_name(m), EXPLAINED[m]) for m in metrics if m in EXPLAINED],
    }


def render(values: dict[str, Any]) -> str:
    """The page as text; every value is escaped."""
    environment = templates()
    environment.globals.update(icon=mark_icon, model_name=model_name)
    environment.filters["thousands"] = lambda value: f"{int(value):,}"
    environment.filters["breakable"] = breakable
    environment.filters["opening"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template("report.html").render(values)
