"""fastMRI knee volumes (HDF5) and the findings of fastMRI+ (Zhao et al. 2022).

Volumes are told apart by their file names; persons only by the attribute ``patient_id``, because one person may have
several volumes. fastMRI+ drew its boxes on images flipped up–down; ``slice`` is the 0-based index in the volume.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from orthoray import storage
from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.options import FASTMRI_LABELS, FastmriOptions
from orthoray.errors import InputError
from orthoray.imaging.files import UnreadableImageError

REVIEWED = "knee_file_list.csv"
FOUND = "knee.csv"
FAT_SUPPRESSED = {"CORPDFS_FBK": "1", "CORPD_FBK": "0"}


class FastmriTables:
    """Makes the adapter's tables; each is made once."""

    def __init__(self, files: SourceFiles, options: FastmriOptions) -> None:
        self.files, self.options = files, options
        self.makers: dict[str, Callable[[], pd.DataFrame]] = {
            "volumes": lambda: self.volumes,
            "findings": lambda: self.findings,
        }

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """One row per HDF5 file.

        ``file, volume`` (name without suffix)``, patient`` (attribute)``, study, series`` (the volume)``, plane`` (all
        are coronal)``, fat_suppressed`` (1, 0 or empty)``, role`` (train, val, test or challenge)``, exclude``: a
        single-coil file of which the multi-coil one is there too is the same images.

        Raises:
            InputError: no file has the attribute ``patient_id``.
        """
        rows = [self._volume(file) for file in self.files.images if file.lower().endswith((".h5", ".hdf5"))]
        columns = ["file", "volume", "patient", "study", "series", "plane", "fat_suppressed", "role", "exclude"]
        table = pd.DataFrame(rows, columns=columns, dtype=str)
        if len(table) and not (table["patient"] != "").any():
            raise InputError("no HDF5 file has the attribute 'patient_id': persons cannot be told apart.")
        single = table["file"].str.contains("singlecoil_")
        several = table.loc[table["file"].str.contains("multicoil_"), "volume"]
        table["exclude"] = np.where(single & table["volume"].isin(several), "same_volume", "")
        return table

    def _volume(self, file: str) -> dict[str, str]:
        from orthoray.imaging.containers import hdf5_attributes

        try:
            attributes = hdf5_attributes(storage.join(self.files.source, file))
        except UnreadableImageError:  # reading its header again will say why
            attributes = {}
        stem = PurePosixPath(file).stem
        folder = PurePosixPath(file).parent.name
        return {
            "file": file,
            "volume": stem,
            "patient": attributes.get("patient_id", ""),
            "study": stem,
            "series": stem,
            "plane": "coronal",
            "fat_suppressed": FAT_SUPPRESSED.get(attributes.get("acquisition", ""), ""),
            "role": folder.rpartition("_")[2] if "coil_" in folder else "",
        }

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row per volume that fastMRI+ reviewed, with a column per finding.

        ``volume, boxed`` (rows of knee.csv, exact duplicates once)``, artifact`` (1 where the whole volume is
        marked)``, <finding>`` (1: at least one of its labels; 0: reviewed, none) and ``<finding>_boxes``: JSON, a
        sorted list of ``[slice, x, y, width, height]`` in pixels of the volume's own orientation (row 0 on top); a
        box without extent marks a finding, and is no box.

        Raises:
            InputError: a file is missing, a volume has findings but is not in the list of those reviewed, a label is
                unknown, or a box is no box.
        """
        reviewed = self.reviewed
        found = self.boxes
        strangers = set(found["file"]) - set(reviewed)
        if strangers:
            raise InputError(f"{FOUND}: {len(strangers)} volume(s) with findings are not in {REVIEWED}.")
        table = pd.DataFrame({"volume": reviewed})
        table["boxed"] = table["volume"].map(found.groupby("file").size()).fillna(0).astype(int).astype(str)
        table["artifact"] = _flags(table["volume"], found[found["study_level"]])
        for name, labels in self.options.findings.items():
            rows = found[found["label"].isin(labels)]
            table[name] = _flags(table["volume"], rows)
            drawn = rows[~rows["study_level"] & (rows["width"] > 0) & (rows["height"] > 0)]
            boxes = drawn.groupby("file")[["slice", "x", "y", "width", "height"]]
            text = {volume: json.dumps(sorted(part.astype(int).to_numpy().tolist())) for volume, part in boxes}
            table[f"{name}_boxes"] = table["volume"].map(text).fillna("")
        return table

    @cached_property
    def reviewed(self) -> list[str]:
        """Names of the reviewed volumes; the list has no header line."""
        sheet = self.files.read(f"{self.files.folder}/{REVIEWED}", ["volume"])
        return sorted(sheet.unique("volume"))

    @cached_property
    def boxes(self) -> pd.DataFrame:
        """Rows of knee.csv once each: ``file, slice, study_level`` (bool)``, x, y, width, height, label``.

        Blanks around labels are dropped. ``y`` is turned back: ``height of the slice − y − height of the box``. Boxes
        are cut at the edge of the slice (some start a pixel beyond it).
        """
        sheet = self.files.read(f"{self.files.folder}/{FOUND}")
        numbers = {name: sheet.number(name) for name in ("slice", "x", "y", "width", "height")}
        level = sheet.text("study_level").str.lower()
        if not level.isin(["yes", "no"]).all():
            raise InputError(f"{sheet.name}: cells of column 'study_level' are Yes or No.")
        table = pd.DataFrame(
            {"file": sheet.text("file"), "study_level": level == "yes", **numbers, "label": sheet.text("label")}
        ).drop_duplicates(ignore_index=True)
        boxed = ~table["study_level"]
        rows = table["file"].map(self._heights(table["file"].unique())).astype(float)
        wrong = table["slice"].isna() | ~table["label"].isin(FASTMRI_LABELS)
        right, low = table["x"] + table["width"], table["y"] + table["height"]
        inside = (right >= 0) & (low >= 0) & (table["y"] < rows) & (table["width"] >= 0) & (table["height"] >= 0)
        wrong |= boxed & ~(inside & (low <= rows))
        if wrong.any():
            raise InputError(f"{sheet.name}: {int(wrong.sum())} row(s) are no known finding, or no box within a slice.")
        left, top = table["x"].clip(lower=0), table["y"].clip(lower=0)
        table["x"], table["width"] = left, right - left
        table["y"], table["height"] = (rows - low).where(boxed), low - top
        return table

    def _heights(self, volumes: Any) -> dict[str, int]:
        """Rows of a slice of each volume: asked of the file where it is there, else the option `height`."""
        known = {
            PurePosixPath(file).stem: file for file in self.files.images if file.lower().endswith((".h5", ".hdf5"))
        }
        return {name: self._height(known[name]) if name in known else self.options.height for name in volumes}

    def _height(self, file: str) -> int:
        import h5py

        with storage.open_file(storage.join(self.files.source, file)) as handle:
            try:
                with h5py.File(handle, "r") as volume:
                    names = [name for name in ("reconstruction_rss", "reconstruction_esc") if name in volume]
                    return int(volume[names[0]].shape[1]) if names else self.options.height
            except (OSError, ValueError):
                return self.options.height


def _flags(volumes: pd.Series, rows: pd.DataFrame) -> pd.Series:
    return volumes.isin(set(rows["file"])).map({True: "1", False: "0"})
