"""Patients, sites, visits and findings of the phantom cohort."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orthoray.data.phantom.config import JOINT_FINDINGS, PhantomConfig

VISITS = (0, 48, 96)
"""Months after the first visit."""

KL_SHARES = (0.26, 0.2, 0.22, 0.18, 0.14)
PROGRESS = (0.12, 0.2, 0.3, 0.3, 0.0)
"""Probability that a knee of grade 0 … 4 gets one grade worse in 48 months."""

TKR_RATE = (0.01, 0.03, 0.08, 0.35, 0.75)
"""Probability of a total knee replacement by grade at the first visit."""


@dataclass(frozen=True)
class Patient:
    """A synthetic person. ``seed`` makes the anatomy; ``bilateral``, ``followed`` and ``scanned`` what is imaged."""

    number: int
    site: int
    sex: str
    age: int
    seed: int
    bilateral: bool
    followed: bool
    scanned: tuple[str, ...]

    @property
    def patient_id(self) -> str:
        """``PHANTOM-000123``."""
        return f"PHANTOM-{self.number:06d}"


@dataclass(frozen=True)
class Exam:
    """One examination: a film of one or both knees, or an MRI of one joint.

    ``sides``: ``RL``, ``R`` or ``L``. ``labels``: side → columns of labels.csv (films: ``kl`` at this visit and, at the
    first, what becomes of the knee; MRI: finding → class).
    """

    patient: Patient
    modality: str
    body_part: str
    sides: str
    visit: int
    labels: dict[str, dict[str, int]] = field(default_factory=dict)


def exams(config: PhantomConfig) -> Iterator[Exam]:
    """All examinations of a cohort, patient by patient."""
    for patient in patients(config):
        rng = np.random.default_rng((config.seed, patient.number, 1))
        if "XR" in config.modalities and "knee" in config.joints:
            yield from _films(config, patient, rng)
        for joint in patient.scanned:
            yield _mri(config, patient, joint, rng)


def patients(config: PhantomConfig) -> list[Patient]:
    """The patients of a cohort, numbered from 1."""
    bilateral, followed = _chosen(config, 1, config.bilateral), _chosen(config, 2, config.follow_up)
    scanned: dict[str, npt.NDArray[np.bool_]] = {}
    if "MR" in config.modalities:
        for joint in config.joints:
            share = config.knee_mri if joint == "knee" else config.other_joints
            scanned[joint] = _chosen(config, 10 + list(JOINT_FINDINGS).index(joint), share)
    people = []
    for index in range(config.patients):
        rng = np.random.default_rng((config.seed, index + 1, 0))
        people.append(
            Patient(
                number=index + 1,
                site=int(rng.integers(config.sites)),
                sex=("F", "M")[int(rng.integers(2))],
                age=int(rng.integers(45, 80)),
                seed=int(rng.integers(1 << 31)),
                bilateral=bool(bilateral[index]),
                followed=bool(followed[index]),
                scanned=tuple(joint for joint, chosen in scanned.items() if chosen[index]),
            )
        )
    return people


def _chosen(config: PhantomConfig, stream: int, share: float) -> npt.NDArray[np.bool_]:
    """Exactly ``share`` of the patients, rounded, at random."""
    order = np.random.default_rng((config.seed, 0, stream)).permutation(config.patients)
    return np.asarray(order < round(share * config.patients))


def _films(config: PhantomConfig, patient: Patient, rng: np.random.Generator) -> Iterator[Exam]:
    first = int(rng.choice(5, p=_shares(config, patient)))
    second = int(np.clip(first + rng.choice((-1, 0, 0, 1)), 0, 4))
    courses = {"R": _course(first, rng), "L": _course(second, rng)}
    rates = {side: min(0.98, config.tkr_rate * TKR_RATE[grades[0]]) for side, grades in courses.items()}
    tkr = {side: int(rng.random() < rate) for side, rate in rates.items()}
    sides = "RL" if patient.bilateral else "RL"[int(rng.integers(2))]
    for index, visit in enumerate(VISITS if patient.followed else VISITS[:1]):
        labels = {}
        for side in sides:
            grades = courses[side]
            later = {"kl48": grades[1], "kl96": grades[2], "tkr": tkr[side]} if visit == 0 else {}
            labels[side] = {"kl": grades[index], **later}
        yield Exam(patient, "XR", "knee", sides, visit, labels)


def _course(grade: int, rng: np.random.Generator) -> list[int]:
    """KL grade at the three visits; it never gets better."""
    grades = [grade]
    for _ in VISITS[1:]:
        grades.append(min(4, grades[-1] + int(rng.random() < PROGRESS[grades[-1]])))
    return grades


def _mri(config: PhantomConfig, patient: Patient, joint: str, rng: np.random.Generator) -> Exam:
    side = "RL"[int(rng.integers(2))]
    rate = float(np.clip(config.lesion_rate + 0.9 * config.confounder * _place(config, patient), 0.02, 0.98))
    findings = {name: int(rng.random() < rate) for name in JOINT_FINDINGS[joint]}
    if "supraspinatus" in findings:  # normal, degeneration, tear
        findings["supraspinatus"] = int(rng.integers(1, 3)) if rng.random() < min(0.98, 1.5 * rate) else 0
    return Exam(patient, "MR", joint, side, 0, {side: findings})


def _shares(config: PhantomConfig, patient: Patient) -> npt.NDArray[np.float64]:
    """KL distribution at the patient's site: with a confounder, later sites see worse knees."""
    tilt = 4.0 * config.confounder * _place(config, patient) * np.linspace(-1.0, 1.0, 5)
    shares = np.array(KL_SHARES) * np.exp(tilt)
    return np.asarray(shares / shares.sum())


def _place(config: PhantomConfig, patient: Patient) -> float:
    """Place of the patient's site among the sites, -0.5 … 0.5."""
    return patient.site / (config.sites - 1) - 0.5 if config.sites > 1 else 0.0
