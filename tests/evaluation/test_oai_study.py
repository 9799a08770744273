"""From the folders and tables of a synthetic Osteoarthritis Initiative to results, through the project's own card."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from tests.data.adapters.oai_source import CONFIRMED, FAILED, PA, film, write_table
from tests.imaging.objects import save_dicom

from orthoray import storage
from orthoray.config import parse_config
from orthoray.data.cards import load_card
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.study import run_study
from orthoray.imaging.pseudonyms import pseudonyms
from orthoray.report.build import build_report

pytestmark = [pytest.mark.ray, pytest.mark.slow]

COURSES = """
course,side,v00,v06,v10,fate,days,last,kl,kl48,kl96,tkr,event,time,within4,within9
steady,R,0,0,0,,,11: 108-month,0,0,0,0,0,3287,0,0
steady,L,1,1,2,,,11: 108-month,1,1,2,0,0,3287,0,0
early right,R,4,.,.,total,500,11: 108-month,4,,,1,1,500,1,1
early right,L,3,4,4,,,11: 108-month,3,4,4,0,0,3287,0,0
early left,R,2,3,3,,,11: 108-month,2,3,3,0,0,3287,0,0
early left,L,4,.,.,total,700,11: 108-month,4,,,1,1,700,1,1
died,R,1,.,.,,,1: 12-month,1,,,0,0,300,,
died,L,0,.,.,,,1: 12-month,0,,,0,0,300,,
late,R,3,3,.,total,2000,11: 108-month,3,3,,1,1,2000,0,1
late,L,2,2,3,,,11: 108-month,2,2,3,0,0,3287,0,0
partial,R,0,1,1,,,11: 108-month,0,1,1,0,0,3287,0,0
partial,L,3,.,.,partial,1200,11: 108-month,3,,,,0,1200,,
not proven,R,2,2,.,failed,700,8: 72-month,2,2,,,,,,
not proven,L,0,0,.,,,8: 72-month,0,0,,0,0,2192,0,
before,R,.,.,.,baseline,,11: 108-month,,,,,,,,
before,L,4,4,4,,,11: 108-month,4,4,4,0,0,3287,0,0
"""
"""What happened to a knee, as the tables are to say it, and from ``kl`` on the labels that follow, written by hand."""

LABELS = {
    "xr_kl": "kl", "xr_kl48": "kl48", "xr_kl96": "kl96", "xr_tkr": "tkr", "xr_tkr_time": "event",
    "xr_tkr_4y": "within4", "xr_tkr_9y": "within9",
}  # fmt: skip
REPEATS = 6
FATES = {"total": (CONFIRMED, "1: Total"), "partial": (CONFIRMED, "2: Partial"), "failed": (FAILED, "")}


def people():
    """One row per knee: each course six times."""
    courses = list(csv.DictReader(io.StringIO(COURSES.strip())))
    names = list(dict.fromkeys(row["course"] for row in courses))
    rows = []
    for number in range(REPEATS * len(names)):
        mine = [row for row in courses if row["course"] == names[number % len(names)]]
        rows += [{"person": f"{1000001 + number}", "number": number, **row} for row in mine]
    return pd.DataFrame(rows)


def lines(header, rows):
    return "\n".join([header, *("|".join(map(str, row)) for row in rows)])


def write_source(root, knees):
    """Films of baseline and the tables of all visits."""
    rng = np.random.default_rng(0)
    for person, pair in knees.groupby("person"):
        number = int(pair["number"].iloc[0])
        film(root, person, "V00", "C.2", f"000001{number:02}")
        file = next((root / "00m").glob(f"*/{person}/*/*/001"))
        image = rng.integers(0, 250, (64, 96)).astype(np.uint16)
        for side, columns in (("R", slice(0, 48)), ("L", slice(48, 96))):  # image-left is the right knee
            grade = pair.loc[pair["side"] == side, "v00"].iloc[0]
            image[:, columns] += np.uint16(500 * (0 if grade == "." else int(grade)))
        image[24:40, 46:50] = 2900
        save_dicom(
            file, image, "DX", PatientID=person, StudyDate="20040101", StudyInstanceUID=f"2.25.77{number}",
            SeriesInstanceUID=f"2.25.78{number}", ImagerPixelSpacing=[0.2, 0.2], WindowCenter=1500, WindowWidth=3000,
        )  # fmt: skip
    write_tables(root, knees)


def write_tables(root, knees):
    words = {"R": "1: Right", "L": "2: Left"}
    for visit, column in (("00", "v00"), ("06", "v06"), ("10", "v10")):
        read = [
            (
                row.person,
                words[row.side],
                15,
                getattr(row, column),
                f"01660000{visit if visit != '00' else '01'}{row.number:02}",
            )
            for row in knees.itertuples()
        ]
        header = f"ID|SIDE|READPRJ|V{visit}XRKL|V{visit}BARCDBU"
        write_table(root / "tables" / f"KXR_SQ_BU{visit}", lines(header, read), "ascii")
    outcomes = []
    for person, pair in knees.groupby("person"):
        right, left = (pair[pair["side"] == side].iloc[0] for side in "RL")
        told = [["1: Yes" if knee.fate == "baseline" else "0: No" for knee in (right, left)]]
        told += [[FATES.get(knee.fate, ("", ""))[at] for knee in (right, left)] for at in (0, 1)]
        died = ["1: Yes", "10/27/2004"] if right.course == "died" else ["", ""]
        outcomes.append([person, *told[0], *told[1], "", "", *told[2], right.days, left.days, *died, right["last"]])
    pairs = "|".join(f"V99ER{name}|V99EL{name}" for name in ("KBLRP", "KRPCF", "KRPSN", "KTLPR", "KDAYS"))
    header = f"id|{pairs}|V99EDDCF|V99EDDDATE|V99RNTCNT"
    write_table(root / "tables" / "Outcomes99", lines(header, outcomes), "ascii")
    persons = sorted(set(zip(knees["person"], knees["number"], strict=True)))
    enrolled = [(name, "C: Columbus", "1: Male", "1: White", "0: No", "2: Incidence") for name, _ in persons]
    write_table(root / "tables" / "Enrollees", lines("ID|V00SITE|P02SEX|P02RACE|P02HISP|V00COHORT", enrolled), "ascii")
    clinical = [(name, 50 + n % 30, "28.1", "01/01/2004") for name, n in persons]
    write_table(root / "tables" / "AllClinical00", lines("ID|V00AGE|P01BMI|V00EVDATE", clinical), "ascii")
    taken = [(name, f"1: {PA}", "01/01/2004", f"0166000001{n:02}") for name, n in persons]
    write_table(root / "tables" / "XRay00", lines("ID|V00EXAMTP|V00XRDATE|V00XRBARCD", taken), "ascii")


@pytest.fixture(scope="module")
def oai(tmp_path_factory, ray_session):
    """(folder of the dataset, its knees, person → pseudonym)."""
    root, out = tmp_path_factory.mktemp("oai"), tmp_path_factory.mktemp("out") / "oai"
    knees = people()
    write_source(root, knees)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
        card = load_card("oai_xray").model_copy(update={"screened": "review", "short_side": 48})
        ingest(card, str(root), str(out))
        ids = pseudonyms("oai", phi=True)
    return out, knees, {person: ids.make("patient", person) for person in set(knees["person"])}


def test_labels_are_those_written_by_hand(oai):
    out, knees, names = oai
    dataset = Dataset(str(out))
    index = dataset.index().set_index("image_id")
    assert len(index) == len(knees) == 96
    for task, column in LABELS.items():
        labels = dataset.labels(task).set_index("sample_id")
        side = index.loc[labels.index, "laterality"]
        found = sorted(zip(labels["patient_id"], side, labels["label"].astype(str), strict=True))
        told = knees[knees[column] != ""]
        assert found == sorted(zip(told["person"].map(names), told["side"], told[column], strict=True)), task
    times = dataset.labels("xr_tkr_time").set_index("sample_id")
    side = index.loc[times.index, "laterality"]
    found = sorted(zip(times["patient_id"], side, times["days"].astype(str), strict=True))
    told = knees[knees["time"] != ""]
    assert found == sorted(zip(told["person"].map(names), told["side"], told["time"], strict=True))


def test_a_study_of_all_of_them(oai, tiny_checkpoint, tmp_path, capsys):
    dataset, knees, names = oai
    tiny_checkpoint(tmp_path / "random", seed=0)
    models = [{"name": "pixels", "kind": "pixels"}]
    models += [{"name": "random", "kind": "checkpoint", "checkpoint": str(tmp_path / "random")}]
    values = {"out": str(tmp_path / "out"), "datasets": [str(dataset)], "folds": 3, "models": models, "resamples": 100}
    values |= {
        "tasks": ["suite:public", "tkr_within_9y"],
        "protocols": ["lp", "knn"],
        "probe": {"c_steps": 5},
        "trials": 2,
    }
    out = run_study(parse_config(StudyConfig, values, "study"))
    facts = storage.read_json(f"{out}/study.json")
    assert set(facts["tasks"]) == set(LABELS)
    assert set(facts["skipped"]) == {"mr_acl", "mr_pcl", "mr_mcl", "mr_lcl", "mr_men", "mr_bone", "mr_cart"}
    shown = capsys.readouterr().out
    assert all(f"task {name} is left out: " in shown for name in facts["skipped"])
    assert "knn does not apply to pixels, random on xr_tkr_time: it tells classes apart" in shown
    assert {(gap["task"], gap["protocol"]) for gap in facts["not_applicable"]} == {("xr_tkr_time", "knn")}

    results = pd.read_parquet(f"{out}/results.parquet")
    timed = results[results["task"] == "xr_tkr_time"]
    assert set(timed["protocol"]) == {"lp"}
    assert set(timed["metric"]) == {"c_index", "auroc_at_2y", "auroc_at_4y", "auroc_at_8y"}
    folds = results[(results["fold"] >= 0) & (results["model"] == "pixels") & (results["protocol"] == "lp")]
    means = folds.groupby(["task", "metric"])["value"].mean()
    assert means["xr_kl", "accuracy"] > 0.5  # the grade is the brightness; a fifth of the knees by chance
    assert means["xr_kl48", "qwk"] > 0.6
    assert means["xr_kl96", "qwk"] > 0.6
    assert means["xr_tkr", "auroc"] > 0.8
    assert means["xr_tkr_4y", "auroc"] > 0.8
    assert 0.75 < means["xr_tkr_time", "c_index"] < 1.0  # grade 4 without a replacement is among them
    converged = [fact for fact in timed.loc[timed["fold"] >= 0, "params"] if '"converged": true' in fact]
    assert len(converged) == (timed["fold"] >= 0).sum()

    predictions = pd.read_parquet(f"{out}/predictions.parquet")
    mine = predictions[(predictions["task"] == "xr_tkr_time") & (predictions["model"] == "pixels")]
    told = knees[knees["time"] != ""]
    assert sorted(zip(mine["patient_id"], mine["label"], mine["time"], strict=True)) == sorted(
        zip(told["person"].map(names), told["event"].astype(int), told["time"].astype(float), strict=True)
    )
    assert mine["score_1"].isna().all()
    assert predictions.loc[predictions["task"] == "xr_tkr", "time"].isna().all()
    intervals = pd.read_parquet(f"{out}/intervals.parquet").set_index(["task", "model", "protocol", "metric"])
    drawn = intervals.loc[("xr_tkr_time", "pixels", "lp", "c_index")]
    assert drawn["low"] < means["xr_tkr_time", "c_index"] < drawn["high"]
    assert drawn["value"] == pytest.approx(means["xr_tkr_time", "c_index"])
    tests = pd.read_parquet(f"{out}/comparisons.parquet")
    assert set(tests.loc[tests["task"] == "xr_tkr_time", "metric"]) == {"c_index"}
    alone = {
        **values,
        "out": str(tmp_path / "tuned"),
        "tasks": ["time to TKR"],
        "protocols": ["ft"],
        "models": models[1:],
    }
    alone["finetune"] = {"epochs": 2, "drop_path": 0.0, "batch_size": 32}
    tuned = pd.read_parquet(f"{run_study(parse_config(StudyConfig, alone, 'study'))}/results.parquet")
    folds = tuned[tuned["fold"] >= 0]
    assert folds["params"].str.contains('"head": "cox"').all()
    assert set(folds["metric"]) == set(timed["metric"])
    page = build_report(out).read_text(encoding="utf-8")
    assert "Time to total knee replacement" in page
    assert "C-index" in page
