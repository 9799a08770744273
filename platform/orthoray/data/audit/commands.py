"""The two halves of `orthoray audit`: writing a sheet, and reading what it exported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orthoray import __version__, storage
from orthoray.data.audit.decisions import Export, merge, read_export
from orthoray.data.audit.findings import RESULT, kept_exports, set_aside
from orthoray.data.audit.review import describe_review, plan_review, summarise_review
from orthoray.data.audit.sample import FORMAT, Parameters, Plan, make_plan
from orthoray.data.audit.sheet import build_sheet
from orthoray.data.audit.statistics import CONFIDENCE
from orthoray.data.audit.summary import describe, describe_plan, summarise
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError
from orthoray.progress import heading, outputs, say


def write_sheet(uri: str, out: str, parameters: Parameters) -> Plan:
    """Draw a sample and write its review sheet; prints the plan.

    Args:
        uri: folder of a dataset.
        out: file to write (atomically; an older sheet there is replaced).
        parameters: size, seed and kind of the sample.

    Returns:
        The plan of the sheet.

    Raises:
        InputError: no dataset at ``uri``, an empty one, nothing in review (``only``), or ``out`` is a folder.
    """
    if storage.exists(out) and storage.is_folder(out):
        raise InputError(f"{out}: this is a folder. Give --out a file, such as {storage.join(out, 'sheet.html')}.")
    dataset = Dataset(uri)
    review = parameters.only == "review"
    plan = plan_review(dataset, parameters) if review else make_plan(dataset, parameters)
    heading(f"Audit of {plan.dataset_id}: {dataset.manifest.get('title') or dataset.manifest.get('name') or uri}")
    for line in describe_review(plan) if review else describe_plan(plan):
        say(line)
    sheet = build_sheet(dataset, plan)
    content = sheet.html.encode("utf-8")
    storage.write_bytes(out, content)
    size = f"{len(content) / 1e6:.1f} MB, {len(plan.tiles):,} pictures of at most {sheet.side} pixels"
    kind = ", blind" if parameters.blind else ""
    files = {"sheet": out, "": f"{size}; {plan.sheet[:12]}{kind}"}
    outputs(files, next_step=f"open it in a browser, export, then: orthoray audit {uri} --import FILE")
    return plan


def import_decisions(uri: str, files: Sequence[str], tolerance: float = 0.01) -> dict[str, Any]:
    """Merge exports of sheets into the dataset's findings, write them to ``audit.json`` and print a summary.

    The file keeps every export whole, so its numbers can be worked out again; importing one twice, or several in
    another order, gives the same file. Images and manifest are never touched.

    Args:
        uri: folder of a dataset.
        files: JSON exports of one or more sheets of this dataset.
        tolerance: largest share of defects among accepted images that is good enough, 0..1, exclusive.

    Returns:
        The content of ``audit.json``.

    Raises:
        InputError: a file is missing, damaged, or of another dataset or sheet. Nothing is written then.
    """
    if not 0 < tolerance < 1:
        raise InputError(f"--tolerance {tolerance:g}: give a share between 0 and 1, such as 0.01 for 1 %.")
    dataset = Dataset(uri)
    target = storage.join(dataset.uri, RESULT)
    read = [(name, read_export(name)) for name in files]
    kept = [(target, export) for export in kept_exports(dataset)]
    plans = _plans(dataset, [*read, *kept])
    exports = {export.digest: export for _, export in [*kept, *read]}
    ordered = sorted(exports.values(), key=lambda export: (export.exported_at, export.digest))
    answers = {only: merge(_of(ordered, only)) for only in ("sample", "review")}
    findings = {
        "format": FORMAT,
        "dataset_id": dataset.manifest["dataset_id"],
        "code_version": __version__,
        "confidence": CONFIDENCE,
        "tolerance": tolerance,
        "reviewers": sorted({export.reviewer for export in ordered}),
        "sheets": [
            {"sheet": plan.sheet, "tiles": len(plan.tiles), "parameters": plan.parameters.model_dump(mode="json")}
            for plan in plans
        ],
    }
    findings |= summarise(plans or [make_plan(dataset, Parameters())], answers["sample"], tolerance)
    findings["review"] = summarise_review(dataset, answers["review"])
    findings["exports"] = [export.model_dump(mode="json") for export in ordered]
    storage.write_json(target, findings)
    _tell(findings, len(set().union(*answers.values())), target)
    return findings


def _of(exports: Iterable[Export], only: str) -> list[Export]:
    return [export for export in exports if export.parameters.only == only]


def _plans(dataset: Dataset, exports: Sequence[tuple[str, Export]]) -> list[Plan]:
    """The samples of some exports, drawn again from the dataset; InputError for an export that fits none.

    A sheet of images in review is not drawn again: what is in review changes with the rules, but not what people saw.
    """
    plans: dict[Parameters, Plan] = {}
    images: set[str] = set()
    for name, export in exports:
        if export.dataset_id != dataset.manifest.get("dataset_id"):
            raise InputError(
                f"{name}: made for dataset {export.dataset_id}; {dataset.uri} is {dataset.manifest.get('dataset_id')}."
            )
        if export.parameters.only == "review":
            images = images or set(dataset.index()["image_id"])
            _check_images(name, export, images)
            continue
        plan = plans.get(export.parameters) or make_plan(dataset, export.parameters)
        if plan.sheet != export.sheet:
            raise InputError(
                f"{name}: made for sheet {export.sheet[:12]}, which is no sheet of {dataset.uri} as it is now "
                f"(these parameters give {plan.sheet[:12]})."
            )
        _check_images(name, export, {tile.image_id for tile in plan.tiles})
        plans[export.parameters] = plan
    return sorted(plans.values(), key=lambda plan: plan.sheet)


def _check_images(name: str, export: Export, images: set[str]) -> None:
    unknown = {decision.image_id for decision in export.decisions} - images
    if unknown:
        raise InputError(f"{name}: {len(unknown)} of its decisions are on images that are not on its sheet.")


def keep_findings(uri: str, before_id: str) -> None:
    """Set findings aside that do not fit a dataset any more, after it was brought up to date.

    They fit no more if images or pixels have changed (another dataset_id), or the groups that the sample was drawn from
    (another site or view of an image, say): then its sheets cannot be drawn again.
    """
    dataset = Dataset(uri)
    if not storage.exists(storage.join(dataset.uri, RESULT)):
        return
    if dataset.manifest["dataset_id"] == before_id:
        try:
            _plans(dataset, [(RESULT, export) for export in kept_exports(dataset)])
            return
        except InputError:
            pass
    name = set_aside(dataset, f"audit-{before_id}")
    say(f"  the audit was of what the dataset was before; it is kept as {name}")


def _tell(findings: dict[str, Any], read: int, target: str) -> None:
    readers = ", ".join(findings["reviewers"]) or "nobody"
    heading(f"Audit of {findings['dataset_id']}: {read:,} images read by {readers}")
    for line in describe(findings):
        say(line)
    outputs({"findings": target})
