"""Lettering: which words are markers, which identify somebody by their header; and, with the extra, what is read."""

import cv2
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from tests.imaging.injections import arrows

from orthoray.data.phantom import PhantomConfig
from orthoray.data.phantom.cohort import exams
from orthoray.data.phantom.film import draw_film
from orthoray.errors import InputError
from orthoray.imaging import ocr
from orthoray.imaging.lettering import find_lettering, judged
from orthoray.imaging.needles import needles_of

pytestmark = pytest.mark.slow


def header(**changes):
    dataset = Dataset()
    values = {
        "PatientName": "Müller^Anna Maria^^Dr.",
        "PatientID": "MRN77-12",
        "PatientBirthDate": "19510607",
        "AccessionNumber": "0815",
        "InstitutionName": "St. Nowhere Clinic",
        "ReferringPhysicianName": "Wu^Li=吴^丽",
        "OperatorsName": "JK",
        "StudyID": "1",
        "SeriesDescription": "KNEE AP BEAUTIFUL",
    }
    for name, value in (values | changes).items():
        setattr(dataset, name, value)
    return dataset


NEEDLES = needles_of(header())


def identity(line, needles=NEEDLES):
    return judged([line], needles).ocr_identity


def words(*lines):
    return judged(lines, ()).ocr_words


@pytest.mark.parametrize(
    "line",
    [
        "L", "R", "AP", "PA", "WB", "LAT", "STANDING", "L STANDING", "LSTANDING", "L-AP", "R/PA", "WEIGHT BEARING",
        "WEIGHTBEARING", "JK", "ABC", "30°", "12", "W.B.", "left", "左", "●", "—", "人",
    ],
)  # fmt: skip
def test_markers_and_initials_are_allowed(line):
    assert words(line) == 0


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("MILLER", 1),
        ("Anna Miller", 2),
        ("12.03.51", 1),
        ("12:45", 1),
        ("王小东", 1),
        ("AP MILLER", 1),
        ("LEFTMILLER", 1),
    ],
)
def test_other_words_are_counted(line, count):
    assert words(line) == count
    assert words(line, "L", line) == 2 * count


@pytest.mark.parametrize(
    "line",
    [
        "Müller", "MULLER", "MUELLER", "MUELLER,A", "Mul1er", "MULER", "MUELLERANNA51", "Anna", "Wu", "WU", "Dr Wu L",
        "吴丽", "MRN77", "MRN77-12", "MRN7712", "O815", "NOWHERE", "CLINIC", "7.6.1951", "07.06.1951", "06/07/1951",
        "1951-06-07", "070651", "7 JUN 1951", "June 7, 1951",
    ],
)  # fmt: skip
def test_values_of_the_header_identify(line):
    assert identity(line) == 1
    assert identity(line, frozenset()) == 0


@pytest.mark.parametrize(
    "line", ["L", "AP", "JK", "DR", "1", "吴", "08.06.1957", "MILLAR", "ANN", "BEAUTIFUL", "Wa", "Wux"]
)
def test_other_words_do_not(line):
    assert identity(line) == 0


def test_a_name_of_two_letters_counts_though_it_could_be_initials():
    found = judged(["Wu", "R"], NEEDLES)
    assert (found.ocr_words, found.ocr_identity) == (0, 1)


def test_markers_are_not_mistaken_for_names_that_they_resemble():
    needles = needles_of(header(PatientName="BERING^A"))
    assert identity("WEIGHT BEARING", needles) == 0
    assert identity("BERING", needles) == identity("BER1NG", needles) == 1


def test_names_are_found_in_nested_sequences_and_not_in_unreadable_values():
    nested = Dataset()
    nested.PatientName = "Earlier^Name"
    outer = header(OriginalAttributesSequence=Sequence([nested]))
    outer.add_new(0x00100030, "DA", "no date")
    assert {"EARLIER", "NAME"} <= needles_of(outer)
    assert not any(needle.isdigit() and "1951" in needle for needle in needles_of(outer))
    assert needles_of(Dataset()) == frozenset()


def test_without_the_extra_it_is_named(monkeypatch):
    found = ocr.util.find_spec
    monkeypatch.setattr(ocr.util, "find_spec", lambda name, *rest: None if name == "rapidocr" else found(name, *rest))
    with pytest.raises(InputError, match=r"card 'x'.*ocr: true.*rapidocr.*orthoray\[ocr\]"):
        ocr.require_ocr("card 'x'")


@pytest.fixture(scope="module")
def films():
    """Three phantom films with their lead letters, 512 pixels high."""
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed: pip install 'orthoray[ocr]'")
    config = PhantomConfig(patients=6, seed=3, film_height=512, film_width=800)
    shown = [exam for exam in exams(config) if exam.modality == "XR"][:3]
    return [np.rint(255 * draw_film(exam, config)[0]).astype(np.uint8) for exam in shown]


def written(film, text, height, dark=False):
    thick = max(1, round(height / 9))
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, height, thick)
    drawn = np.clip(film.astype(int) + (90 if dark else 0), 0, 255).astype(np.uint8)
    place = (20, film.shape[0] - 30)
    return cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 0 if dark else 255, thick, cv2.LINE_AA)


def test_lead_letters_and_arrows_are_no_words(films):
    rng = np.random.default_rng(0)
    for film in films:
        for image in (film, arrows(film, 5, rng), written(film, "WB", 20), written(film, "PA", 20)):
            found = find_lettering(image, NEEDLES)
            assert (found.ocr_words, found.ocr_identity) == (0, 0)


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_burned_in_is_read(films, dark):
    assert find_lettering(written(films[0], "Wu", 16, dark), NEEDLES).ocr_identity == 1
    name = find_lettering(written(films[1], "MUELLER 07.06.1951", 10, dark), NEEDLES)
    assert (name.ocr_words, name.ocr_identity) == (2, 1)
    other = find_lettering(written(films[2], "SCHMIDT", 12, dark), NEEDLES)
    assert (other.ocr_words, other.ocr_identity) == (1, 0)
