"""Planted identities: none is in any byte of a whole ingest, its master tier, its review sheet and Ray's logs."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from tests.data.sources import card_with
from tests.imaging.deid.phi_object import TOKENS, leaks, planted

from orthoray.data.audit.commands import write_sheet
from orthoray.data.audit.sample import Parameters
from orthoray.data.dataset import Dataset
from orthoray.data.explain import explain
from orthoray.data.ingest import ingest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
FILES = 4


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Slices of one study; folder and file names carry tokens too."""
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
    folder = tmp_path / "source" / TOKENS["PatientName"].replace("^", "_")
    folder.mkdir(parents=True)
    for number in range(FILES):
        content = planted(
            SOPInstanceUID=f"{TOKENS['image UID']}.{number}",
            InstanceNumber=number + 1,
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            ImagePositionPatient=[3.0 * number, 0, 0],
        )
        (folder / f"{TOKENS['PatientID']}-{number}.dcm").write_bytes(_brighter(content, number))
    (folder / f"{TOKENS['AccessionNumber']}.dcm").write_bytes(planted()[:900])
    return tmp_path / "source"


def test_no_token_is_in_any_byte(source, tmp_path, capfd, ray_session):
    out = tmp_path / "dataset"
    begun = _logs()
    manifest = ingest(card_with(facts=[], labels=[], master=True, bilateral="keep"), str(source), str(out))
    assert manifest["n_images"] == FILES
    assert manifest["n_excluded"] == 1
    write_sheet(str(out), str(out / "sheet.html"), Parameters(n=FILES, rejected=1))
    told = [line for table in ("index", "excluded") for line in explain(str(out), _first(out, table))]
    printed = ("".join(capfd.readouterr()) + "\n".join(told)).encode()
    contents = {str(file): file.read_bytes() + str(file).encode() for file in out.rglob("*") if file.is_file()}
    assert len(contents) >= 10
    contents |= {name: Path(name).read_bytes()[begun.get(name, 0) :] for name in _logs()} | {"printed": printed}
    wanted = {name: token.encode("utf-8") for name, token in TOKENS.items()}
    wanted |= {f"{name} (GB18030)": token.encode("gb18030") for name, token in TOKENS.items()}
    found = [(place, name) for place, text in contents.items() for name, token in wanted.items() if token in text]
    assert not found
    master = [row for file in out.rglob("master/*.parquet") for row in pq.read_table(file).to_pylist()]
    assert len(master) == FILES
    for row in master:
        assert row["reason"] is None
        assert not leaks(row["dicom"], TOKENS)
    told = Dataset(str(out)).index().iloc[0]
    kept = {name: value for name, value in told["acquisition"].items() if value is not None}
    assert len(kept) >= 10, kept


def _first(out, table):
    return pq.read_table(out / f"{table}.parquet")["image_id"][0].as_py()


def _brighter(content, number):
    """The file with other grey levels in its first words; what hides in their high bits stays."""
    before = pydicom.dcmread(io.BytesIO(content)).PixelData
    words = np.frombuffer(before[: len(before) // 2 * 2], "<u2").copy()
    words[:64] = words[:64] & 0xF000 | 250 * number
    return content.replace(before, words.tobytes() + before[len(words) * 2 :])


def _logs():
    """Ray's log files and their sizes."""
    import ray

    folder = ray._private.worker._global_node.get_session_dir_path()
    return {str(file): os.path.getsize(file) for file in Path(folder, "logs").rglob("*") if file.is_file()}
