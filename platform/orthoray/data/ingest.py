"""`orthoray ingest`: a source of images becomes a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from orthoray import __version__, storage
from orthoray.data.arrange import arrange
from orthoray.data.audit import findings_files, keep_findings
from orthoray.data.card_tables import LabelTable
from orthoray.data.cards import DatasetCard
from orthoray.data.facts import facts_rows, identifying
from orthoray.data.labels import find_labels, label_table
from orthoray.data.listing import list_source
from orthoray.data.manifest import counts, funnel, reasons
from orthoray.data.outliers import FILE as OUTLIERS
from orthoray.data.outliers import scores_digest
from orthoray.data.pipeline import build, require_some
from orthoray.data.schema import VERSION
from orthoray.data.staging import staged
from orthoray.data.state import file_keys
from orthoray.data.survey import survey
from orthoray.data.tables import Tables
from orthoray.data.task_cards import check_task, class_names
from orthoray.data.telling import tell_account
from orthoray.errors import InputError
from orthoray.imaging.ocr import require_ocr
from orthoray.imaging.pseudonyms import pseudonyms
from orthoray.progress import outputs, say

IDENTITY = ("name", "source", "phi_source", "reader")
"""Keys of a card without which a dataset is another one; after a change of the others it is brought up to date."""


def ingest(
    card: DatasetCard,
    source: str,
    out: str,
    *,
    overwrite: bool = False,
    limit: int | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Ingest a source on Ray Data.

    Headers are read first; from them and the card's tables follow ids, halves of bilateral films, the order of slices
    and the shard of every patient. Then every shard is written by one task, image after image; images that stand out
    among their like are excluded; and the dataset appears at ``out`` only when it is complete.

    The same call again goes on with a run that was interrupted. If a dataset of the same source is at ``out``, it is
    brought up to date: only files that are new or have changed are read, and what a change of the card touches is made
    again.

    Args:
        card: describes the source.
        source: folder or URI of the files.
        out: folder or URI of the dataset.
        overwrite: replace a dataset at ``out``.
        limit: take only the first ``limit`` files.
        dry_run: read headers, tell what would happen, write nothing.

    Returns:
        The manifest; of a dry run its ``funnel``, ``excluded``, ``counts`` and the accounts of tables and labels.

    Raises:
        InputError: no such source, no file that matches, a missing table or key, or ``out`` is taken.
        RunError: no image could be used, a worker failed, or the account of what was read does not add up.
    """
    source, out = storage.absolute(source), storage.absolute(out).rstrip("/")
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: give the number of files to read, at least 1.")
    if card.ocr:
        require_ocr(f"card '{card.name}'")
    ids = pseudonyms(card.source_code, phi=card.phi_source)
    before = None if dry_run else _before(card, ids.key_id, out, overwrite)
    files = file_keys(list_source(source, card, limit), ids)
    tables = Tables(source, ids, card.adapter, files["file"])
    _check_tables(card, tables)
    if dry_run:
        return _dry_run(card, source, files, tables)
    inputs = _inputs(card, files, tables, out)
    if before is not None and before.get("inputs") == inputs:
        say(f"  nothing has changed since {out} was written")
        return before
    manifest = _stage(card, source, out, files, tables, before, inputs)
    _tell(manifest, card, out)
    return manifest


def _before(card: DatasetCard, key_id: str, out: str, overwrite: bool) -> dict[str, Any] | None:
    """The manifest of the dataset that is brought up to date, if there is one; InputError if ``out`` is taken.

    Another card is fine as long as it is of the same source, read the same way: what a change of it touches is made
    again, be that labels, screening or all pixels.
    """
    if not storage.is_folder(out):
        if storage.exists(out):
            raise InputError(f"{out} is a file. Give --out a folder.")
        return None
    file = storage.join(out, "manifest.json")
    if not storage.exists(file):
        if storage.list_files(out):
            raise InputError(f"{out} is not empty and no dataset. Give another --out.")
        return None
    if overwrite:
        return None
    manifest: dict[str, Any] = storage.read_json(file)
    if manifest.get("key_id") != key_id:
        raise InputError(
            f"{out} was made with another pseudonym key: none of its ids would stay. Give that key (ORTHORAY_HMAC_KEY "
            "or ~/.orthoray/key), another --out, or --overwrite to replace the dataset."
        )
    old = manifest.get("card") or {}
    changed = [name for name in IDENTITY if old.get(name) != getattr(card, name)]
    changed += ["the layout of datasets"] if manifest.get("layout_version") != VERSION else []
    if changed:
        raise InputError(
            f"{out} holds a dataset of another source or version; these differ: {', '.join(changed)}. "
            "Give --overwrite to replace it, or another --out."
        )
    return manifest


