"""A small archive as a hospital might hand it over, with planted faults and planted identities."""

import csv
from dataclasses import dataclass, field

import numpy as np
from tests.imaging.objects import save_dicom

from orthoray.config import parse_config
from orthoray.data.cards import DatasetCard

TOKENS = ["DOE", "JANE", "MRN77", "20150407", "20150507", "ST NOWHERE", "2.25.4242"]
"""Identities in headers, file names and tables; none may be in a dataset or in what a command prints."""

PATIENTS = 6
ECHOES = (10, 20)
SLICES = 3

CARD = {
    "name": "trial",
    "title": "Trial",
    "phi_source": True,
    "bilateral": "split",
    "short_side": 32,
    "screened": "review",
    "facts": [{"table": "labels.csv", "key": {"study": "study_uid"}, "columns": {"site": "site"}}],
    "labels": [
        {
            "task": "xr_kl",
            "unit": "image_id",
            "table": "labels.csv",
            "key": {"study": "study_uid", "laterality": "side"},
            "column": "kl",
            "when": {"modality": "XR"},
        },
        {
            "task": "mr_acl",
            "unit": "study_id",
            "table": "labels.csv",
            "key": {"study": "study_uid"},
            "column": "acl",
            "when": {"modality": "MR"},
        },
    ],
}


def card_with(**changes):
    """The card of the archive with some keys changed."""
    return parse_config(DatasetCard, CARD | changes, "test card")


@dataclass
class Archive:
    """Where the archive is, and how many files of each kind it holds."""

    root: object
    expected: dict = field(default_factory=dict)


def write_archive(root):
    """Write the archive below ``root``."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(PATIENTS):
        film = film_of(patient, rng)
        xr, mr = f"2.25.4242{patient}1", f"2.25.4242{patient}2"
        _film(root / f"MRN77-{patient}" / "film.dcm", film, patient, xr)
        if patient == 0:
            _film(root / "MRN77-0" / "again.dcm", film, patient, xr)
        _stacks(root / f"MRN77-{patient}", patient, mr, rng)
        for side, grade in (("R", patient % 5), ("L", (patient + 1) % 5)):
            rows.append({"study_uid": xr, "side": side, "modality": "XR", "site": "north", "kl": grade})
        rows.append({"study_uid": mr, "side": "L", "modality": "MR", "site": "south", "acl": patient % 2})
    _awkward(root, rng)
    rows.append({"study_uid": "2.25.424299", "side": "R", "modality": "XR", "site": "north", "kl": 3})
    rows.append({"study_uid": "2.25.424298", "side": "R", "modality": "XR", "site": "north", "kl": ""})
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["study_uid", "side", "modality", "site", "kl", "acl"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    reasons = {
        ("read", "not_dicom"): 1,
        ("select", "localiser"): 1,
        ("select", "modality"): 1,
        ("select", "no_patient"): 2,
        ("decode", "not_decodable"): 2,
        ("quality", "blank"): 2,
        ("duplicates", "same_pixels"): 2,
    }
    return Archive(root, reasons)


def film_of(patient, rng):
    """Stored values of a film: the image-left half (right knee) is dark, the other one bright."""
    film = rng.integers(0, 400, (64, 96)).astype(np.uint16)
    film[:, 48:] += np.uint16(2000 + patient)
    return film


def _film(path, film, patient, study, **extra):
    save_dicom(
        path, film, "DX", StudyInstanceUID=study, SeriesInstanceUID=study + ".1", ImagerPixelSpacing=[0.2, 0.2],
        BodyPartExamined="KNEE", ViewPosition="AP", WindowCenter=1500, WindowWidth=3000,
        **(identity(patient) | extra),
    )  # fmt: skip


def identity(patient):
    """What the header says about the person."""
    return {
        "PatientID": f"MRN77-{patient}",
        "PatientName": "DOE^JANE",
        "StudyDate": "20150407",
        "PatientAge": "095Y",
        "PatientSex": "F",
        "InstitutionName": "ST NOWHERE",
        "StudyDescription": "KNEE OF JANE DOE",
        "Manufacturer": "Maker",
    }


def _stacks(folder, patient, study, rng):
    """Two echoes in one series, numbered out of their spatial order; the mean grey tells the place."""
    for echo in ECHOES:
        for place in rng.permutation(SLICES):
            image = rng.integers(0, 100, (40, 40)).astype(np.uint16) + np.uint16(300 * (place + 1) + echo)
            save_dicom(
                folder / f"e{echo}" / f"{rng.integers(1e9)}.dcm", image, "MR", StudyInstanceUID=study,
                SeriesInstanceUID=study + ".1", InstanceNumber=(2, 3, 1)[place], EchoTime=echo,
                ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[-3.0 * place, 0, 0],
                PixelSpacing=[0.5, 0.5], WindowCenter=600, WindowWidth=1200, BodyPartExamined="KNEE", Laterality="L",
                **(identity(patient) | {"StudyDate": "20150507"}),
            )  # fmt: skip


def _awkward(root, rng):
    """A cut-off film, a blank one, one without a patient, a planning image, a CT and a text."""
    film = film_of(50, rng)
    _film(root / "odd" / "cut.dcm", film, 1, "2.25.424271")
    content = (root / "odd" / "cut.dcm").read_bytes()
    (root / "odd" / "cut.dcm").write_bytes(content[:-500])
    _film(root / "odd" / "blank.dcm", np.full((64, 96), 7, np.uint16), 1, "2.25.424272")
    _film(root / "odd" / "nobody.dcm", film_of(51, rng), 1, "2.25.424273", PatientID="")
    save_dicom(
        root / "odd" / "plan.dcm", film, "MR", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **identity(2)
    )  # fmt: skip
    save_dicom(root / "odd" / "ct.dcm", film, "CT", **identity(2))
    (root / "odd" / "text.dcm").write_text("JANE DOE")
