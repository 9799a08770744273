"""MRNet-v1.0 (Bien et al. 2018): ``{train,valid}/{axial,coronal,sagittal}/0000.npy`` and six CSV files without header.

Exams have a number and persons have none: every exam counts as a person of its own, and the card says so in
``patient_unit: exam``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

import pandas as pd

from orthoray.data.sources.files import SourceFiles
from orthoray.errors import InputError

PATH = re.compile(r"(?:.*/)?(?P<role>train|valid)/(?P<plane>axial|coronal|sagittal)/(?P<exam>\d{4})\.npy")
ROLES = ("train", "valid")
TASKS = ("abnormal", "acl", "meniscus")


class MrnetTables:
    """Makes the adapter's tables; each is made once."""

    def __init__(self, files: SourceFiles) -> None:
        self.files = files
        self.makers: dict[str, Callable[[], pd.DataFrame]] = {
            "exams": lambda: self.exams,
            "labels": lambda: self.labels,
        }

    @cached_property
    def exams(self) -> pd.DataFrame:
        """One row per file: ``file, exam, patient, study`` (the exam)``, series`` (exam, plane)``, plane, role``."""
        found = [(file, PATH.fullmatch(file)) for file in self.files.images]
        rows = [
            {"file": file, "exam": part["exam"], "patient": part["exam"], "study": part["exam"]}
            | {"series": f"{part['exam']}-{part['plane']}", "plane": part["plane"], "role": part["role"]}
            for file, part in found
            if part is not None
        ]
        columns = ["file", "exam", "patient", "study", "series", "plane", "role"]
        table = pd.DataFrame(rows, columns=columns, dtype=str)
        if table["series"].duplicated().any():
            raise InputError(f"{int(table['series'].duplicated().sum())} exam(s) are there twice in one plane.")
        return table

    @cached_property
    def labels(self) -> pd.DataFrame:
        """One row per exam: ``exam, role, abnormal, acl, meniscus`` (0, 1; empty where a file does not list the exam).

        Raises:
            InputError: a file is missing, a cell is not 0 or 1, or an exam occurs twice or in both roles.
        """
        parts = [self._role(role) for role in ROLES if self.files.matching(f"{role}-*.csv")]
        if not parts:
            raise InputError(f"{self.files.source}: no train-acl.csv. Give the folder MRNet-v1.0 with --source.")
        table = pd.concat(parts, ignore_index=True)
        if table["exam"].duplicated().any():
            raise InputError(f"{int(table['exam'].duplicated().sum())} exam(s) are in both train and valid.")
        return table

    def _role(self, role: str) -> pd.DataFrame:
        columns: dict[str, pd.Series] = {}
        for task in TASKS:
            sheet = self.files.read(f"{role}-{task}.csv", ["exam", task])
            exam = sheet.unique("exam")
            if not exam.str.fullmatch(r"\d{4}").all():
                raise InputError(f"{sheet.name}: exams are numbers of four digits, leading zeros included.")
            values = sheet.number(task, allowed=(0, 1)).map({0.0: "0", 1.0: "1"})
            columns[task] = pd.Series(values.to_numpy(), index=exam)
        table = pd.DataFrame(columns).fillna("")
        return table.rename_axis("exam").reset_index().assign(role=role)[["exam", "role", *TASKS]]
