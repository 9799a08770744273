"""`orthoray ingest`: a source of images becomes a dataset."""

from __future__ import annotations

import fnmatch
import time
import uuid
from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.arrange import arrange, shard_count, shard_of
from orthoray.data.cards import DatasetCard
from orthoray.data.failures import worker_failures
from orthoray.data.labels import label_table, write_labels
from orthoray.data.manifest import build_manifest
from orthoray.data.schema import EXCLUDED, REPORT
from orthoray.data.shards import ShardWriter, index_rows
from orthoray.data.survey import survey
from orthoray.data.tables import Tables
from orthoray.errors import InputError, RunError
from orthoray.imaging.pseudonyms import pseudonyms
from orthoray.progress import Progress, outputs, say


def ingest(
    card: DatasetCard, source: str, out: str, *, overwrite: bool = False, limit: int | None = None
) -> dict[str, Any]:
    """Ingest a source on Ray Data.

    Headers are read first; from them and the card's tables follow ids, halves of bilateral films, the order of slices
    and the shard of every patient. Then every shard is written by one task, image after image. The dataset appears at
    ``out`` only when it is complete.

    Args:
        card: describes the source.
        source: folder or URI of the files.
        out: folder or URI of the dataset.
        overwrite: replace a dataset at ``out``.
        limit: take only the first ``limit`` files.

    Returns:
        The manifest.

    Raises:
        InputError: no such source, no file that matches, a missing table or key, or ``out`` is taken.
        RunError: no image could be used, a worker failed, or the account of what was read does not add up.
    """
    source, out = storage.absolute(source), storage.absolute(out).rstrip("/")
    _check_out(out, overwrite)
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: give the number of files to read, at least 1.")
    files = find_files(source, card)[:limit]
    tables = Tables(source, pseudonyms(card.source_code, phi=card.phi_source))
    _check_tables(card, tables)
    tag = uuid.uuid4().hex[:8]
    staging, old = f"{out}.{tag}.partial", f"{out}.{tag}.old"
    try:
        manifest = _write(card, source, staging, files, tables)
        if storage.exists(out):
            storage.rename(out, old)
        storage.rename(staging, out)
    finally:
        if storage.exists(old) and not storage.exists(out):
            storage.rename(old, out)
        _discard(staging)
        _discard(old)
    _tell(manifest, out)
    return manifest


def _check_tables(card: DatasetCard, tables: Tables) -> None:
    """InputError for anything wrong with the card's tables, before an image is read."""
    for facts in card.facts:
        tables.check(facts, facts.columns.values())
    for label in card.labels:
        tables.check(label, [label.column, *label.when])
        label_table(label, tables)


def _discard(folder: str) -> None:
    """Remove a folder; once more after a moment if a worker that is being stopped has just written to it."""
    try:
        storage.remove_tree(folder)
    except OSError:
        time.sleep(1.0)
        storage.remove_tree(folder)


def find_files(source: str, card: DatasetCard) -> list[str]:
    """Files of a source that match the card's patterns, relative to it, sorted; InputError if there are none."""
    if not storage.is_folder(source):
        raise InputError(f"{source}: no such folder. Give the folder that holds the images with --source.")
    prefix = len(source.rstrip("/")) + 1
    names = [uri[prefix:] for uri in storage.list_files(source)]
    found = sorted(name for name in names if any(_matches(name, pattern) for pattern in card.patterns))
    if not found:
        patterns = ", ".join(card.patterns)
        raise InputError(
            f"{source}: none of its {len(names)} files match {patterns} (card '{card.name}'). "
            "Check --source, or `glob` in the card."
        )
    return found


def _matches(name: str, pattern: str) -> bool:
    """Shell pattern against a relative path; ``**/`` also stands for no folder at all."""
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, pattern.replace("**/", ""))


def _check_out(out: str, overwrite: bool) -> None:
    if not storage.is_folder(out):
        if storage.exists(out):
            raise InputError(f"{out} is a file. Give --out a folder.")
        return
    is_dataset = storage.exists(storage.join(out, "manifest.json"))
    if is_dataset and not overwrite:
        raise InputError(f"{out} holds a dataset already. Give --overwrite to replace it, or another --out.")
    if not is_dataset and storage.list_files(out):
        raise InputError(f"{out} is not empty and no dataset. Give another --out.")


