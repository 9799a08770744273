"""The phantom cohort as it is written: DICOM files read back through the pixel chain of the ingest, and the tables."""

import csv
import hashlib
import re
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.uid import UID
from tests.data.test_phantom_drawing import width_of_gap

from orthoray.data.phantom import PhantomConfig, disc_side, read_slice_code, write_cohort
from orthoray.data.phantom.cohort import exams
from orthoray.data.phantom.film import draw_film
from orthoray.errors import InputError
from orthoray.imaging import UnreadableImageError, read_display, read_facts

pytestmark = pytest.mark.slow

CONFIG = PhantomConfig(
    patients=10, sites=3, mr_size=64, slices=3, monochrome1=4, duplicates=2, unreadable=1, localisers=2
)
SMALL = {"patients": 3, "mr_size": 64, "slices": 3, "film_height": 120, "film_width": 200, "monochrome1": 1}
SMALL |= {"localisers": 1, "knee_mri": 1.0}
TASKS = Path(__file__).parents[2] / "datasets" / "tasks"


class Cohort:
    """A written cohort: headers and pixels by SOP instance, tables as lists of rows."""

    def __init__(self, root):
        self.root, self.counts = root, write_cohort(root, CONFIG)
        self.files = sorted(root.rglob("*.dcm"))
        self.headers = {file: pydicom.dcmread(file) for file in self.files}
        self.path_of = {str(header.SOPInstanceUID): file for file, header in self.headers.items()}
        self.labels, self.truth, self.boxes = (rows_of(root, name) for name in ("labels", "truth", "boxes"))

    def header(self, row):
        return self.headers[self.path_of[row["sop_instance_uid"]]]

    def display(self, row):
        (image,) = read_display(self.path_of[row["sop_instance_uid"]])
        return image


