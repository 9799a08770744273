"""The folder beside a dataset in which it is built: what of it is used again, and when it takes the dataset's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.failures import WorkerError
from orthoray.data.master import MASTER
from orthoray.data.schema import IMAGES, REJECTED, REPORT
from orthoray.data.state import FOLDER, REPORTS, TIERS
from orthoray.data.survey import SURVEY
from orthoray.errors import InputError, OrthoRayError, RunError, is_full_disk
from orthoray.progress import say

SURVEYED = f"{FOLDER}/survey"
SCHEMAS = {
    "images": IMAGES,
    "rejected": REJECTED,
    "master": MASTER,
    REPORTS: REPORT,
    SURVEYED: pa.schema([field for field in SURVEY if field.name != "file"]),
}
"""Folders of a dataset whose files the next run uses again → their columns."""


@contextmanager
def staged(out: str, *, update: bool) -> Iterator[str]:
    """Give the folder to build a dataset in; when the work is done, it takes the place of ``out``.

    What an interrupted run has left there is used again, else the files of the dataset that is brought up to date.
    After a failure the folder stays for the next run, unless the disk is full or the failure says that nothing was
    kept.

    Args:
        out: folder of the dataset.
        update: is there a dataset whose files may be used again?

    Raises:
        RunError: in place of an InputError, for work has been done by then.
    """
    staging, old = f"{out}.partial", f"{out}.old"
    _prepare(staging, out if update else "")
    try:
        yield staging
        for rest in storage.list_files(staging, ".tmp"):  # of a worker that was killed
            storage.remove_tree(rest)
        storage.remove_tree(old)
        if storage.exists(out):
            storage.rename(out, old)
        storage.rename(staging, out)
    except (InputError, WorkerError) as error:
        kept = f"What was finished is kept in {staging}; the same command goes on with it."
        raise (RunError if isinstance(error, InputError) else type(error))(f"{error} {kept}") from None
    except (OrthoRayError, OSError) as error:
        if isinstance(error, OrthoRayError) or is_full_disk(error):
            with suppress(OSError):
                storage.remove_tree(staging)
        raise
    finally:
        if storage.exists(old) and not storage.exists(out):
            storage.rename(old, out)
        storage.remove_tree(old)


def usable(folder: str) -> bool:
    """Are all files that a run would use again whole, and of the columns that this version writes?"""
    for name, schema in SCHEMAS.items():
        for uri in storage.list_files(storage.join(folder, name), ".parquet"):
            filesystem, path = storage.arrow_fs(uri)
            try:
                found = pq.read_schema(path, filesystem=filesystem)
            except (pa.ArrowException, OSError):
                return False
            same = sorted(found.names) == sorted(schema.names) if name == SURVEYED else found.equals(schema)
            if not same:
                return False
    return True


def _prepare(staging: str, dataset: str) -> None:
    if storage.exists(staging):
        if usable(staging):
            say(f"  going on with what an earlier run left in {staging}")
            return
        say(
            f"  {staging} is damaged, or another version of OrthoRay left it: it is removed, and all is made afresh "
            "(nothing of the source is lost)"
        )
        storage.remove_tree(staging)
    if dataset:
        storage.clone_tree(dataset, staging)
        storage.remove_tree(storage.join(staging, "manifest.json"))
        if not usable(staging):
            say(f"  files of {dataset} are damaged, or of another version of OrthoRay: all is made afresh")
            for name in (FOLDER, *TIERS):
                storage.remove_tree(storage.join(staging, name))
