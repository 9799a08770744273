"""A cohort in a folder: made once, and known again."""

from __future__ import annotations

from pathlib import Path

from orthoray import storage
from orthoray.config import config_hash
from orthoray.data.phantom.config import PhantomConfig
from orthoray.data.phantom.write import write_cohort
from orthoray.errors import InputError
from orthoray.progress import Progress, say

MARKER = "cohort.json"
"""Written last."""


def make_cohort(folder: Path, config: PhantomConfig) -> None:
    """Write a cohort, with a progress bar; nothing is done if it is there.

    Raises:
        InputError: the folder holds another cohort; see `write_cohort`.
    """
    marker = folder / MARKER
    if marker.is_file():
        if storage.read_json(str(marker)).get("config_hash") != config_hash(config):
            raise InputError(
                f"{folder} holds a cohort with another seed, size or look. Give another folder, or remove it."
            )
        say("  already there")
        return
    with Progress(None, "writing", "exams") as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.advance(done - bar.done)

        write_cohort(folder, config, progress=on_progress)
    storage.write_json(str(marker), {"config_hash": config_hash(config)})
