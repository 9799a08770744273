"""The survey of a folder, whole and in pieces."""

import cv2
import numpy as np
import pytest

import orthoray.data.survey as module
from orthoray import storage
from orthoray.config import parse_config
from orthoray.data.cards import DatasetCard
from orthoray.data.listing import list_source
from orthoray.data.schema import as_table
from orthoray.data.state import IngestState, file_keys
from orthoray.data.survey import SURVEY, survey
from orthoray.imaging.pseudonyms import Pseudonyms

pytestmark = pytest.mark.ray
FILES = 20
CARD = parse_config(DatasetCard, {"name": "trial", "title": "Trial", "phi_source": False, "reader": "images"}, "test")
IDS = Pseudonyms(b"a-key-of-the-tests", "trial")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(FILES):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.full((20, 30), number, np.uint8))
    (folder / "05.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def files(source):
    return file_keys(list_source(str(source), CARD), IDS)


def test_one_row_per_frame_in_order_with_the_types_of_the_facts(source, files, ray_session):
    found = survey(files, str(source), CARD, IDS)
    assert found["file"].tolist() == [f"{number:02d}.png" for number in range(FILES)]
    assert found.loc[found["reason"] != "", ["file", "stage"]].to_numpy().tolist() == [["05.png", "read"]]
    assert as_table(found, SURVEY).to_pandas().equals(found)
    assert set(found.dtypes.astype(str)) == {"str", "int64", "float64", "bool"}
    assert (found["day"].isna() & found["row_x"].isna() & (found["image_key"] == "")).all()


def test_facts_are_kept_while_files_are_read_and_not_read_again(source, files, tmp_path, monkeypatch, ray_session):
    whole = survey(files, str(source), CARD, IDS)
    monkeypatch.setattr(module, "BLOCK_FILES", 2)
    monkeypatch.setattr(module, "KEEP_BLOCKS", 3)
    state = IngestState(str(tmp_path / "out"), IDS)
    first = survey(files[::2], str(source), CARD, IDS, state)
    assert len(storage.list_files(state.survey)) == 2  # five blocks
    assert first.equals(whole[::2].reset_index(drop=True))
    for name in files["file"][::2]:
        (source / name).unlink()
    assert survey(files, str(source), CARD, IDS, state).equals(whole)
