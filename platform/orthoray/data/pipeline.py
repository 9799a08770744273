"""From the list of a source's files to a complete dataset folder, reusing what an earlier run has finished."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.arrange import arrange, shard_count, shard_of
from orthoray.data.cards import DatasetCard
from orthoray.data.curate import judge
from orthoray.data.documents import croissant, datasheet
from orthoray.data.failures import worker_failures
from orthoray.data.flow import flow_svg
from orthoray.data.labels import write_labels
from orthoray.data.manifest import build_manifest
from orthoray.data.schema import COPIED, EXCLUDED, FLAGS, INDEX, NUMBERS, REPORT
from orthoray.data.settle import ShardSettler, held, rejected_uri, slice_numbers
from orthoray.data.shards import ShardWriter
from orthoray.data.state import FOLDER, IngestState, shard_key
from orthoray.data.survey import survey
from orthoray.data.tables import Tables
from orthoray.errors import RunError
from orthoray.imaging.pseudonyms import Pseudonyms
from orthoray.progress import Progress


def build(
    card: DatasetCard, source: str, out: str, files: pd.DataFrame, tables: Tables, *, shards: int | None = None
) -> dict[str, Any]:
    """Write every part of a dataset but its manifest.

    Args:
        card: describes the source.
        source: folder or URI of the files.
        out: folder of the dataset being written; what is in it already is used again where it still holds.
        files: rows of `orthoray.data.listing` with the pseudonyms of `orthoray.data.state.file_keys`.
        tables: the source's tables.
        shards: number of shards of the dataset that is brought up to date, if there is one.

    Returns:
        The manifest.

    Raises:
        InputError: a table contradicts itself or the images.
        RunError: no image could be used, a worker failed, or the account of what was read does not add up.
    """
    state = IngestState(out, tables.ids)
    frames = survey(files, source, card, tables.ids, state)
    state.compact_survey(frames)
    rows, facts_audit = arrange(frames, card, tables, tables.ids)
    read = {"files": len(files), "frames": len(frames), "images": len(rows)}
    del frames
    kept = rows[rows["stage"] == ""].reset_index(drop=True)
    require_some(len(kept), rows["reason"], source, card)
    parts = _parts(kept, _stable(shards, len(kept)))
    report = _report(parts, source, out, card, state)
    screened, review, judged = judge(report, out, card)
    index = _settle(parts, report, screened, source, out, card, state)
    excluded = _excluded(rows[rows["stage"] != ""], report, screened, card)
    require_some(len(index), excluded["reason"].to_pandas(), source, card)
    storage.write_table(index, storage.join(out, "index.parquet"))
    storage.write_table(excluded, storage.join(out, "excluded.parquet"))
    storage.write_table(review, storage.join(out, "review.parquet"))
    storage.remove_tree(storage.join(out, "labels"))
    labels = write_labels(out, card, rows, set(index["image_id"].to_pylist()), tables)
    manifest = build_manifest(card, tables.ids.key_id, read, index.to_pandas(), excluded.to_pandas())
    manifest |= {"facts_audit": facts_audit, "label_audit": labels, "shards": len(parts)}
    manifest["judged"] = judged
    manifest["review"] = review.to_pandas().groupby("reason").size().to_dict()
    _documents(manifest, out)
    return manifest


def require_some(images: int, reasons: pd.Series, source: str, card: DatasetCard) -> None:
    """RunError with the reasons counted if no image is left."""
    if images == 0:
        counts = reasons[reasons != ""].value_counts()
        why = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
        raise RunError(
            f"{source}: no image can be used: {why}. Nothing was kept. Check --source and the card '{card.name}'."
        )


def _stable(before: int | None, images: int) -> int:
    """The number of shards stays as it was while their size stays within a factor of two: shards are used again."""
    ideal = shard_count(images)
    return before if before and ideal / 2 <= before <= ideal * 2 else ideal


def _parts(kept: pd.DataFrame, shards: int) -> dict[int, pd.DataFrame]:
    """Rows of every shard by its number."""
    number = kept["patient_id"].map(lambda patient: shard_of(patient, shards))
    return {int(shard): part.reset_index(drop=True) for shard, part in kept.groupby(number, sort=True)}


def _report(
    parts: dict[int, pd.DataFrame], source: str, out: str, card: DatasetCard, state: IngestState
) -> dict[int, pa.Table]:
    """What became of every image, by shard; only shards without a report for the same rows are written."""
    keys = {number: _key(part, card) for number, part in parts.items()}
    found = {number: state.report(number, keys[number]) for number in parts}
    reports = {number: table for number, table in found.items() if table is not None}
    _remove_others(out, set(parts))
    missing = {number: keys[number] for number in parts if number not in reports}
    with Progress(sum(map(len, parts.values())), "writing images", "img") as bar:
        bar.start_at(sum(map(len, reports.values())))
        _write(parts, missing, source, out, card, state.ids, bar)
    for number, key in missing.items():
        written = state.report(number, key)
        if written is None or len(written) != len(parts[number]):
            raise RunError(f"shard {number} was not written as a whole. Nothing was kept; give the command again.")
        reports[number] = written
    return reports


def _key(part: pd.DataFrame, card: DatasetCard) -> str:
    columns = ["image_id", "version", "frame", "part", "inverted", "series_id", "study_id", "days_from_baseline"]
    columns += [name for name in (*COPIED, *NUMBERS, *FLAGS) if name not in columns]
    return shard_key(
        part, columns, (card.window, card.short_side, card.source_code, card.master, [str(field) for field in REPORT])
    )


def _write(
    parts: dict[int, pd.DataFrame],
    keys: dict[int, str],
    source: str,
    out: str,
    card: DatasetCard,
    ids: Pseudonyms,
    bar: Progress | None = None,
) -> None:
    import ray
    import ray.data

    if not keys:
        return
    storage.makedirs(storage.join(out, "images"))
    references = [ray.put(parts[number]) for number in keys]
    writer: Any = ShardWriter(references, list(keys.items()), source, out, card, ids)
    dataset = ray.data.range(len(keys), override_num_blocks=len(keys))
    table: Any
    with worker_failures("writing images"):
        mapped = dataset.map_batches(writer, batch_size=1, batch_format="numpy", num_cpus=1)
        for table in mapped.iter_batches(batch_size=None, batch_format="pyarrow"):
            if bar is not None:
                bar.advance(len(table))


def _remove_others(out: str, numbers: set[int]) -> None:
    """Remove shards and reports that are not of this dataset any more."""
    for folder in (
        storage.join(out, "images"),
        storage.join(out, FOLDER, "reports"),
        storage.join(out, "rejected"),
        storage.join(out, "master"),
    ):
        for uri in storage.list_files(folder, ".parquet"):
            if int(uri.rsplit("-", 1)[-1].removesuffix(".parquet")) not in numbers:
                storage.remove_tree(uri)


def _settle(
    parts: dict[int, pd.DataFrame],
    report: dict[int, pa.Table],
    screened: pd.DataFrame,
    source: str,
    out: str,
    card: DatasetCard,
    state: IngestState,
) -> pa.Table:
    """Make every shard hold its images without the excluded ones, in order; return the index."""
    index = pa.concat_tables([index_rows(table) for _, table in sorted(report.items())]).to_pandas()
    stays = slice_numbers(index[~index["image_id"].isin(set(screened["image_id"]))])
    owner = {row: number for number, table in report.items() for row in table["image_id"].to_pylist()}
    wanted = {int(number): part for number, part in stays.groupby(stays["image_id"].map(owner), sort=True)}
    changed, lost = {}, {}
    for number in report:
        want = wanted.get(number, stays.iloc[:0])
        have = held(out, number)
        if have == want["image_id"].tolist():
            continue
        changed[number] = want
        if not set(want["image_id"]) <= set(have):  # images that were excluded before
            lost[number] = _key(parts[number], card)
            storage.remove_tree(rejected_uri(out, number))
    _write(parts, lost, source, out, card, state.ids)
    lettered = screened.loc[screened["reason"].isin(["burned_in_text", "screenshot"]), "image_id"]
    _apply(changed, out, frozenset(lettered))
    table = pa.Table.from_pandas(stays[INDEX.names], schema=INDEX, preserve_index=False)
    order = [("series_id", "ascending"), ("slice_index", "ascending")]
    return table.replace_schema_metadata(None).sort_by(order)


def _apply(changed: dict[int, pd.DataFrame], out: str, hidden: frozenset[str]) -> None:
    import ray
    import ray.data

    if not changed:
        return
    columns = ["image_id", "slice_index", "slice_count"]
    settler: Any = ShardSettler([(number, ray.put(want[columns])) for number, want in changed.items()], out, hidden)
    dataset = ray.data.range(len(changed), override_num_blocks=len(changed))
    batch: Any
    with Progress(len(changed), "removing excluded images", "shards") as bar, worker_failures("removing images"):
        mapped = dataset.map_batches(settler, batch_size=1, batch_format="numpy", num_cpus=1)
        for batch in mapped.iter_batches(batch_size=None, batch_format="numpy"):
            bar.advance(len(batch["images"]))


def index_rows(report: pa.Table) -> pa.Table:
    """The rows of the index among reported ones."""
    return report.filter(pa.compute.is_null(report["stage"])).select(INDEX.names).replace_schema_metadata(None)


def _excluded(before: pd.DataFrame, report: dict[int, pa.Table], screened: pd.DataFrame, card: DatasetCard) -> pa.Table:
    """Rows refused before pixels were read, those refused while images were made, and those that screening refused."""
    first = before.assign(source=card.source_code, value=float("nan"))
    made = pa.concat_tables([table.replace_schema_metadata(None) for table in report.values()])
    second = made.filter(pa.compute.is_valid(made["stage"])).to_pandas().assign(value=float("nan"))
    facts = made.select([name for name in EXCLUDED.names if name in made.schema.names]).to_pandas()
    third = facts.drop(columns=["stage", "reason", "detail"]).merge(screened, on="image_id", how="inner")
    tables = [
        pa.Table.from_pandas(part[EXCLUDED.names], schema=EXCLUDED, preserve_index=False)
        for part in (first, second, third)
    ]
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def _documents(manifest: dict[str, Any], out: str) -> None:
    storage.write_json(storage.join(out, "croissant.json"), croissant(manifest))
    storage.write_bytes(storage.join(out, "datasheet.md"), datasheet(manifest).encode())
    storage.write_bytes(storage.join(out, "flow.svg"), flow_svg(manifest).encode())
