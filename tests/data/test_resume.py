"""Ingest again: nothing is done twice, what has changed is done, and an interrupted run goes on."""

import os
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pydicom
import pytest
from tests.data.failing import FailingWriter
from tests.data.sources import PATIENTS, card_with, write_archive
from tests.imaging.objects import save_dicom

import orthoray.data.pipeline as pipeline
from orthoray import storage
from orthoray.config import project_folders
from orthoray.data.codec import decode
from orthoray.data.dataset import Dataset
from orthoray.data.explain import explain
from orthoray.data.failures import WorkerError
from orthoray.data.ingest import ingest
from orthoray.data.state import IngestState
from orthoray.errors import InputError
from orthoray.imaging.pseudonyms import Pseudonyms, pseudonyms

pytestmark = [pytest.mark.ray, pytest.mark.slow]
KEY = "a-key-of-the-tests-0123456789"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", KEY)


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "archive").root


def content(out):
    """Everything a dataset says, without what depends on when it was made."""
    dataset = Dataset(str(out))
    rows = [row for file in dataset.image_files() for row in pq.read_table(file).to_pylist()]
    pixels = {row["image_id"]: decode(row["pixels"]).tobytes() for row in rows}
    tables = [dataset.index(), dataset.excluded().sort_values(["image_id", "reason"], ignore_index=True)]
    labels = {task: dataset.labels(task) for task in dataset.tasks()}
    return dataset.manifest["dataset_id"], pixels, *(table.to_json() for table in (*tables, *labels.values()))


def spoil(file):
    """Make a file unreadable so that only its bytes tell: size and time stay."""
    state = file.stat()
    file.write_bytes(b"x" * state.st_size)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_the_same_again_reads_nothing(archive, tmp_path, capsys):
    out = tmp_path / "dataset"
    first = ingest(card_with(), str(archive), str(out))
    for file in archive.rglob("*.dcm"):
        spoil(file)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    assert ingest(card_with(), str(archive), str(out)) == first
    assert "nothing has changed" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    "changes", [{"short_side": 24}, {"screened": "review"}, {"labels": []}, {"window": "percentile", "labels": []}]
)
def test_a_changed_card_gives_what_it_gives_afresh(archive, tmp_path, changes):
    out, fresh = tmp_path / "dataset", tmp_path / "fresh"
    ingest(card_with(), str(archive), str(out))
    ingest(card_with(**changes), str(archive), str(out))
    ingest(card_with(**changes), str(archive), str(fresh))
    assert content(out) == content(fresh)


def test_without_a_change_of_pixels_none_are_made_again(archive, tmp_path):
    out = tmp_path / "dataset"
    ingest(card_with(), str(archive), str(out))
    for file in archive.rglob("*.dcm"):
        spoil(file)
    before = content(out)[1]
    ingest(card_with(labels=[]), str(archive), str(out))
    assert content(out)[1] == before
    assert Dataset(str(out)).tasks() == []


def test_only_what_has_changed_is_read(archive, tmp_path):
    out, fresh = tmp_path / "dataset", tmp_path / "fresh"
    ingest(card_with(), str(archive), str(out))
    old = Dataset(str(out)).index()
    files = sorted(archive.rglob("*.dcm"))
    added = archive / "later.dcm"
    chosen = archive / "MRN77-1" / "film.dcm"
    changed = np.tile(np.linspace(0, 4000, 96).astype(np.uint16), (48, 1))
    _with_pixels(chosen, changed)
    shutil.copy(chosen, added)
    _with_pixels(added, changed[:, ::-1].copy(), SOPInstanceUID="1.2.3.4.5", PatientID="NEWCOMER")
    rest = [file for file in files if file != chosen]
    kept = tmp_path / "kept"
    for file in rest:
        (kept / file.relative_to(archive)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, kept / file.relative_to(archive))
        spoil(file)
    ingest(card_with(), str(archive), str(out))
    for file in rest:
        shutil.copy2(kept / file.relative_to(archive), file)
    ingest(card_with(), str(archive), str(fresh))
    assert content(out) == content(fresh)
    now = Dataset(str(out)).index()
    assert len(now) == len(old) + 2
    assert (now.merge(old, on="image_id")["sha256_x"] != now.merge(old, on="image_id")["sha256_y"]).sum() == 2


