"""Write a cohort: DICOM files and the tables that tell the truth about them."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orthoray import storage
from orthoray.data.phantom import dicom
from orthoray.data.phantom.cohort import Exam, exams
from orthoray.data.phantom.config import SIGNS, PhantomConfig
from orthoray.data.phantom.film import draw_film
from orthoray.data.phantom.mr import PLANES, draw_stack
from orthoray.errors import InputError

NAMES = ["patient_id", "visit", "side", "site", "modality", "body_part", "study_uid", "age", "sex"]
NAMES += ["days_from_baseline"]
LABELS = ["kl", "kl48", "kl96", "tkr", "acl", "pcl", "mcl", "lcl", "meniscus", "pd", "mpfl", "bone", "cartilage"]
LABELS += ["labrum", "supraspinatus", "atfl", "cfl"]
PLACES = [f"{side}_{what}" for side in ("r", "l") for what in ("joint_x", "joint_y", "joint_space")]
TRUTH = ["sop_instance_uid", "study_uid", "plane", "slice_code", "disc", "monochrome1", *PLACES]
BOXES = ["study_uid", "side", "task", "sop_instance_uid", "x0", "y0", "x1", "y1"]
TASKS = {"kl": "xr_kl", "meniscus": "mr_men", "cartilage": "mr_cart", "labrum": "hip_lab", "supraspinatus": "sho_rc"}
TASKS |= {"atfl": "ank_atfl", "cfl": "ank_cfl"}
"""Finding → task where the task is not called ``mr_`` and the finding."""

PARTIAL = ".partial"
Row = dict[str, Any]


def write_cohort(
    root: str | Path, config: PhantomConfig, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write a cohort; equal configurations give equal files.

    Args:
        root: local folder; gets ``dicom/**/*.dcm``, ``tables/labels.csv`` (one row per examination and side; an empty
            cell = no label), ``tables/truth.csv`` (per image: bar code, side of the disc, polarity; for films the
            medial joint space of each knee: x, y and width in pixels) and ``tables/boxes.csv`` (drawn lesions in
            pixels of the stored image). All of it appears at the end; an interrupted run leaves ``.partial``.
        config: see `PhantomConfig`.
        progress: called with (examinations done, all examinations).

    Returns:
        Counts: ``patients, exams, images`` and, of further files that a good ingest drops, ``unreadable, localisers,
        duplicates``.

    Raises:
        InputError: ``root`` is not local or holds a cohort, or more awkward files are asked for than there are
            examinations to make them from.
    """
    folder = storage.local_path(root)
    if folder is None:
        raise InputError(f"{root}: a phantom cohort is written to a local folder; give a path on this machine.")
    if any((folder / name).exists() for name in ("dicom", "tables")):
        raise InputError(f"{root}: holds a cohort already. Give another folder, or remove it.")
    planned = list(exams(config))
    films = [exam for exam in planned if exam.modality == "XR"]
    scans = [exam for exam in planned if exam.modality == "MR"]
    _check(config, films, scans)
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    writer = _Writer(partial / "dicom", config, films)
    for number, exam in enumerate(planned):
        writer.exam(exam)
        if progress is not None:
            progress(number + 1, len(planned))
    extra = writer.awkward(films, scans)
    for name, columns, rows in (
        ("labels", NAMES + LABELS, writer.labels),
        ("truth", TRUTH, writer.truth),
        ("boxes", BOXES, writer.boxes),
    ):
        storage.write_bytes(partial / "tables" / f"{name}.csv", _csv(columns, rows))
    for name in ("dicom", "tables"):
        (partial / name).rename(folder / name)
    partial.rmdir()
    return {"patients": config.patients, "exams": len(planned), "images": len(writer.truth), **extra}


