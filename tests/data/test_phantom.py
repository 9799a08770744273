"""The phantom cohort before anything is drawn: knobs, patients, sites and the course of their knees."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orthoray.config import parse_config
from orthoray.data.phantom import PhantomConfig
from orthoray.data.phantom.cohort import KL_SHARES, TKR_RATE, VISITS, exams, patients
from orthoray.errors import InputError


def config_of(**knobs):
    return parse_config(PhantomConfig, knobs, "knobs")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"signals": {"acll": 1.0}}, "unknown sign 'acll'. Did you mean 'acl'"),
        ({"signals": {"acl": 2.5}}, "'acl': a strength lies between 0 and 2"),
        ({"joints": []}, "give at least one, and none twice"),
        ({"joints": ["hip", "hip"]}, "give at least one, and none twice"),
        ({"modalities": ["CT"]}, "modalities"),
        ({"patients": 0}, "patients"),
        ({"patients": 100_000}, "patients"),
        ({"slices": 65}, "slices"),
        ({"slices": 2}, "slices"),
        ({"confounder": 1.1}, "confounder"),
        ({"nois": 1.0}, "Did you mean 'noise'"),
    ],
)
def test_impossible_knobs_are_refused(knobs, message):
    with pytest.raises(InputError, match=message):
        config_of(**knobs)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 60), share=st.floats(0, 1), other=st.floats(0, 1), seed=st.integers(0, 9))
def test_shares_are_met_exactly(count, share, other, seed):
    config = PhantomConfig(
        patients=count, seed=seed, bilateral=share, follow_up=other, knee_mri=share, other_joints=other
    )
    people = patients(config)
    assert sum(person.bilateral for person in people) == round(share * count)
    assert sum(person.followed for person in people) == round(other * count)
    scanned = Counter(joint for person in people for joint in person.scanned)
    assert scanned["knee"] == round(share * count)
    assert all(scanned[joint] == round(other * count) for joint in ("hip", "shoulder", "ankle"))
    made = list(exams(config))
    films = [exam for exam in made if exam.modality == "XR"]
    assert len(films) == count + 2 * round(other * count)
    assert len(made) - len(films) == scanned.total()
    assert all((len(exam.sides) == 2) == exam.patient.bilateral for exam in films)
    assert len({person.patient_id for person in people}) == count


def test_the_course_of_a_knee():
    courses = {}
    for exam in exams(PhantomConfig(patients=3000, follow_up=1.0, modalities=("XR",))):
        for side, labels in exam.labels.items():
            courses.setdefault((exam.patient.number, side), {})[exam.visit] = labels
    worse = 0
    for visits in courses.values():
        assert tuple(visits) == VISITS == (0, 48, 96)
        grades = [visits[visit]["kl"] for visit in VISITS]
        assert grades == sorted(grades)
        assert 0 <= grades[0] <= grades[-1] <= 4
        assert [visits[0]["kl48"], visits[0]["kl96"]] == grades[1:]
        assert set(visits[48]) == set(visits[96]) == {"kl"}
        worse += grades[2] > grades[0]
    assert 0.2 < worse / len(courses) < 0.6


def test_replacement_goes_with_the_grade_and_its_knob():
    def rates(factor):
        done = [[] for _ in range(5)]
        for exam in exams(PhantomConfig(patients=3000, modalities=("XR",), follow_up=0.0, tkr_rate=factor)):
            for labels in exam.labels.values():
                done[labels["kl"]].append(labels["tkr"])
        return np.array([np.mean(grade) for grade in done])

    usual = rates(1.0)
    assert (np.diff(usual) > 0).all()
    np.testing.assert_allclose(usual, TKR_RATE, atol=0.04)
    assert (rates(0.0) == 0).all()
    np.testing.assert_allclose(rates(0.5)[3:], np.array(TKR_RATE[3:]) / 2, atol=0.05)


def site_and_disease(confounder):
    """Site of each first film with its right knee's grade, and of each knee MRI with its ACL."""
    knees, scans = [], []
    for exam in exams(PhantomConfig(patients=3000, knee_mri=1.0, bilateral=1.0, follow_up=0.0, confounder=confounder)):
        if exam.modality == "XR":
            knees.append((exam.patient.site, exam.labels["R"]["kl"]))
        elif exam.body_part == "knee":
            scans.append((exam.patient.site, exam.labels[exam.sides]["acl"]))
    return np.array(knees), np.array(scans)


def test_without_a_confounder_the_site_says_nothing_of_disease():
    for pairs in site_and_disease(0.0):
        table = stats.contingency.crosstab(*pairs.T).count
        assert stats.chi2_contingency(table).pvalue > 0.01
    knees, scans = site_and_disease(0.0)
    expected = np.array(KL_SHARES) * len(knees)
    assert stats.chisquare(np.bincount(knees[:, 1]), expected).pvalue > 0.01
    assert abs(scans[:, 1].mean() - PhantomConfig().lesion_rate) < 0.03


def test_with_a_confounder_the_site_predicts_disease():
    half, full = site_and_disease(0.5), site_and_disease(1.0)
    for some, most in zip(half, full, strict=True):
        weak, strong = (np.corrcoef(*pairs.T)[0, 1] for pairs in (some, most))
        assert 0.2 < weak < strong
        assert strong > 0.6
    knees, scans = full
    assert knees[knees[:, 0] == 0, 1].mean() < 1 < 3 < knees[knees[:, 0] == 2, 1].mean()
    assert scans[scans[:, 0] == 0, 1].mean() < 0.1 < 0.8 < scans[scans[:, 0] == 2, 1].mean()
