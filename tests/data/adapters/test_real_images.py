"""Cards of image folders on the real images: counts, labels and persons are those of labels.csv."""

import pandas as pd
import pytest

from orthoray.data.cards import load_card
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.data.labels import label_table
from orthoray.data.tables import Tables
from orthoray.imaging.pseudonyms import pseudonyms

pytestmark = [pytest.mark.data, pytest.mark.ray, pytest.mark.slow]

SETS = {
    "fundus_glaucoma": "fundus-glaucoma-hygd",
    "chest_pneumonia_nih": "chest-pneumonia-nih",
    "chest_pneumonia_kermany": "chest-pneumonia-kermany",
    "chest_pneumothorax": "chest-pneumothorax-nih",
    "blood_leukemia": "blood-leukemia-cnmc",
    "skin_melanoma": "skin-melanoma-isic-uda1",
    "knee_xray_kl": "knee-xray-kl",
}
IMAGES, LIMIT = 26, 24


def some_of(source, folder):
    """Links to images spread over the whole set, beside its labels.csv."""
    table = pd.read_csv(source / "labels.csv", dtype=str, keep_default_na=False).sort_values("file")
    chosen = table.iloc[:: max(1, len(table) // IMAGES)][:IMAGES]
    for file in chosen["file"]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).symlink_to(source / file)
    (folder / "labels.csv").symlink_to(source / "labels.csv")
    return chosen


@pytest.mark.parametrize("name", SETS)
def test_ingest_says_what_the_table_says(name, shared_data, tmp_path, ray_session):
    source, card = shared_data(SETS[name]), load_card(name)
    expected = some_of(source, tmp_path / "in")[:LIMIT]
    manifest = ingest(card, str(tmp_path / "in"), str(tmp_path / "out"), limit=LIMIT)
    dataset, entry = Dataset(str(tmp_path / "out")), card.labels[0]
    assert manifest["n_read"] == len(expected) == LIMIT
    index, excluded = dataset.index(), dataset.excluded()
    assert len(index) + len(excluded) == LIMIT
    if card.screened == "review":
        assert set(excluded["stage"]) <= {"duplicates"}
    ids = pseudonyms(card.source_code, phi=False)
    person = expected["patient_id"].where(expected["patient_id"] != "", expected.get("image_id", ""))
    person = person.map(lambda value: ids.make("patient", value))
    image = [ids.make("image", f"{who}|{file}|0|") for who, file in zip(person, expected["file"], strict=True)]
    assert set(image) == set(index["image_id"]) | set(excluded["image_id"])
    cells = expected[entry.column].map(entry.values) if entry.values else expected[entry.column].astype(int)
    truth = {name: row for name, *row in zip(image, person, cells, strict=True) if name in set(index["image_id"])}
    labels = dataset.labels(entry.task)
    assert {row.sample_id: [row.patient_id, row.label] for row in labels.itertuples()} == truth
    assert labels["label"].nunique() > 1
    assert set(index["modality"]) == {card.defaults.modality}


@pytest.mark.parametrize("name", SETS)
def test_every_row_of_the_table_has_its_class(name, shared_data):
    source, card = shared_data(SETS[name]), load_card(name)
    entry = card.labels[0]
    rows = label_table(entry, Tables(str(source), pseudonyms(card.source_code, phi=False)))
    printed = pd.read_csv(source / "labels.csv", dtype=str)[entry.column].value_counts().to_dict()
    counts = rows["label"].value_counts().to_dict()
    assert {cell: counts[entry.values.get(cell, int(cell) if cell.isdigit() else -1)] for cell in printed} == printed


def test_exact_duplicates_without_persons_are_one_person(shared_data):
    """The two duplicates of the dermoscopy set would otherwise lie in two folds."""
    source, card = shared_data("skin-melanoma-isic-uda1"), load_card("skin_melanoma")
    tables = Tables(str(source), pseudonyms(card.source_code, phi=False))
    table = pd.read_csv(source / "labels.csv", dtype=str, keep_default_na=False)
    person = tables.column(card.facts[0], card.facts[0].columns["patient"])
    assert len(table) == 557
    assert person.nunique() == 555
    assert (person != table["image_id"]).sum() == 2