def rows_of(root, name):
    with (root / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def small(**knobs):
    return PhantomConfig(**(SMALL | knobs))


def content_of(root):
    files = (file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return Cohort(tmp_path_factory.mktemp("phantom") / "cohort")


def test_equal_configurations_give_equal_files_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_cohort(tmp_path / name, small(seed=seed))
    one, again, other = (content_of(tmp_path / name) for name in "abc")
    assert one == again
    assert len(one) > 30
    images = [{name for name in content if name.endswith(".dcm")} for content in (one, other)]
    assert not images[0] & images[1]
    assert not set(one.values()) & set(other.values())


def test_files_are_counted_and_the_awkward_ones_are_there(cohort):
    counts = cohort.counts
    assert counts["patients"] == CONFIG.patients
    assert counts["exams"] == len(list(exams(CONFIG)))
    assert counts["images"] == len(cohort.truth) == len({row["sop_instance_uid"] for row in cohort.truth})
    extra = set(cohort.path_of) - {row["sop_instance_uid"] for row in cohort.truth}
    assert len(cohort.files) == len(cohort.path_of) == counts["images"] + len(extra)
    pixels = {cohort.header(row).PixelData for row in cohort.truth}
    kinds = Counter()
    for name in extra:
        file = cohort.path_of[name]
        try:
            read_display(file)
        except UnreadableImageError as error:
            kinds[error.reason] += 1
            continue
        kinds["localisers" if read_facts(str(file))[0].kind == "localiser" else "duplicates"] += 1
        if read_facts(str(file))[0].kind != "localiser":
            assert cohort.headers[file].PixelData in pixels
    assert kinds == {"not_decodable": 1, "localisers": 2, "duplicates": 2}
    assert (counts["unreadable"], counts["localisers"], counts["duplicates"]) == (1, 2, 2)


def test_headers_are_genuine_dicom(cohort):
    """Classes, identifiers and every attribute that the mandatory modules of the object ask for (PS3.3 A)."""
    iods, modules, attributes = get_sop_class_iod_map(), get_iod_module_map(), get_module_attribute_map()
    expected = {"DX": "digital-x-ray-image", "CR": "computed-radiography-image", "MR": "mr-image"}
    series, studies = {}, {}
    for header in cohort.headers.values():
        iod = iods[header.SOPClassUID]
        assert iod == expected[header.Modality]
        assert header.file_meta.MediaStorageSOPClassUID == header.SOPClassUID
        assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID
        for element in header.iterall():
            if element.VR == "UI":
                assert UID(element.value).is_valid
                assert not element.value.startswith("2.25.") or int(element.value[5:]) < 1 << 128
        for module in modules[iod]:
            for attribute in attributes[module["key"]] if module["usage"] == "M" else ():
                if not attribute["path"] and attribute["type"] in ("1", "2"):
                    assert attribute["keyword"] in header, (iod, attribute)
                    assert attribute["type"] == "2" or not header[attribute["keyword"]].is_empty, (iod, attribute)
        assert series.setdefault(header.SeriesInstanceUID, header.StudyInstanceUID) == header.StudyInstanceUID
        assert studies.setdefault(header.StudyInstanceUID, header.PatientID) == header.PatientID
    assert {header.Modality for header in cohort.headers.values()} == set(expected)


def test_stored_values_fit_their_header(cohort):
    for row in cohort.truth:
        header = cohort.header(row)
        assert len(header.PixelData) == 2 * header.Rows * header.Columns
        assert header.pixel_array.max() < 2**header.BitsStored


def test_no_identifier_looks_like_one_of_a_real_study(cohort):
    number = re.compile(r"\b9\d{6}\b")
    texts = [str(file.relative_to(cohort.root)) for file in cohort.files]
    texts += [(cohort.root / "tables" / f"{name}.csv").read_text() for name in ("labels", "truth", "boxes")]
    for header in cohort.headers.values():
        assert re.fullmatch(r"PHANTOM-\d{6}", header.PatientID)
        texts += [str(element.value) for element in header.iterall() if element.VR not in ("OW", "OB")]
    assert not [text for text in texts if number.search(text)]
    assert not [
        file.name for file in cohort.files if re.search("PHANTOM|site|knee|MR", str(file.relative_to(cohort.root)))
    ]


def test_slices_ordered_by_geometry_carry_ascending_bar_codes(cohort):
    stacks = defaultdict(list)
    for row in cohort.truth:
        if row["plane"]:
            (facts,) = read_facts(str(cohort.path_of[row["sop_instance_uid"]]))
            assert facts.plane == row["plane"]
            code = read_slice_code(cohort.display(row))
            assert code == int(row["slice_code"])
            stacks[row["study_uid"], row["plane"], facts.series_uid, facts.stack].append((facts.position_mm, code, row))
    scans = {row["study_uid"] for row in cohort.labels if row["modality"] == "MR"}
    assert {(study, plane) for study, plane, _, _ in stacks} == {
        (study, plane) for study in scans for plane in ("sagittal", "coronal", "axial")
    }
    assert len(stacks) == 3 * len(scans)
    for stack in stacks.values():
        places, codes, rows = zip(*sorted(stack, key=lambda item: item[0]), strict=True)
        assert list(codes) == [0, 1, 2]
        np.testing.assert_allclose(np.diff(places), float(cohort.header(rows[0]).SpacingBetweenSlices), atol=0.01)


def test_the_disc_is_on_the_patients_left(cohort):
    seen = Counter()
    for row in cohort.truth:
        header = cohort.header(row)
        assert disc_side(cohort.display(row)) == row["disc"]
        if row["plane"]:
            towards_left = header.ImageOrientationPatient[0]  # of the rows, in patient coordinates
            assert row["disc"] == ("right" if towards_left == 1 else "none")
            middle = np.array(header.ImagePositionPatient) + header.PixelSpacing[0] * 32 * (
                np.array(header.ImageOrientationPatient[:3]) + np.array(header.ImageOrientationPatient[3:])
            )
            assert (middle[0] > 0) == (header.Laterality == "L")
        else:
            assert row["disc"] == "right"
            assert list(header.PatientOrientation) == ["L", "F"]
        seen[row["plane"], row["monochrome1"]] += 1
    assert set(seen) == {("", "0"), ("", "1"), ("sagittal", "0"), ("coronal", "0"), ("axial", "0")}


def films_of(cohort):
    """(row of truth, exam) of every film; the two follow the same order."""
    rows = [row for row in cohort.truth if not row["plane"]]
    return list(zip(rows, (exam for exam in exams(CONFIG) if exam.modality == "XR"), strict=True))


def test_inverted_films_come_out_with_bright_bone(cohort):
    inverted = 0
    for row, exam in films_of(cohort):
        header, shown = cohort.header(row), cohort.display(row)
        drawn, _ = draw_film(exam, CONFIG)
        np.testing.assert_allclose(shown, drawn, atol=2 / 4095)
        assert header.PhotometricInterpretation == f"MONOCHROME{1 if row['monochrome1'] == '1' else 2}"
        stored = np.corrcoef(header.pixel_array.ravel(), drawn.ravel())[0, 1]
        assert stored < -0.99 if row["monochrome1"] == "1" else stored > 0.99
        for side in exam.sides.lower():
            x, y = float(row[f"{side}_joint_x"]), float(row[f"{side}_joint_y"])
            column = shown[:, int(x) - 6 : int(x) + 7].mean(axis=1)
            assert column[int(y) + 20 : int(y) + 30].mean() > column[:8].min()
            if exam.labels[side.upper()]["kl"] < 3:
                assert column[int(y) + 8 : int(y) + 20].mean() > column[int(y) - 1 : int(y) + 2].mean()
        inverted += header.PhotometricInterpretation == "MONOCHROME1"
    assert inverted == CONFIG.monochrome1


def test_the_joint_space_read_from_the_files_is_that_of_the_table(cohort):
    spaces = []
    for row, exam in films_of(cohort):
        image = cohort.display(row)
        for side in "rl":
            if side.upper() not in exam.sides:
                assert row[f"{side}_joint_x"] == row[f"{side}_joint_y"] == row[f"{side}_joint_space"] == ""
                continue
            x, y, told = (float(row[f"{side}_joint_{what}"]) for what in ("x", "y", "space"))
            spaces.append((exam.labels[side.upper()]["kl"], told, width_of_gap(image, x, y)))
    grades, told, measured = np.array(spaces).T
    assert len(set(grades)) == 5
    assert np.median(np.abs(told - measured)) < 0.5
    assert np.corrcoef(told, measured)[0, 1] > 0.95
    assert np.corrcoef(grades, measured)[0, 1] < -0.85


def test_labels_are_those_of_the_examinations(cohort):
    keys = ("patient_id", "modality", "body_part", "visit", "side")
    rows = {tuple(row[key] for key in keys): row for row in cohort.labels}
    planned = {}
    for exam in exams(CONFIG):
        for side in exam.sides:
            key = (exam.patient.patient_id, exam.modality, exam.body_part, str(exam.visit), side)
            planned[key] = {name: str(value) for name, value in exam.labels[side].items()}
    assert set(rows) == set(planned)
    assert len(cohort.labels) == len(rows)
    facts = {*keys, "site", "study_uid", "age", "sex", "days_from_baseline"}
    for key, row in rows.items():
        assert {name: value for name, value in row.items() if name not in facts and value != ""} == planned[key]


def test_rows_of_labels_agree_with_the_headers(cohort):
    headers, first = defaultdict(list), {}
    for header in cohort.headers.values():
        headers[header.StudyInstanceUID].append(header)
        day = datetime.strptime(header.StudyDate, "%Y%m%d")
        first[header.PatientID] = min(day, first.get(header.PatientID, day))
    assert {row["study_uid"] for row in cohort.labels} == set(headers)
    makers = defaultdict(set)
    for row in cohort.labels:
        for header in headers[row["study_uid"]]:
            assert header.PatientID == row["patient_id"]
            assert header.BodyPartExamined == row["body_part"].upper()
            assert ("MR" if header.Modality == "MR" else "XR") == row["modality"]
            assert header.get("ImageLaterality", header.get("Laterality")) in (row["side"], "B")
            assert header.InstitutionName == f"Phantom Site {row['site'].removeprefix('site')}"
            assert (header.PatientSex, header.PatientAge) == (row["sex"], f"{int(row['age']):03d}Y")
            since = datetime.strptime(header.StudyDate, "%Y%m%d") - first[header.PatientID]
            assert since.days == int(row["days_from_baseline"])
            makers[row["site"]].add(header.Manufacturer)
    assert len(makers) == len(set.union(*makers.values())) == CONFIG.sites
    days = {row["visit"]: row["days_from_baseline"] for row in cohort.labels if row["modality"] == "XR"}
    assert days == {"0": "0", "48": "1461", "96": "2922"}
    assert {row["days_from_baseline"] for row in cohort.labels if row["modality"] == "MR"} == {"7"}


def test_boxes_are_there_for_disease_and_only_for_it(cohort):
    column_of = {"xr_kl": "kl", "mr_men": "meniscus", "mr_cart": "cartilage", "hip_lab": "labrum"}
    column_of |= {"sho_rc": "supraspinatus", "ank_atfl": "atfl", "ank_cfl": "cfl"}
    column_of |= {f"mr_{name}": name for name in ("acl", "pcl", "mcl", "lcl", "pd", "mpfl", "bone")}
    names = {yaml.safe_load(file.read_text())["task"] for file in TASKS.glob("*.yaml")}
    assert set(column_of) <= names
    truth = {row["sop_instance_uid"]: row for row in cohort.truth}
    boxed = set()
    for box in cohort.boxes:
        header = cohort.header(box)
        assert truth[box["sop_instance_uid"]]["study_uid"] == box["study_uid"] == header.StudyInstanceUID
        x0, y0, x1, y1 = (float(box[name]) for name in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= header.Columns
        assert 0 <= y0 < y1 <= header.Rows
        boxed.add((box["study_uid"], box["side"], column_of[box["task"]]))
    ill = set()
    for row in cohort.labels:
        for name in column_of.values():
            if row[name] and int(row[name]) >= (2 if name == "kl" else 1):
                ill.add((row["study_uid"], row["side"], name))
    assert boxed == ill
    assert len({name for _, _, name in ill}) > 8


def test_without_signal_there_are_labels_but_no_boxes(tmp_path):
    write_cohort(tmp_path, small(signal=0.0, lesion_rate=0.9))
    assert rows_of(tmp_path, "boxes") == []
    assert any(row["acl"] == "1" for row in rows_of(tmp_path, "labels"))


def test_an_interrupted_run_leaves_only_its_partial_and_the_next_one_succeeds(tmp_path):
    def stop(done, total):
        if done == total - 1:
            raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path / "a", small(), stop)
    assert [item.name for item in (tmp_path / "a").iterdir()] == [".partial"]
    assert list((tmp_path / "a" / ".partial").rglob("*.dcm"))
    counts = write_cohort(tmp_path / "a", small(), lambda done, total: seen.append((done, total)))
    assert seen == [(done, counts["exams"]) for done in range(1, counts["exams"] + 1)]
    assert sorted(item.name for item in (tmp_path / "a").iterdir()) == ["dicom", "tables"]
    write_cohort(tmp_path / "b", small())
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"monochrome1": 99}, r"monochrome1=99, but the cohort has \d films"),
        ({"unreadable": 99}, r"unreadable=99, but the cohort has \d films"),
        ({"duplicates": 99}, r"duplicates=99, but the cohort has \d films"),
        ({"localisers": 99}, r"localisers=99, but the cohort has \d MRI"),
        ({"modalities": ("MR",)}, "monochrome1=1, but the cohort has 0 films"),
        ({"modalities": ("XR",), "joints": ("hip",)}, "leave no examination"),
        ({"modalities": ("MR",), "joints": ("hip",), "other_joints": 0.0}, "leave no examination"),
    ],
)
def test_knobs_that_cannot_be_met_write_nothing(tmp_path, knobs, message):
    with pytest.raises(InputError, match=message):
        write_cohort(tmp_path / "out", small(**knobs))
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_is_never_overwritten_and_stays_on_this_machine(tmp_path):
    write_cohort(tmp_path, small(modalities=("XR",), localisers=0))
    before = content_of(tmp_path)
    with pytest.raises(InputError, match="holds a cohort already"):
        write_cohort(tmp_path, small(seed=5))
    with pytest.raises(InputError, match="local folder"):
        write_cohort("memory://phantom", small())
    assert content_of(tmp_path) == before
