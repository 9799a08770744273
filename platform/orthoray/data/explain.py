"""`orthoray explain`: the chain from a source to one image of a dataset."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.audit.findings import answers_of
from orthoray.data.audit.tables import review_table
from orthoray.data.cards import DatasetCard
from orthoray.data.dataset import Dataset
from orthoray.data.listing import list_source
from orthoray.data.state import REPORTS
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import pseudonyms

NOT_SHOWN = ("image_id", "stage", "reason", "detail", "quality", "phash")


def explain(dataset: str, image_id: str, source: str | None = None) -> list[str]:
    """Lines that tell where an image comes from and what was done to it.

    Args:
        dataset: folder of the dataset.
        image_id: an image of the dataset, or one that was excluded.
        source: the source's folder; with it and the pseudonym key the image's file is named.

    Raises:
        InputError: the dataset does not know the image, or the key is another than the dataset's.
    """
    found = Dataset(dataset)
    row = _row(found, image_id)
    index = found.index()
    for kept in index[index["image_id"] == image_id].to_dict("records"):  # numbered without what screening excluded
        row |= {str(name): kept[name] for name in ("slice_index", "slice_count")}
    manifest = found.manifest
    lines = [
        f"dataset   {manifest['dataset_id']}  {manifest['title']}",
        f"made by   OrthoRay {manifest['code_version']}, card '{manifest['name']}', key {manifest['key_id']}",
        *_file(found, row, source),
    ]
    for name, value in row.items():
        if name not in NOT_SHOWN and value not in (None, ""):
            lines.append(f"{name:<20}  {value:.6g}" if isinstance(value, float) else f"{name:<20}  {value}")
    for name, value in (row.get("quality") or {}).items():
        lines.append(f"quality.{name:<12}  {value:.4g}" if value is not None else f"quality.{name:<12}  –")
    return [*lines, *_outcome(found, image_id, row)]


def _row(dataset: Dataset, image_id: str) -> dict[str, Any]:
    """The image's row in the reports, else among those that were excluded before pixels were read."""
    for uri in storage.list_files(storage.join(dataset.uri, REPORTS), ".parquet"):
        rows = storage.read_table(uri)
        for row in rows.filter(pq.filters_to_expression([("image_id", "=", image_id)])).to_pylist():
            return dict(row)
    excluded = dataset.excluded()
    for row in excluded[excluded["image_id"] == image_id].to_dict("records"):
        return {str(key): value for key, value in row.items()}
    raise InputError(
        f"{dataset.uri} knows no image '{image_id}'. Take an image_id from index.parquet or excluded.parquet."
    )


def _file(dataset: Dataset, row: dict[str, Any], source: str | None) -> list[str]:
    key = row.get("file_key")
    if not key:
        return []
    if source is None:
        return [f"file      {key}  (give --source, with the pseudonym key at hand, to see its name)"]
    card = DatasetCard.model_validate_json(json.dumps(dataset.manifest["card"]))
    ids = pseudonyms(card.source_code, phi=card.phi_source)
    if ids.key_id != dataset.manifest["key_id"]:
        raise InputError(
            f"the pseudonym key at hand ({ids.key_id}) is not the dataset's ({dataset.manifest['key_id']})."
        )
    names = list_source(storage.absolute(source), card)["file"]
    name = next((name for name in names if ids.make("file", name) == key), None)
    where = storage.join(source, name) if name else "not in this source any more"
    return [f"file      {where}, frame {row['frame']}" + (f", half {row['part']}" if row["part"] else "")]


def _outcome(dataset: Dataset, image_id: str, row: dict[str, Any]) -> list[str]:
    said = answers_of(dataset).get(image_id, {})
    audit = [f"audit     {reader}: {one.answer}, {one.decided_at}" for reader, one in said.items()]
    excluded = dataset.excluded()
    for reason in excluded[excluded["image_id"] == image_id].to_dict("records"):
        return [f"excluded  {reason['stage']} / {_told(reason)}", *audit]
    lines = [f"labels    {task}: {label}" for task, label in _labels(dataset, image_id, row)]
    review = review_table(dataset)
    lines += [f"review    {_told(found)}" for found in review[review["image_id"] == image_id].to_dict("records")]
    place = f"slice {row['slice_index'] + 1} of {row['slice_count']} of its series"
    return [*lines, *audit, f"kept      as {place}"]


def _told(found: dict[Any, Any]) -> str:
    """Reason, detail and the number that decided, of an exclusion or of a finding for review."""
    value, other = found.get("value"), found.get("other_id")
    number = f" (value {value:.4g})" if value is not None and math.isfinite(value) else ""
    return f"{found['reason']}: {found['detail']}{number}" + (f", see {other}" if other else "")


def _labels(dataset: Dataset, image_id: str, row: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for task in dataset.tasks():
        labels = dataset.labels(task)
        names = labels.loc[labels["sample_id"].isin([image_id, row["study_id"]]), "class_name"]
        found += [(task, str(name)) for name in names]
    return found