class _Writer:
    """Draws and saves examinations, and collects the tables' rows."""

    def __init__(self, folder: Path, config: PhantomConfig, films: list[Exam]) -> None:
        self.folder, self.config = folder, config
        folder.mkdir(parents=True)
        order = np.random.default_rng((config.seed, 0, 6)).permutation(len(films))[: config.monochrome1]
        self.inverted = {dicom.study_uid(films[index], config) for index in order}
        self.labels: list[Row] = []
        self.truth: list[Row] = []
        self.boxes: list[Row] = []

    def exam(self, exam: Exam) -> None:
        """One examination with its rows."""
        if exam.modality == "XR":
            self._film(exam)
        else:
            self._stacks(exam)
        self.labels.extend(label_row(exam, side, self.config) for side in exam.sides)

    def awkward(self, films: list[Exam], scans: list[Exam]) -> dict[str, int]:
        """Files that a real archive also holds: cut off, planning images, sent twice."""
        config = self.config
        for exam in films[: config.unreadable]:
            film, _ = draw_film(exam, config)
            path = self._save(dicom.film_object(film, exam, config, inverted=False, copy=101))
            path.write_bytes(path.read_bytes()[: -film.size])
        for exam in scans[: config.localisers]:
            image, _ = draw_stack(exam, "coronal", config)[0]
            self._save(dicom.slice_object(image, exam, config, "coronal", 0, kind="LOCALIZER"))
        for exam in films[: config.duplicates]:
            film, _ = draw_film(exam, config)
            self._save(dicom.film_object(film, exam, config, inverted=self._is_inverted(exam), copy=102))
        return {
            "unreadable": config.unreadable,
            "localisers": config.localisers,
            "duplicates": config.duplicates,
        }

    def _film(self, exam: Exam) -> None:
        film, knees = draw_film(exam, self.config)
        saved = dicom.film_object(film, exam, self.config, inverted=self._is_inverted(exam))
        self._save(saved)
        row = self._row(saved, "", "", "right", int(self._is_inverted(exam)))
        for knee in knees:
            values = (f"{value:.2f}" for value in (knee.x, knee.y, knee.space))
            columns = (f"{knee.side.lower()}_{what}" for what in ("joint_x", "joint_y", "joint_space"))
            row.update(zip(columns, values, strict=True))
            if knee.box:
                self._box(saved, knee.side, "kl", knee.box)
        self.truth.append(row)

    def _stacks(self, exam: Exam) -> None:
        for plane in PLANES:
            for index, (image, boxes) in enumerate(draw_stack(exam, plane, self.config)):
                saved = dicom.slice_object(image, exam, self.config, plane, index)
                self._save(saved)
                self.truth.append(self._row(saved, plane, index, "none" if plane == "sagittal" else "right", 0))
                for finding, corners in boxes:
                    self._box(saved, exam.sides, finding, corners)

    def _row(self, saved: Any, *facts: object) -> Row:
        return dict(zip(TRUTH, (str(saved.SOPInstanceUID), str(saved.StudyInstanceUID), *facts), strict=False))

    def _box(self, saved: Any, side: str, finding: str, corners: tuple[float, ...]) -> None:
        assert finding in SIGNS, finding
        task = TASKS.get(finding, f"mr_{finding}")
        values = (str(saved.StudyInstanceUID), side, task, str(saved.SOPInstanceUID), *(f"{v:.1f}" for v in corners))
        self.boxes.append(dict(zip(BOXES, values, strict=True)))

    def _is_inverted(self, exam: Exam) -> bool:
        return dicom.study_uid(exam, self.config) in self.inverted

    def _save(self, dataset: Any) -> Path:
        return dicom.save(dataset, self.folder, self.config)


def label_row(exam: Exam, side: str, config: PhantomConfig) -> Row:
    """The row of labels.csv of one side of an examination."""
    patient = exam.patient
    return {
        "patient_id": patient.patient_id,
        "visit": exam.visit,
        "side": side,
        "site": f"site{patient.site}",
        "modality": exam.modality,
        "body_part": exam.body_part,
        "study_uid": dicom.study_uid(exam, config),
        "age": patient.age + exam.visit // 12,
        "sex": patient.sex,
        "days_from_baseline": dicom.days_from_baseline(exam),
        **exam.labels[side],
    }


def _check(config: PhantomConfig, films: list[Exam], scans: list[Exam]) -> None:
    if not films and not scans:
        raise InputError(
            "phantom: these shares, joints and modalities leave no examination; raise patients or a share."
        )
    for name, count, source, what in (
        ("monochrome1", config.monochrome1, films, "films"),
        ("unreadable", config.unreadable, films, "films"),
        ("duplicates", config.duplicates, films, "films"),
        ("localisers", config.localisers, scans, "MRI"),
    ):
        if count > len(source):
            raise InputError(f"phantom: {name}={count}, but the cohort has {len(source)} {what}. Lower it.")


def _csv(columns: list[str], rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
