"""Ingest of a small archive with planted faults and planted identities."""

import errno
import hashlib
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.data.sources import ECHOES, PATIENTS, SLICES, TOKENS, card_with, film_of, write_archive
from tests.imaging.objects import save_dicom

import orthoray.data.ingest as module
import orthoray.data.pipeline as pipeline
from orthoray import storage
from orthoray.data.codec import decode
from orthoray.data.dataset import Dataset
from orthoray.data.failures import worker_failures
from orthoray.data.ingest import ingest
from orthoray.data.schema import IMAGES, INDEX
from orthoray.errors import InputError, RunError

pytestmark = pytest.mark.ray
KEY = "a-key-of-the-tests-0123456789"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive") / "MRN77-source")


@pytest.fixture(scope="module")
def made(archive, tmp_path_factory, ray_session):
    """(dataset, everything in it by name) of one ingest."""
    out = tmp_path_factory.mktemp("out") / "dataset"
    os.environ["ORTHORAY_HMAC_KEY"] = KEY
    ingest(card_with(), str(archive.root), str(out))
    return Dataset(str(out))


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", KEY)


def pixels_of(dataset):
    tables = [pq.read_table(file) for file in dataset.image_files()]
    return {row["image_id"]: decode(row["pixels"]) for table in tables for row in table.to_pylist()}


def test_everything_read_is_an_image_or_has_its_reason(made, archive):
    manifest, excluded = made.manifest, made.excluded()
    assert excluded.groupby(["stage", "reason"]).size().to_dict() == archive.expected
    images = 2 * PATIENTS + PATIENTS * len(ECHOES) * SLICES
    assert manifest["n_images"] == len(made.index()) == images
    assert manifest["n_read"] == manifest["n_images"] + manifest["n_excluded"]
    funnel = {step["stage"]: step["count"] for step in manifest["funnel"]}
    assert funnel["files found"] == len(storage.list_files(str(archive.root), ".dcm"))
    assert funnel["images after splitting films"] == manifest["n_read"]
    assert funnel["without duplicates"] == images
    assert manifest["counts"][1] == {
        "source": "trial", "modality": "XR", "patients": 6, "studies": 6, "series": 12, "images": 12
    }  # fmt: skip


def test_columns_row_groups_and_hashes(made):
    rows = 0
    for file in made.image_files():
        parquet = pq.ParquetFile(file)
        assert parquet.schema_arrow.equals(IMAGES)
        assert all(parquet.metadata.row_group(i).num_rows <= 256 for i in range(parquet.num_row_groups))
        for row in parquet.read().to_pylist():
            image = decode(row["pixels"], row["codec"])
            assert image.shape == (row["height"], row["width"])
            assert hashlib.sha256(image.tobytes()).hexdigest() == row["sha256"]
            rows += 1
    index = made.index()
    assert list(index.columns) == INDEX.names
    assert rows == len(index) == index["image_id"].nunique()


def test_the_index_says_what_the_shards_say(made):
    shards = [pq.read_table(file).drop_columns("pixels").to_pylist() for file in made.image_files()]
    expected = {row["image_id"]: without_nan(row) for rows in shards for row in rows}
    index = pq.read_table(storage.join(made.uri, "index.parquet"))
    assert index.schema.equals(INDEX)
    found = index.to_pylist()
    assert found == [expected[row["image_id"]] for row in found]
    order = [(row["series_id"], row["slice_index"]) for row in found]
    assert order == sorted(order)
    assert any(row["quality"]["snr"] is None for row in found)


def without_nan(value):
    """None in place of NaN, also in dicts."""
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    return None if value != value else value


def test_series_are_contiguous_and_ordered_and_patients_whole(made):
    owner = {}
    for number, file in enumerate(made.image_files()):
        table = pq.read_table(file).to_pandas()
        changes = (table["series_id"] != table["series_id"].shift()).sum()
        assert changes == table["series_id"].nunique()
        for _, series in table.groupby("series_id", sort=False):
            assert list(series["slice_index"]) == list(range(len(series)))
            assert set(series["slice_count"]) == {len(series)}
        for patient in table["patient_id"].unique():
            assert owner.setdefault(patient, number) == number
    assert len(owner) == PATIENTS


def test_image_left_half_is_the_right_knee(made):
    index, pixels = made.index(), pixels_of(made)
    films = index[index["modality"] == "XR"]
    assert films["laterality"].value_counts().to_dict() == {"L": PATIENTS, "R": PATIENTS}
    for row in films.itertuples():
        mean = pixels[row.image_id].mean()
        assert mean < 60 if row.laterality == "R" else mean > 150
    assert set(films["width"]) == {32}
    np.testing.assert_allclose(films["row_spacing_mm"], 0.2 * 48 / 32)


