"""`orthoray outliers`: images that are unlike those that people have accepted, by a frozen backbone's features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.audit.findings import answers_of
from orthoray.data.dataset import Dataset
from orthoray.data.outliers import FILE, LEAST, SCORES, outlier_scores
from orthoray.errors import InputError
from orthoray.features.store import extract, read_features
from orthoray.progress import outputs, say


def find_outliers(uri: str, backbone: str, store: str | None = None) -> pd.DataFrame:
    """Score every image of a dataset against those of its modality that every reader of its audit accepted.

    Args:
        uri: dataset. ``outliers.parquet`` in it is written again; scores of images that have left the dataset stay, or
            the next ingest would take them back.
        backbone: checkpoint folder.
        store: folder of features; None = ``DATASET-features``.

    Returns:
        ``image_id, modality, sha256, outlier_score`` of the images scored, the most unlike first; a score above 1 is
        beyond 99 % of accepted images that the model has not seen.

    Raises:
        InputError: no dataset or checkpoint there, or of no modality `LEAST` images were accepted.
    """
    dataset = Dataset(uri)
    index = dataset.index()
    index = index[["image_id", "modality", "sha256"]]
    said = answers_of(dataset)
    accepted = {image for image, readers in said.items() if all(one.answer == "accept" for one in readers.values())}
    counts = index[index["image_id"].isin(accepted)].groupby("modality").size()
    enough = [str(modality) for modality, count in counts.items() if count >= LEAST]
    if not enough:
        told = ", ".join(f"{modality} {count}" for modality, count in counts.items()) or "none"
        raise InputError(
            f"{dataset.uri}: accepted in its audit: {told}. At least {LEAST} images of a modality are needed to "
            f"compare with: orthoray audit {uri} --out sheet.html --n {2 * LEAST}, then --import what it exports."
        )
    folder = store or f"{dataset.uri.rstrip('/')}-features"
    parts = [_of_modality(index[index["modality"] == name], name, accepted, uri, backbone, folder) for name in enough]
    found = pd.concat(parts).sort_values("outlier_score", ascending=False, ignore_index=True)
    _write(dataset, found)
    _tell(index, found, accepted, uri)
    return found


def _of_modality(
    images: pd.DataFrame, modality: str, accepted: set[str], uri: str, backbone: str, store: str
) -> pd.DataFrame:
    features = read_features(extract(backbone, uri, store, modality=modality), images["image_id"].tolist())
    reference = features[images["image_id"].isin(accepted).to_numpy()]
    shuffled = reference[np.random.default_rng(0).permutation(len(reference))]  # neighbours in the index are alike
    return images.assign(outlier_score=outlier_scores(features, shuffled))


def _write(dataset: Dataset, found: pd.DataFrame) -> None:
    file = storage.join(dataset.uri, FILE)
    rows = found[SCORES.names]
    if storage.exists(file):
        before = storage.read_table(file).to_pandas()
        rows = pd.concat([rows, before[~before["image_id"].isin(set(dataset.index()["image_id"]))]])
    rows = rows.sort_values("image_id", ignore_index=True)
    storage.write_table(pa.Table.from_pandas(rows, schema=SCORES, preserve_index=False), file)


def _tell(index: pd.DataFrame, found: pd.DataFrame, accepted: set[str], uri: str) -> None:
    for modality, group in index.groupby("modality"):
        scored = found[found["modality"] == modality]
        known = int(group["image_id"].isin(accepted).sum())
        if scored.empty:
            say(f"  {modality}: {len(group):,} images not scored, {known:,} of {LEAST} accepted in the audit")
            continue
        beyond = int((scored["outlier_score"] > 1).sum())
        say(f"  {modality}: {len(group):,} images scored by {known:,} accepted ones, {beyond:,} beyond 1")
    for row in found[found["outlier_score"] > 1].head(10).itertuples():
        say(f"  {row.outlier_score:9.2f}  {row.image_id}")
    outputs(
        {"scores": storage.join(storage.absolute(uri), FILE)},
        next_step=f"the same `orthoray ingest` again lists them for review; then orthoray audit {uri} --only review",
    )