def _goes_on_without(files, archive, out, fresh, capsys):
    """The run goes on though files that were read before cannot be read any more, and gives what a fresh one gives."""
    kept = fresh.parent / "kept"
    shutil.copytree(archive, kept)
    for file in list(files):
        spoil(file)
    ingest(card_with(), str(archive), str(out))
    assert "going on with what an earlier run left" in capsys.readouterr().out
    shutil.rmtree(archive)
    shutil.copytree(kept, archive)
    ingest(card_with(), str(archive), str(fresh))
    assert content(out) == content(fresh)


def test_an_interrupted_run_goes_on_where_it_was(archive, tmp_path, monkeypatch, capsys):
    out, fresh = tmp_path / "dataset", tmp_path / "fresh"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "judge", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(card_with(), str(archive), str(out))
    assert not out.exists()
    _goes_on_without(archive.rglob("*.dcm"), archive, out, fresh, capsys)
    assert not storage.exists(f"{out}.partial")


def test_findings_that_come_while_a_run_is_interrupted_are_kept(archive, tmp_path, monkeypatch):
    out = tmp_path / "dataset"
    before = ingest(card_with(), str(archive), str(out))["dataset_id"]
    (archive / "labels.csv").write_text((archive / "labels.csv").read_text() + "2.25.9,R,XR,north,1,\n")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "judge", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(card_with(), str(archive), str(out))
    findings = {"dataset_id": before, "exports": []}
    for name in ("audit.json", "audit-older.json"):
        storage.write_json(str(out / name), findings)
    ingest(card_with(), str(archive), str(out))
    assert not storage.exists(f"{out}.partial")
    assert [storage.read_json(str(out / name)) for name in ("audit.json", "audit-older.json")] == [findings] * 2


def test_a_dry_run_counts_as_the_run_does_and_writes_nothing(archive, tmp_path, capsys):
    out = tmp_path / "dataset"
    told = ingest(card_with(), str(archive), str(out), dry_run=True)
    assert not [file for file in tmp_path.iterdir() if file != archive]
    printed = capsys.readouterr().out
    assert "nothing was written" in printed
    rows = "samples from 12 of 14 rows; rows not used: 1 no label, 1 no such image in the source\n"
    assert f"  labels xr_kl: 14 {rows}" in printed  # the two halves of a film that is there twice: pixels are not read
    made = ingest(card_with(), str(archive), str(out))
    assert f"  labels xr_kl: 12 {rows}" in capsys.readouterr().out
    assert told["funnel"] == made["funnel"][:5]
    for task, account in made["label_audit"].items():
        assert told["label_audit"][task]["reasons"] == account["reasons"]
    early = [row for row in made["excluded"] if row["stage"] in ("read", "select")]
    assert sorted(map(str, told["excluded"])) == sorted(map(str, early))


def test_a_dry_run_tells_which_key_finds_nothing(archive, tmp_path, capsys):
    labels = [{**card_with().labels[1].model_dump(), "key": {"study": "site"}, "task": "knee_effusion"}]
    table = (archive / "labels.csv").read_text().replace("south", "south1").replace("south1", "south", 1)
    (archive / "labels.csv").write_text(table)
    told = ingest(card_with(labels=labels), str(archive), str(tmp_path / "out"), dry_run=True)
    account = told["label_audit"]["knee_effusion"]
    assert (account["samples"], account["rows"], account["task_card"]) == (0, 6, False)
    printed = capsys.readouterr().out
    assert "labels knee_effusion: 0 samples from 0 of 6 rows" in printed
    assert "'site' must hold the study as the files write it" in printed
    assert "no task card: `orthoray study` needs datasets/tasks/knee_effusion.yaml" in printed


def test_a_failed_worker_costs_its_own_shard_only(archive, tmp_path, monkeypatch, capsys):
    out, fresh = tmp_path / "dataset", tmp_path / "fresh"
    monkeypatch.setattr(pipeline, "shard_count", lambda images: 3)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "ShardWriter", FailingWriter)
        with pytest.raises(
            WorkerError, match=r"ValueError.*kept in .*dataset\.partial; the same command goes on"
        ) as error:
            ingest(card_with(), str(archive), str(out))
    assert "JANE" not in str(error.value)
    shards = [pq.read_table(file) for file in storage.list_files(f"{out}.partial/images", ".parquet")]
    finished = {patient for shard in shards for patient in shard["patient_id"].to_pylist()}
    ids = pseudonyms("trial", phi=True)
    folders = [f"MRN77-{number}" for number in range(PATIENTS) if ids.make("patient", f"MRN77-{number}") in finished]
    assert 0 < len(folders) < PATIENTS
    read = [file for folder in folders for file in (archive / folder).rglob("*.dcm")]
    _goes_on_without(read, archive, out, fresh, capsys)