def _check_tables(card: DatasetCard, tables: Tables) -> None:
    """InputError for everything that is wrong with the card's tables and tasks, before an image is read."""
    private = identifying(*card.facts, *card.labels)
    checks: list[Callable[[], object]] = [partial(facts_rows, facts, tables, private) for facts in card.facts]
    for label in card.labels:
        checks += [partial(check_task, label), partial(_check_labels, label, tables, private)]
    faults: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except InputError as error:
            faults[str(error)] = None
    if faults:
        raise InputError("\n".join(faults))


def _check_labels(label: LabelTable, tables: Tables, private: set[str]) -> None:
    tables.check(label, label.columns_read)
    label_table(label, tables, private)


def _inputs(card: DatasetCard, files: pd.DataFrame, tables: Tables, out: str) -> str:
    """Hash of everything a dataset is made from: files and their times, tables, cards, outlier scores, version."""
    digest = hashlib.sha256(f"{__version__}|{VERSION}|{tables.ids.key_id}|{card.model_dump_json()}".encode())
    for version in files["version"]:
        digest.update(version.encode())
    for join in (*card.facts, *card.labels):
        digest.update(tables.digest(join).encode())
    for label in card.labels:
        digest.update(repr(class_names(label.task)).encode())
    digest.update(scores_digest(out).encode())
    return digest.hexdigest()


def _dry_run(card: DatasetCard, source: str, files: pd.DataFrame, tables: Tables) -> dict[str, Any]:
    from orthoray.cluster.session import connect

    connect()
    frames = survey(files, source, card, tables.ids)
    rows, facts_audit = arrange(frames, card, tables, tables.ids)
    stays = rows["stage"] == ""
    require_some(int(stays.sum()), rows["reason"], source, card)
    read = {"files": len(files), "frames": len(frames), "images": len(rows)}
    kept = set(rows.loc[stays, "image_id"])
    account = {
        "funnel": funnel(read, rows[~stays])[:5],
        "excluded": reasons(rows[~stays]),
        "counts": counts(rows[stays].assign(source=card.source_code)),
        "facts_audit": facts_audit,
        "label_audit": {label.task: told for label, _, told in find_labels(card, rows, kept, tables)},
    }
    tell_account(account, card)
    say("  what pixels show, duplicates and screening are not known yet; they may take images and labels away")
    say(f"  {files['size'].sum() / 1e9:.2f} GB would be read; nothing was written (--dry-run)")
    return account


def _stage(
    card: DatasetCard,
    source: str,
    out: str,
    files: pd.DataFrame,
    tables: Tables,
    before: dict[str, Any] | None,
    inputs: str,
) -> dict[str, Any]:
    """Build beside ``out``, then take its place."""
    from orthoray.cluster.session import connect

    connect()
    with staged(out, update=before is not None) as staging:
        for name in (OUTLIERS, *findings_files(out)):  # they may be newer than those in an interrupted run's folder
            if storage.exists(file := storage.join(out, name)):
                storage.write_bytes(storage.join(staging, name), storage.read_bytes(file))
        manifest = build(card, source, staging, files, tables, shards=(before or {}).get("shards"))
        manifest["inputs"] = inputs
        storage.write_json(storage.join(staging, "manifest.json"), manifest)
        if before is not None:
            keep_findings(staging, before["dataset_id"])
    return manifest


def _tell(manifest: dict[str, Any], card: DatasetCard, out: str) -> None:
    tell_account(manifest, card)
    files = {
        "dataset": out,
        "account": storage.join(out, "manifest.json"),
        "flow": storage.join(out, "flow.svg"),
        "datasheet": storage.join(out, "datasheet.md"),
    }
    name = out.rsplit("/", 1)[-1]
    train = f"orthoray pretrain pretrain_knee_xray_kl out={out}-pretrain data.datasets='[{{uri: {out}}}]'"
    say(f"  look at a sample of it with people's eyes: orthoray audit {out} --out {name}-sheet.html")
    outputs(files, next_step=train)
