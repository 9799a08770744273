"""Images that are no knees are found by features, listed by the next ingest, and scores of other pixels are ignored."""

import csv
import hashlib

import cv2
import numpy as np
import pytest
from tests.data.audit.sources import bones, export_of

from orthoray import storage
from orthoray.config import parse_config
from orthoray.data.audit import import_decisions
from orthoray.data.cards import DatasetCard
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.data.outliers import known_scores
from orthoray.errors import InputError
from orthoray.evaluation.outliers import find_outliers

KNEES, INTRUDERS = 260, 5
CARD = {
    "name": "mixed",
    "title": "Knees and five other pictures",
    "phi_source": False,
    "reader": "images",
    "glob": ["*.png"],
    "defaults": {"modality": "XR", "body_part": "knee"},
    "screened": "review",
    "screening": {"blurred": {"on": False}, "exposure": {"on": False}, "low_contrast": {"on": False}},
    "facts": [{"table": "who.csv", "key": {"file": "file"}, "columns": {"patient": "patient"}}],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Films with two shafts, five films with rings."""
    folder, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :80]
    names = [f"knee-{number:03d}.png" for number in range(KNEES)]
    names += [f"ring-{number}.png" for number in range(INTRUDERS)]
    with open(folder / "who.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "patient"), *((name, name[:-4]) for name in names)])
    for number, name in enumerate(names):
        rings = 120 + 100 * np.sin(np.hypot(rows - 48, columns - 40) / (2.5 + number % 5))
        image = rings.astype(np.uint8) if name.startswith("ring") else bones(rng)
        cv2.imwrite(str(folder / name), image)
    return folder


@pytest.mark.ray
@pytest.mark.slow
def test_intruders_are_found_and_the_next_ingest_lists_them(ray_session, source, tiny_checkpoint, tmp_path):
    card, out = parse_config(DatasetCard, CARD, "card"), str(tmp_path / "dataset")
    backbone = tiny_checkpoint(tmp_path / "backbone", seed=0)
    ingest(card, str(source), out)
    with pytest.raises(InputError, match=r"none\. At least 200 images of a modality"):
        find_outliers(out, backbone)

    index = Dataset(out).index()
    said = export_of(out, lambda tile: "accept", n=KNEES + INTRUDERS, rejected=0)
    export = tmp_path / "ab.json"
    export.write_text(said.model_dump_json())
    import_decisions(out, [str(export)])
    found = find_outliers(out, backbone)
    assert len(found) == len(index)
    pixels = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).tobytes() for file in source.glob("ring-*.png"))
    rings = set(index.loc[index["sha256"].isin([hashlib.sha256(values).hexdigest() for values in pixels]), "image_id"])
    assert len(rings) == INTRUDERS
    assert (found["outlier_score"] > 1).sum() < INTRUDERS + 0.06 * KNEES

    manifest = ingest(card, str(source), out)
    review = storage.read_table(f"{out}/review.parquet").to_pandas()
    listed = review[review["detail"].str.contains("outlier score")]
    assert set(listed["image_id"]) == set(found.loc[found["outlier_score"] > 1, "image_id"])
    assert len(rings & set(listed["image_id"])) >= INTRUDERS - 1
    assert manifest["review"]["non_knee"] == len(listed)
    assert ingest(card, str(source), out)["inputs"] == manifest["inputs"]

    changed = index[["image_id", "sha256"]].assign(sha256="0" * 64)
    assert np.isnan(known_scores(out, changed)).all()
    assert np.isfinite(known_scores(out, index)).all()
