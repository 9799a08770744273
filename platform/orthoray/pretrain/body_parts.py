"""Which body parts a run's images show, as far as datasets and checkpoint cards say."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError, nearest
from orthoray.pretrain.settings.data import DataSource
from orthoray.pretrain.shard_rows import Weighing

UNKNOWN = ""
"""Stands for images of which the body part is not known."""


def indexed_parts(dataset: Dataset, source: DataSource, weighing: Weighing) -> set[str]:
    """Body parts in the dataset's index among the images that a source without a selection of them takes.

    Raises:
        InputError: the index is damaged.
    """
    rows = _index(dataset)
    return {
        row["body_part"] or UNKNOWN
        for row in rows
        if source.modality in (None, row["modality"])
        and weighing.modality.get(row["modality"] or "", 1.0)
        and weighing.site.get(row["site"] or "", 1.0)
    } or {UNKNOWN}


def no_images(dataset: Dataset, source: DataSource, weighed: bool) -> InputError:
    """What to say of a source that gives no image: what was asked for, and which body parts there are.

    Raises:
        InputError: the index is damaged.
    """
    wanted = f" of modality {source.modality}" if source.modality else ""
    told = ""
    if source.body_parts:
        wanted += f"{' and' if wanted else ' of'} body part {' or '.join(source.body_parts)}"
        there = {row["body_part"] for row in _index(dataset) if source.modality in (None, row["modality"])}
        known = sorted(name for name in there if name)
        absent = [name for name in source.body_parts if name not in known]
        near = next((found for name in absent if (found := nearest(name, known))), "")
        told = f"{near} There is: {', '.join(known) or 'none'}."
    return InputError(f"{source.uri}: the dataset holds no images{wanted}{' with a weight above 0' * weighed}.{told}")


def earlier_parts(weights: str | None) -> list[str]:
    """Body parts that the weights which a run starts from had seen, if they are of a checkpoint with a card."""
    if weights is None or weights.startswith("timm:"):
        return []
    folder = weights.rpartition("/")[0] if weights.endswith(".safetensors") else weights
    file = storage.join(folder, "card.json")
    if not storage.is_folder(folder) or not storage.exists(file):
        return []
    made = storage.read_json(file).get("provenance") or {}
    return list(made.get("body_parts") or ([UNKNOWN] if made.get("steps") else []))


def _index(dataset: Dataset) -> list[dict[str, str | None]]:
    """The different rows of (modality, site, body_part) in a dataset's index; none where there is no index."""
    uri = storage.join(dataset.uri, "index.parquet")
    if not storage.exists(uri):
        return []
    filesystem, path = storage.arrow_fs(uri)
    names = ["modality", "site", "body_part"]
    try:
        there = set(pq.read_schema(path, filesystem=filesystem).names)
        table = storage.read_table(uri, [name for name in names if name in there])
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{uri}: damaged, or not a Parquet file ({error}). Ingest the dataset again.") from None
    for name in names:
        if name not in there:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
    rows: list[dict[str, str | None]] = table.group_by(names).aggregate([]).to_pylist()
    return rows
