"""Feature store: every image of a dataset through frozen encoders once, by Ray Data, kept as Parquet."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orthoray import storage
from orthoray.config import Auto
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError, RunError
from orthoray.features import Pooling, Precision
from orthoray.features.encoders import EncoderSpec, checkpoint_spec, pixel_spec
from orthoray.features.pixels import PIXEL_SIDE
from orthoray.features.writer import ROWS_PER_FILE, FeatureWriter, actor_plan
from orthoray.progress import Progress

META = "meta.json"
"""Written last: a feature folder without it is not complete and is made again."""


def extract(
    checkpoint_uri: str,
    dataset_uri: str,
    store_uri: str,
    pooling: Pooling = "cls+mean",
    resolution: int | Auto = "auto",
    modality: str | None = None,
    batch_size: int = 64,
    precision: Precision = "fp32",
) -> str:
    """Features of a checkpoint for all images of a dataset (of one ``modality``, if given).

    Returns:
        URI of the feature folder: Parquet files of ``image_id`` and ``feature`` (fixed-size list of float16) and
        ``meta.json``. The folder's name is a hash of (checkpoint content, dataset_id, layers, pooling,
        resolution, precision, modality); a complete one is returned without any work.

    Raises:
        InputError: checkpoint or dataset missing, or no image of that modality. RunError: counts out != counts in,
            or features that are not finite.
    """
    spec = checkpoint_spec(checkpoint_uri, pooling, resolution, precision)
    return extract_all([spec], dataset_uri, store_uri, modality=modality, batch_size=batch_size)[0]


def extract_pixels(dataset_uri: str, store_uri: str, side: int = PIXEL_SIDE, modality: str | None = None) -> str:
    """Grey ``side`` x ``side`` thumbnails of all images as a feature folder; see `extract`."""
    return extract_all([pixel_spec(side)], dataset_uri, store_uri, modality=modality)[0]


def extract_all(
    specs: Sequence[EncoderSpec],
    dataset_uri: str,
    store_uri: str,
    modality: str | None = None,
    batch_size: int = 64,
) -> list[str]:
    """Make the missing ones of several feature folders in one pass over the images; one URI per spec, in order."""
    dataset = Dataset(dataset_uri)
    dataset_id = str(dataset.manifest["dataset_id"])
    folders = [storage.join(storage.absolute(store_uri), spec.key(dataset_id, modality)) for spec in specs]
    todo = {f: s for f, s in zip(folders, specs, strict=True) if not storage.exists(storage.join(f, META))}
    if todo:
        wanted = _image_ids(dataset, modality)
        _run(dataset, wanted, todo, modality, batch_size)
    return folders


def read_features(folder_uri: str, image_ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """Features of the given images, (N, D), in the order asked for; RunError names how many are missing."""
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

    meta = storage.read_json(storage.join(folder_uri, META))
    filesystem, path = storage.arrow_fs(folder_uri)
    files = [f"{path.rstrip('/')}/{name}" for name in meta["files"]]
    wanted = pa.array(list(image_ids), pa.string())
    table = pads.dataset(files, filesystem=filesystem, format="parquet").to_table(
        filter=pc.field("image_id").isin(wanted)
    )
    position = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
    missing = [image_id for image_id in image_ids if image_id not in position]
    if missing or len(position) != table.num_rows:
        raise RunError(
            f"{folder_uri}: {len(missing)} of {len(image_ids)} images have no feature and "
            f"{table.num_rows - len(position)} occur twice. Remove the folder; it is made again."
        )
    values = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    rows = values.reshape(table.num_rows, int(meta["dim"])).astype(np.float32)
    return np.asarray(rows[[position[image_id] for image_id in image_ids]])


def _image_ids(dataset: Dataset, modality: str | None) -> set[str]:
    index = dataset.index()
    if modality is not None:
        index = index[index["modality"] == modality]
    if not len(index):
        raise InputError(f"{dataset.uri}: no image{f' of modality {modality}' if modality else ''} to encode.")
    return set(index["image_id"].astype(str))


def _run(
    dataset: Dataset, wanted: set[str], todo: dict[str, EncoderSpec], modality: str | None, batch_size: int
) -> None:
    from orthoray.cluster.session import connect

    connect()
    nonce = uuid.uuid4().hex[:8]
    temporary = {folder: f"{folder}.{nonce}.tmp" for folder in todo}
    try:
        parts = _encode(dataset, len(wanted), {temporary[f]: s for f, s in todo.items()}, modality, batch_size)
        for folder, spec in todo.items():
            _finish(dataset, wanted, temporary[folder], folder, spec, parts, modality)
    finally:
        for folder in temporary.values():
            storage.remove_tree(folder)


def _encode(
    dataset: Dataset, total: int, todo: dict[str, EncoderSpec], modality: str | None, batch_size: int
) -> list[str]:
    """Run the Ray Data pipeline; return the names of the files written (the same names under every folder)."""
    import ray

    plan = actor_plan(-(-total // ROWS_PER_FILE))
    files = [storage.absolute(uri) for uri in dataset.image_files()]
    filesystem = storage.arrow_fs(files[0])[0]
    columns = ["image_id", "modality", "codec", "pixels"]
    data = ray.data.read_parquet([storage.arrow_fs(f)[1] for f in files], columns=columns, filesystem=filesystem)
    result = data.repartition(target_num_rows_per_block=ROWS_PER_FILE).map_batches(
        FeatureWriter,
        fn_constructor_args=(todo, modality, batch_size, plan.threads, plan.device),
        batch_size=ROWS_PER_FILE,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=plan.actors),
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
    )
    names: list[str] = []
    with Progress(total, f"features ({len(todo)} encoder{'s' if len(todo) > 1 else ''})", "img") as bar:
        for row in result.iter_rows():
            names.extend([row["file"]] if row["rows"] else [])
            bar.advance(row["rows"])
    return sorted(set(names))


def _finish(
    dataset: Dataset,
    wanted: set[str],
    temporary: str,
    folder: str,
    spec: EncoderSpec,
    names: list[str],
    modality: str | None,
) -> None:
    """Count, write ``meta.json``, and move the folder to its name."""
    tables = [storage.read_table(storage.join(temporary, name)) for name in names]
    found = [str(i) for table in tables for i in table["image_id"].to_pylist()]
    if len(found) != len(wanted) or set(found) != wanted:
        raise RunError(
            f"features of {dataset.uri}: {len(wanted)} images in, {len(found)} rows out "
            f"({len(set(found))} different, {len(wanted - set(found))} missing). The dataset's index and its image "
            "files disagree; run `orthoray ingest` again."
        )
    meta = {
        "spec": asdict(spec),
        "dataset_id": dataset.manifest["dataset_id"],
        "modality": modality,
        "images": len(found),
        "dim": tables[0]["feature"].type.list_size,
        "files": names,
    }
    storage.write_json(storage.join(temporary, META), meta)
    if storage.exists(storage.join(folder, META)):
        return  # another process was first with the same content
    storage.remove_tree(folder)
    storage.rename(temporary, folder)