def _older(folder):
    for file in storage.list_files(f"{folder}/ingest/survey", ".parquet"):
        pq.write_table(pq.read_table(file).drop_columns(["echo"]), file)


def _cut_off(folder):
    for file in storage.list_files(f"{folder}/ingest/reports", ".parquet"):
        os.truncate(file, 100)


@pytest.mark.parametrize("spoilt", [_older, _cut_off])
def test_what_cannot_be_used_again_is_told_and_made_afresh(archive, tmp_path, monkeypatch, capsys, spoilt):
    out, fresh = tmp_path / "dataset", tmp_path / "fresh"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "judge", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(card_with(), str(archive), str(out))
    spoilt(f"{out}.partial")
    ingest(card_with(), str(archive), str(out))
    printed = capsys.readouterr().out
    assert f"{out}.partial is damaged, or another version of OrthoRay left it" in printed
    assert "going on" not in printed
    spoilt(out)  # now the finished dataset, which is brought up to date
    (archive / "labels.csv").write_text((archive / "labels.csv").read_text() + "2.25.9,R,XR,north,1,\n")
    ingest(card_with(), str(archive), str(out))
    assert f"files of {out} are damaged, or of another version of OrthoRay" in capsys.readouterr().out
    ingest(card_with(), str(archive), str(fresh))
    assert content(out) == content(fresh)


def test_a_changed_task_card_renames_its_classes(archive, tmp_path, monkeypatch, capsys):
    place = tmp_path / "work"
    shutil.copytree(project_folders("datasets/tasks")[0], place / "datasets" / "tasks")
    monkeypatch.chdir(place)
    out, card = tmp_path / "dataset", place / "datasets" / "tasks" / "mr_acl.yaml"
    ingest(card_with(), str(archive), str(out))
    card.write_text(card.read_text().replace('["intact", "torn"]', '["whole", "torn"]'))
    for file in archive.rglob("*.dcm"):
        spoil(file)
    ingest(card_with(), str(archive), str(out))
    assert "nothing has changed" not in capsys.readouterr().out
    assert set(Dataset(str(out)).labels("mr_acl")["class_name"]) == {"whole", "torn"}
    ingest(card_with(), str(archive), str(out))
    assert "nothing has changed" in capsys.readouterr().out


def test_a_stack_whose_duplicate_left_does_not_tell_of_it(tmp_path):
    """One slice copied under another UID, and another position with two different images."""
    rng = np.random.default_rng(0)
    for series, twin in (("1", True), ("2", False)):
        for place in range(3):
            image = rng.integers(0, 4000, (40, 40)).astype(np.uint16)
            for copy in range(2 if place == 1 else 1):
                pixels = image if twin or not copy else image[::-1]
                save_dicom(
                    tmp_path / "in" / f"{series}-{place}-{copy}.dcm", pixels, "MR", PatientID="A",
                    StudyInstanceUID="2.25.1", SeriesInstanceUID=f"2.25.2{series}", BodyPartExamined="KNEE",
                    SOPInstanceUID=f"2.25.3{series}{place}{copy}", ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
                    ImagePositionPatient=[-3.0 * place, 0, 0], PixelSpacing=[0.5, 0.5], InstanceNumber=place + 1,
                    SliceThickness=3, Laterality="L",
                )  # fmt: skip
    card = card_with(facts=[], labels=[], bilateral="keep")
    ingest(card, str(tmp_path / "in"), str(tmp_path / "out"))
    dataset = Dataset(str(tmp_path / "out"))
    index = dataset.index()
    assert sorted(index.groupby("series_id")["geometry"].agg(lambda notes: f"{len(notes)} {set(notes)}")) == [
        "3 {''}", "4 {'duplicate_position'}"
    ]  # fmt: skip
    shards = {
        row["image_id"]: row["geometry"] for file in dataset.image_files() for row in pq.read_table(file).to_pylist()
    }
    assert shards == dict(zip(index["image_id"], index["geometry"], strict=True))