def test_echoes_become_stacks_in_spatial_order(made):
    index, pixels = made.index(), pixels_of(made)
    stacks = index[index["modality"] == "MR"].groupby("series_id")
    assert stacks.ngroups == PATIENTS * len(ECHOES)
    for _, stack in stacks:
        ordered = stack.sort_values("slice_index")
        means = [pixels[name].mean() for name in ordered["image_id"]]
        assert len(means) == SLICES
        assert (np.diff(means) > 0).all()  # the normal points to -x, and so do the places
        assert set(stack["plane"]) == {"sagittal"}


def test_labels_follow_the_side_and_the_study(made):
    index = made.index()
    grades = index.merge(made.labels("xr_kl"), left_on="image_id", right_on="sample_id")
    assert len(grades) == 2 * PATIENTS
    by_patient = grades.pivot_table(index="patient_id_x", columns="laterality", values="label")
    assert ((by_patient["R"] + 1) % 5 == by_patient["L"]).all()
    assert (grades["class_name"] == "KL " + grades["label"].astype(str)).all()
    tears = made.labels("mr_acl")
    assert set(tears["sample_id"]) == set(index.loc[index["modality"] == "MR", "study_id"])
    assert tears["label"].sum() == PATIENTS // 2
    audit = made.manifest["label_audit"]["xr_kl"]
    assert (audit["rows"], audit["matched"], audit["unmatched"]) == (14, 12, 2)
    assert audit["reasons"] == {"no label": 1, "no such image in the source": 1, "its images were excluded": 0}


def test_facts_from_header_and_table(made):
    index = made.index()
    assert set(index["site"]) == {"north", "south"}
    assert set(index["age"]) == {90.0}
    assert set(index.loc[index["modality"] == "MR", "days_from_baseline"]) == {30}
    assert set(index.loc[index["modality"] == "XR", "days_from_baseline"]) == {0}


def test_no_identity_is_in_any_byte_or_line(archive, tmp_path, capfd, ray_session):
    out = tmp_path / "dataset"
    ingest(card_with(), str(archive.root), str(out))
    files = storage.list_files(str(tmp_path))
    assert len(files) >= 6
    for file in files:
        content = storage.read_bytes(file).upper() + file.encode()
        assert not [token for token in TOKENS if token.encode() in content], file
    printed = "".join(capfd.readouterr()).upper()
    assert "WITHOUT DUPLICATES" in printed
    assert not [token for token in TOKENS if token in printed]


def test_content_decides_the_dataset_id(made, archive, tmp_path, monkeypatch, ray_session):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "another-key-of-the-tests-012345")
    other = ingest(card_with(), str(archive.root), str(tmp_path / "b"))
    assert other["dataset_id"] != made.manifest["dataset_id"]
    assert other["key_id"] != made.manifest["key_id"]
    ids = set(Dataset(str(tmp_path / "b")).index()["patient_id"])
    assert not ids & set(made.index()["patient_id"])
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", KEY)
    again = ingest(card_with(), str(archive.root), str(tmp_path / "b"), overwrite=True)
    assert again["dataset_id"] == made.manifest["dataset_id"]
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("fault", "told", "kept"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, True),
        (OSError(errno.ENOSPC, "full"), OSError, False),
        (OSError(errno.EIO, "the network"), OSError, True),
        (RunError("nothing was kept"), RunError, False),
        (InputError("rows disagree"), RunError, True),  # by then something was written, and is worth keeping
    ],
)
def test_a_crash_leaves_what_was_there(archive, tmp_path, monkeypatch, ray_session, fault, told, kept):
    def fail(*_, **__):
        raise fault

    out = tmp_path / "dataset"
    out.mkdir()
    storage.write_json(str(out / "manifest.json"), {"dataset_id": "old"})
    monkeypatch.setattr(pipeline, "write_labels", fail)
    with pytest.raises(told) as error:
        ingest(card_with(), str(archive.root), str(out), overwrite=True, limit=4)
    assert sorted(os.listdir(tmp_path)) == ["dataset", *(["dataset.partial"] if kept else [])]
    assert ("kept in" in str(error.value)) == isinstance(fault, InputError)
    assert Dataset(str(out)).manifest == {"dataset_id": "old"}


