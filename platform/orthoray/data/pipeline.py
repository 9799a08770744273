"""From the list of a source's files to a complete dataset folder, reusing what an earlier run has finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orthoray import storage
from orthoray.data.arrange import arrange, shard_count, shard_of
from orthoray.data.cards import DatasetCard
from orthoray.data.curate import judge
from orthoray.data.documents import croissant, datasheet
from orthoray.data.failures import worker_failures
from orthoray.data.flow import flow_svg
from orthoray.data.labels import write_labels
from orthoray.data.lettered import lettered_ids, ocr_account
from orthoray.data.manifest import build_manifest
from orthoray.data.schema import COPIED, EXCLUDED, FLAGS, INDEX, KEYS, NUMBERS, REPORT, as_table
from orthoray.data.settle import SETTLED, ShardSettler, held, renumbered, settle_geometry, slice_numbers, without_nan
from orthoray.data.shards import ShardWriter, made_images
from orthoray.data.state import IngestState, keep_shards, shard_key, shard_uri
from orthoray.data.survey import survey
from orthoray.data.tables import Tables
from orthoray.errors import RunError
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
    stays = rows["stage"] == ""
    images = int(stays.sum())
    require_some(images, rows["reason"], source, card)
    places = _places(rows.loc[stays, "patient_id"], _stable(shards, images))
    writing = _Writing(rows, places, source, out, card, state)
    made, refused = writing.reports()
    screened, review, judged = judge(made, out, card)
    index = _settle(writing, made, screened)
    excluded = _excluded(rows[~stays], refused, made, screened, card)
    require_some(len(index), excluded["reason"].to_pandas(), source, card)
    storage.write_table(index, storage.join(out, "index.parquet"))
    storage.write_table(excluded, storage.join(out, "excluded.parquet"))
    storage.write_table(review, storage.join(out, "review.parquet"))
    storage.remove_tree(storage.join(out, "labels"))
    labels = write_labels(out, card, rows, set(index["image_id"].to_pylist()), tables)
    counted = index.select([*KEYS, "sha256"]).to_pandas()
    manifest = build_manifest(card, tables.ids.key_id, read, counted, excluded.to_pandas())
    manifest |= {"facts_audit": facts_audit, "label_audit": labels, "shards": len(places)}
    manifest["judged"] = judged
    manifest["ocr"] = ocr_account(made) if card.ocr else None
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


def _places(patients: pd.Series, shards: int) -> dict[int, pd.Index]:
    """Labels of the rows of every shard by its number."""
    numbers = patients.map(lambda patient: shard_of(patient, shards))
    return {int(part.iloc[0]): part.index for _, part in numbers.groupby(numbers)}


@dataclass(frozen=True)
class _Writing:
    """The shards of a dataset: labels of the rows of each by its number, and what is needed to write them."""

    rows: pd.DataFrame
    places: dict[int, pd.Index]
    source: str
    out: str
    card: DatasetCard
    state: IngestState

    def reports(self) -> tuple[pa.Table, pa.Table]:
        """Images that were made, and rows of which none could be, each with its ``shard``.

        Shards that have a report for the same rows stay.
        """
        reports = {number: self.state.report(number, key) for number, key in self.keys.items()}
        keep_shards(self.out, set(self.places))
        missing = [number for number, report in reports.items() if report is None]
        with Progress(sum(map(len, self.places.values())), "writing images", "img") as bar:
            bar.start_at(sum(len(report) for report in reports.values() if report is not None))
            for done in self.write(missing):
                bar.advance(pc.sum(done["images"]).as_py())
        reports |= {number: self.state.report(number, self.keys[number]) for number in missing}
        report = pa.concat_tables([self._whole(number, reports[number]) for number in sorted(reports)])
        return made_images(report), report.filter(pc.is_valid(report["stage"]))

    @cached_property
    def keys(self) -> dict[int, str]:
        """Hash of all that decides the report of each shard."""
        columns = ["image_id", "version", "frame", "part", "inverted", "series_id", "study_id", "days_from_baseline"]
        columns += [name for name in (*COPIED, *NUMBERS, *FLAGS) if name not in columns]
        card, fields = self.card, [str(field) for field in REPORT]
        settings = (card.window, card.short_side, card.ocr, card.source_code, card.master, fields)
        return {number: shard_key(self._part(number), columns, settings) for number in self.places}

    def write(self, numbers: list[int]) -> Iterator[pa.Table]:
        """Write shards, those with most pixels first; yields tables of the numbers of ``images`` that were tried."""
        import ray

        if not numbers:
            return
        numbers = sorted(numbers, key=self._pixels, reverse=True)  # so that no processor is left alone with a large one
        storage.makedirs(storage.join(self.out, "images"))
        for number in numbers:  # what was excluded is made again, and its thumbnail too where there may be one
            storage.remove_tree(shard_uri(self.out, "rejected", number))
        references = [ray.put(self._part(number)) for number in numbers]
        keys = [(number, self.keys[number]) for number in numbers]
        writer = ShardWriter(references, keys, self.source, self.out, self.card, self.state.ids)
        yield from _in_tasks(writer, len(numbers), "writing images")

    def _pixels(self, number: int) -> float:
        part = self.rows.loc[self.places[number], ["rows", "columns"]]
        return float((part["rows"] * part["columns"]).sum())

    def _part(self, number: int) -> pd.DataFrame:
        return self.rows.loc[self.places[number]].reset_index(drop=True)

    def _whole(self, number: int, report: pa.Table | None) -> pa.Table:
        if report is None or len(report) != len(self.places[number]):
            raise RunError(f"shard {number} was not written as a whole. Nothing was kept; give the command again.")
        shard = pa.array(np.full(len(report), number), pa.int32())
        return report.replace_schema_metadata(None).append_column("shard", shard)


def _settle(writing: _Writing, made: pa.Table, screened: pd.DataFrame) -> pa.Table:
    """Make every shard hold its images without the excluded ones, in order; return the index."""
    images = made.select(["image_id", "series_id", "shard", "geometry"]).to_pandas()
    stays = slice_numbers(images[~images["image_id"].isin(screened["image_id"])])
    stays = settle_geometry(stays, writing.rows)
    wanted = dict(iter(stays.groupby("shard")))
    changed, lost = {}, []
    for number in writing.places:
        want, have = wanted.get(number, stays.iloc[:0]), held(writing.out, number)
        if have == want["image_id"].tolist():
            continue
        changed[number] = want
        if not set(want["image_id"]) <= set(have):  # images that were excluded before
            lost.append(number)
    for _ in writing.write(lost):
        pass
    told = screened["reason"] + " " + screened["detail"]  # other reasons are in the detail
    lettered = set(screened.loc[told.str.contains("burned_in_text|screenshot"), "image_id"]) | lettered_ids(made)
    _apply(changed, writing.out, frozenset(lettered))
    stays = stays.sort_values(["series_id", "slice_index"])
    return without_nan(renumbered(made.select(INDEX.names).take(pa.array(stays.index)), stays))


def _apply(changed: dict[int, pd.DataFrame], out: str, hidden: frozenset[str]) -> None:
    import ray

    if not changed:
        return
    columns = ["image_id", *SETTLED]
    settler = ShardSettler([(number, ray.put(want[columns])) for number, want in changed.items()], out, hidden)
    with Progress(len(changed), "removing excluded images", "shards") as bar:
        for done in _in_tasks(settler, len(changed), "removing images"):
            bar.advance(len(done))


def _in_tasks(worker: Any, count: int, work: str) -> Iterator[pa.Table]:
    """What ``worker`` makes of the numbers below ``count``, one task for each."""
    import ray.data

    dataset = ray.data.range(count, override_num_blocks=count)
    with worker_failures(work):
        mapped = dataset.map_batches(worker, batch_size=1, batch_format="numpy", num_cpus=1)
        yield from cast(Iterator[pa.Table], mapped.iter_batches(batch_size=None, batch_format="pyarrow"))


def _excluded(
    before: pd.DataFrame, refused: pa.Table, made: pa.Table, screened: pd.DataFrame, card: DatasetCard
) -> pa.Table:
    """Rows refused before pixels were read, those refused while images were made, and those that screening refused."""
    first = before.assign(source=card.source_code, value=float("nan"))
    second = refused.select([*KEYS, "stage", "reason", "detail"]).to_pandas().assign(value=float("nan"))
    third = made.select(KEYS).to_pandas().merge(screened, on="image_id", how="inner")
    return pa.concat_tables([as_table(part, EXCLUDED) for part in (first, second, third)])


def _documents(manifest: dict[str, Any], out: str) -> None:
    storage.write_json(storage.join(out, "croissant.json"), croissant(manifest))
    storage.write_bytes(storage.join(out, "datasheet.md"), datasheet(manifest).encode())
    storage.write_bytes(storage.join(out, "flow.svg"), flow_svg(manifest).encode())