def _write(card: DatasetCard, source: str, out: str, files: list[str], tables: Tables) -> dict[str, Any]:
    from orthoray.cluster.session import connect

    connect()
    frames = survey(files, source, card, tables.ids)
    rows, facts_audit = arrange(frames, card, tables, tables.ids)
    kept = rows[rows["stage"] == ""].reset_index(drop=True)
    _require_some(len(kept), rows["reason"], source, card)
    storage.makedirs(storage.join(out, "images"))
    report = _write_shards(kept, source, out, card)
    index = index_rows(report)
    excluded = _excluded(rows[rows["stage"] != ""], report, card)
    _require_some(len(index), excluded["reason"].to_pandas(), source, card)
    storage.write_table(index, storage.join(out, "index.parquet"))
    storage.write_table(excluded, storage.join(out, "excluded.parquet"))
    labels = write_labels(out, card, rows, set(index["image_id"].to_pylist()), tables)
    read = {"files": len(files), "frames": len(frames), "images": len(rows)}
    manifest = build_manifest(card, tables.ids.key_id, read, index.to_pandas(), excluded.to_pandas())
    manifest |= {"facts_audit": facts_audit, "label_audit": labels}
    storage.write_json(storage.join(out, "manifest.json"), manifest)
    return manifest


def _require_some(images: int, reasons: pd.Series, source: str, card: DatasetCard) -> None:
    if images == 0:
        counts = reasons[reasons != ""].value_counts()
        why = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
        raise RunError(
            f"{source}: no image can be used: {why}. Nothing was kept. Check --source and the card '{card.name}'."
        )


def _write_shards(kept: pd.DataFrame, source: str, out: str, card: DatasetCard) -> pa.Table:
    import ray.data

    shards = shard_count(len(kept))
    number = kept["patient_id"].map(lambda patient: shard_of(patient, shards))
    grouped = kept.groupby(number, sort=True)
    parts = [ray.put(part.reset_index(drop=True)) for _, part in grouped]
    writer: Any = ShardWriter(parts, source, out, card)
    dataset = ray.data.range(len(parts), override_num_blocks=len(parts))
    reports: list[pa.Table] = []
    table: Any
    with Progress(len(kept), "writing images", "img") as bar, worker_failures("writing images"):
        mapped = dataset.map_batches(writer, batch_size=1, batch_format="numpy", num_cpus=1)
        for table in mapped.iter_batches(batch_size=None, batch_format="pyarrow"):
            reports.append(table.cast(REPORT))
            bar.advance(len(table))
    return pa.concat_tables(reports).sort_by([("series_id", "ascending"), ("slice_index", "ascending")])


def _excluded(before: pd.DataFrame, report: pa.Table, card: DatasetCard) -> pa.Table:
    """Rows refused before pixels were read, and those refused after."""
    first = pa.Table.from_pandas(
        before.assign(source=card.source_code)[EXCLUDED.names], schema=EXCLUDED, preserve_index=False
    )
    second = report.filter(pa.compute.is_valid(report["stage"])).select(EXCLUDED.names)
    return pa.concat_tables([first.replace_schema_metadata(None), second])


def _tell(manifest: dict[str, Any], out: str) -> None:
    for step in manifest["funnel"]:
        say(f"  {step['count']:>9,}  {step['stage']}")
    for row in manifest["excluded"]:
        say(f"  {row['count']:>9,}  excluded: {row['stage']} / {row['reason']}")
    for row in manifest["counts"]:
        say(f"  {row['modality']}: {row['patients']:,} patients, {row['studies']:,} studies, {row['images']:,} images")
    for task, account in manifest["label_audit"].items():
        why = ", ".join(f"{count:,} {reason}" for reason, count in account["reasons"].items() if count)
        say(
            f"  labels {task}: {account['samples']:,} samples" + (f"; rows of the table not used: {why}" if why else "")
        )
    files = {"dataset": out, "account": storage.join(out, "manifest.json")}
    outputs(files, next_step=f"orthoray pretrain CONFIG data.datasets='[{{uri: {out}}}]'")