def test_a_failed_replacement_puts_the_old_dataset_back(archive, tmp_path, monkeypatch, ray_session):
    def rename(source, target):
        if source.endswith(".partial"):
            raise OSError
        original(source, target)

    original = storage.rename
    out = tmp_path / "dataset"
    storage.write_json(str(out / "manifest.json"), {"dataset_id": "old"})
    monkeypatch.setattr(module.storage, "rename", rename)
    monkeypatch.setattr(module, "build", lambda *_, **__: {})
    with pytest.raises(OSError):
        ingest(card_with(), str(archive.root), str(out), overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["dataset", "dataset.partial"]  # what was built waits for the next run
    assert Dataset(str(out)).manifest == {"dataset_id": "old"}


def test_paths_do_not_matter_and_copies_are_found(tmp_path, ray_session):
    first = film_of(0, np.random.default_rng(0))
    names = {"StudyInstanceUID": "2.25.1", "SOPInstanceUID": "2.25.7", "PatientID": "A", "WindowWidth": 3000}
    names |= {"WindowCenter": 1500, "SeriesInstanceUID": "2.25.2"}
    ids = []
    for folder in ("one", "two"):
        save_dicom(tmp_path / folder / folder / "a.dcm", first, "DX", **names)
        card = card_with(facts=[], labels=[], bilateral="keep")
        ids.append(ingest(card, str(tmp_path / folder), str(tmp_path / f"{folder}-out"))["dataset_id"])
    assert ids[0] == ids[1]
    save_dicom(tmp_path / "two" / "copy.dcm", first, "DX", **names)
    save_dicom(tmp_path / "two" / "other.dcm", first[::-1], "DX", **names)
    manifest = ingest(card, str(tmp_path / "two"), str(tmp_path / "two-out"), overwrite=True)
    reasons = {row["reason"]: row["count"] for row in manifest["excluded"]}
    assert reasons == {"same_pixels": 1, "same_identifier": 1}
    assert manifest["n_images"] == 1


def test_table_facts_override_and_contradictions_are_refused(tmp_path, ray_session):
    film = film_of(0, np.random.default_rng(0))
    for name in ("a", "b"):
        save_dicom(tmp_path / "in" / f"{name}.dcm", film + ord(name), "DX", PatientID=name, PatientAge="050Y")
    table = tmp_path / "in" / "t.csv"
    facts = [{"table": "t.csv", "key": {"patient": "who"}, "columns": {"age": "age", "laterality": "side"}}]
    card = card_with(facts=facts, labels=[], bilateral="keep")
    table.write_text("who,age,side\na,97,L\nc,20,R\n")
    manifest = ingest(card, str(tmp_path / "in"), str(tmp_path / "out"))
    index = Dataset(str(tmp_path / "out")).index().sort_values("age")
    assert index[["age", "laterality"]].to_numpy().tolist() == [[50.0, "U"], [90.0, "L"]]
    expected = {"table": "t.csv", "rows": 2, "without_key": 0}
    expected |= {"images": 1, "images_not_in_table": 1, "rows_without_image": 1}
    assert manifest["facts_audit"] == [expected]
    table.write_text("who,age,side\na,9,L\na,8,L\n")  # wrong cells: test_facts
    with pytest.raises(InputError, match="different"):
        ingest(card, str(tmp_path / "in"), str(tmp_path / "new"))
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_a_failing_worker_is_told_without_its_message(ray_session):
    import ray

    @ray.remote
    def work():
        raise ValueError("about JANE DOE")

    with pytest.raises(RunError, match="ValueError") as error, worker_failures("testing"):
        ray.get(work.remote())
    assert "JANE" not in str(error.value)
    assert error.value.__suppress_context__


def wrong(**change):
    return [card_with().labels[1].model_dump() | change]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glob": ["**/*.tif"]}, r"none of its \d+ files match \*\*/\*.tif"),
        ({"labels": wrong(table="labls.csv")}, "this table of the card is missing"),
        ({"labels": wrong(column="acll")}, "no column 'acll'. Did you mean 'acl'"),
        ({"labels": wrong(column="modality")}, r"6 cell\(s\) of column modality are no class of mr_acl.*'MR' \(6\)"),
        ({"labels": wrong(column="study_uid")}, "are no class of mr_acl.*they are not quoted"),
    ],
)
def test_bad_input_writes_nothing(archive, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        ingest(card_with(**changes), str(archive.root), str(tmp_path / "out"))
    assert os.listdir(tmp_path) == []


def test_out_and_source_are_checked(archive, tmp_path, made, monkeypatch):
    with pytest.raises(InputError, match=r"these differ: name, source. Give --overwrite"):
        ingest(card_with(name="another", source="test"), str(archive.root), made.uri)
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "another-key-of-the-tests-0123456789")
    with pytest.raises(InputError, match="another pseudonym key"):
        ingest(card_with(), str(archive.root), made.uri)
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", KEY)
    with pytest.raises(InputError, match="no such folder"):
        ingest(card_with(), str(tmp_path / "absent"), str(tmp_path / "out"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and no dataset"):
        ingest(card_with(), str(archive.root), str(tmp_path), overwrite=True)
    with pytest.raises(InputError, match="at least 1"):
        ingest(card_with(), str(archive.root), str(tmp_path / "out"), limit=0)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_nothing_usable_is_an_error(archive, tmp_path, ray_session):
    for glob in ("odd/text.dcm", "odd/cut.dcm", "odd/blank.dcm"):
        with pytest.raises(RunError, match="no image can be used"):
            ingest(card_with(glob=[glob]), str(archive.root), str(tmp_path / "out"))
    assert os.listdir(tmp_path) == []


def test_files_of_the_other_kind_are_excluded(archive, tmp_path, ray_session):
    card = card_with(reader="images", glob=["MRN77-0/*.dcm", "*.png"])
    with pytest.raises(RunError, match="other_format"):
        ingest(card, str(archive.root), str(tmp_path / "out"))
