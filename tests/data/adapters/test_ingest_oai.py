"""The whole way from a synthetic Osteoarthritis Initiative to a dataset, with the project's card."""

import numpy as np
import pytest
from tests.data.adapters.oai_source import ENROLLED, PERSONS, truth, write_oai
from tests.imaging.objects import save_dicom

from orthoray import storage
from orthoray.data.cards import load_card
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.imaging.pseudonyms import pseudonyms

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def made(tmp_path_factory, ray_session):
    """(dataset, names of the pseudonyms) of one ingest."""
    source = write_oai(tmp_path_factory.mktemp("oai"))
    rng = np.random.default_rng(0)
    for place, file in enumerate(sorted(source.glob("*/*/*/*/*/001"))):
        person, day = file.parts[-4], file.parts[-3]
        film = rng.integers(0, 400, (64, 96)).astype(np.uint16)
        film[:, 48:] += np.uint16(2000 + place)
        save_dicom(
            file, film, "DX", PatientID=person, StudyDate=day, StudyInstanceUID=f"2.25.77{place}",
            SeriesInstanceUID=f"2.25.78{place}", ImagerPixelSpacing=[0.2, 0.2], WindowCenter=1500, WindowWidth=3000,
        )  # fmt: skip
    out = tmp_path_factory.mktemp("out") / "oai"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
        card = load_card("oai_xray").model_copy(update={"screened": "review", "short_side": 32})
        ingest(card, str(source), str(out))
        ids = pseudonyms("oai", phi=True)
    return Dataset(str(out)), {ids.make("patient", person): person for person in PERSONS}


def test_every_film_of_a_knee_is_two_images_and_the_rest_has_its_reason(made):
    dataset, names = made
    excluded = dataset.excluded()
    assert (
        excluded["reason"].tolist() == ["unwanted"] * 7
    )  # two halves of a hand and of a film that is there twice; 3 MR
    index = dataset.index()
    assert len(index) == len(truth()) == 28
    assert set(index["patient_id"].map(names)) == set(PERSONS)


def test_labels_are_those_written_by_hand(made):
    dataset, names = made
    index = dataset.index().set_index("image_id")
    expected = truth()
    for task, column in {"xr_kl": "kl", "xr_kl48": "kl48", "xr_kl96": "kl96", "xr_tkr": "tkr"}.items():
        labels = dataset.labels(task).set_index("sample_id")
        rows = index.loc[labels.index, ["patient_id", "visit", "laterality"]].assign(label=labels["label"].astype(str))
        rows["patient_id"] = rows["patient_id"].map(names)
        written = expected.loc[expected[column] != "", ["person", "visit", "side", column]]
        assert sorted(rows.itertuples(index=False, name=None)) == sorted(written.itertuples(index=False, name=None))
    survival = dataset.labels("xr_tkr")
    assert survival["event"].sum() == 3
    assert survival["days"].max() == 3287


def test_facts_come_from_the_tables(made):
    dataset, names = made
    index = dataset.index().assign(person=lambda table: table["patient_id"].map(names))
    late = index[(index["person"] == "1000012") & (index["visit"] == "V06")]
    assert set(late["days_from_baseline"]) == {1461}
    assert set(late["age"]) == {75.0}
    assert set(index["site"]) == {"C"}
    assert set(index["view"]) == {"PA"}


def test_nobody_can_be_found_in_the_dataset(made):
    dataset, _ = made
    needles = [*PERSONS, ENROLLED.strftime("%Y%m%d"), "0166000001", "Columbus"]
    for file in storage.list_files(dataset.uri):
        content = storage.read_bytes(file)
        assert not [needle for needle in needles if needle.encode() in content], file