def test_screening_takes_images_out_and_gives_them_back(archive, tmp_path):
    """Excluded images leave the shards, keep a thumbnail, and come back when the rules let them."""
    out = tmp_path / "dataset"
    strict = card_with(screened="exclude", screening={"corrupt_pixels": {"levels": 255}})
    whole = ingest(card_with(), str(archive), str(tmp_path / "whole"))
    with pytest.raises(Exception, match="no image can be used"):
        ingest(strict, str(archive), str(out))
    some = card_with(screened="exclude", screening={"end_slice": {"on": False}, "mr_artefact": {"on": False}})
    made = ingest(some, str(archive), str(out))
    dataset = Dataset(str(out))
    held = [name for file in dataset.image_files() for name in pq.read_table(file)["image_id"].to_pylist()]
    assert sorted(held) == sorted(dataset.index()["image_id"])
    assert made["n_read"] == made["n_images"] + made["n_excluded"] == whole["n_read"]
    thumbnails = [pq.read_table(file).to_pylist() for file in storage.list_files(f"{out}/rejected", ".parquet")]
    late = dataset.excluded()
    late = set(late.loc[late["value"].notna(), "image_id"])
    assert {row["image_id"] for rows in thumbnails for row in rows} <= late
    for row in (row for rows in thumbnails for row in rows):
        assert max(decode(row["pixels"]).shape) <= 256


def test_explain_names_the_file_only_with_source_and_key(archive, tmp_path, monkeypatch):
    out = tmp_path / "dataset"
    ingest(card_with(), str(archive), str(out))
    image = Dataset(str(out)).index()["image_id"].iloc[0]
    text = "\n".join(explain(str(out), image))
    assert "give --source" in text
    assert str(archive) not in text
    assert "kept      as slice" in text
    assert str(archive) in "\n".join(explain(str(out), image, str(archive)))
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "another-key-of-the-tests-0123")
    with pytest.raises(InputError, match="not the dataset's"):
        explain(str(out), image, str(archive))
    with pytest.raises(InputError, match="knows no image"):
        explain(str(out), "i0000")


def _interrupt(*_):
    raise KeyboardInterrupt


def _with_pixels(file, pixels, **attributes):
    dataset = pydicom.dcmread(file)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(file)


def test_what_was_surveyed_is_not_lost_when_a_later_run_stops_early(tmp_path):
    files = pd.DataFrame({"file": ["a", "b"], "file_key": ["fa", "fb"], "version": ["va", "vb"]})
    rows = files.assign(frame=0, day=[730_000.0, np.nan])
    ids = Pseudonyms(b"a-key-of-the-tests", "trial")
    first = IngestState(str(tmp_path), ids)
    first.add_survey(rows[:1])
    first.compact_survey(rows[:1])
    IngestState(str(tmp_path), ids).add_survey(rows[1:])  # and no more: interrupted before it is made compact
    found = IngestState(str(tmp_path), ids).surveyed(files).sort_values("file", ignore_index=True)
    pd.testing.assert_frame_equal(found[list(rows)], rows, check_dtype=False)


def test_an_image_that_leaves_is_counted_once_though_another_has_its_identifier(tmp_path):
    film = np.random.default_rng(0).integers(0, 4000, (64, 64)).astype(np.uint16)
    shared = {"PatientID": "A", "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", "WindowCenter": 2000}
    shared |= {"WindowWidth": 4000, "BodyPartExamined": "KNEE"}
    flat = np.where(film > 2000, 3000, 1000).astype(np.uint16)
    save_dicom(tmp_path / "in" / "a.dcm", flat, "DX", SOPInstanceUID="2.25.7", **shared)
    save_dicom(tmp_path / "in" / "b.dcm", film, "DX", SOPInstanceUID="2.25.7", **shared)
    save_dicom(tmp_path / "in" / "c.dcm", film[::-1], "DX", SOPInstanceUID="2.25.8", **shared)
    card = card_with(facts=[], labels=[], bilateral="keep", screened="exclude")
    manifest = ingest(card, str(tmp_path / "in"), str(tmp_path / "out"))
    reasons = {row["reason"]: row["count"] for row in manifest["excluded"]}
    assert reasons == {"corrupt_pixels": 1, "same_identifier": 1}
    assert manifest["n_images"] == 1
