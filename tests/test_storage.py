"""Atomic writes and the same names on a local and on another filesystem."""

import pyarrow as pa
import pytest

from orthoray import storage
from orthoray.errors import InputError


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_files_json_and_tables_round_trip(root):
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    storage.write_table(table, storage.join(root, "sub", "t.parquet"))
    storage.write_json(storage.join(root, "j.json"), {"ä": 1})
    assert storage.read_table(storage.join(root, "sub/t.parquet"), columns=["b"]).to_pydict() == {"b": ["x", "y"]}
    assert storage.read_json(storage.join(root, "j.json")) == {"ä": 1}
    assert [name.rpartition("/")[2] for name in storage.list_files(root)] == ["j.json", "t.parquet"]


def test_failed_write_leaves_the_old_content_and_no_debris(root):
    target = storage.join(root, "report.html")
    storage.write_bytes(target, b"old")

    def interrupted():
        with storage.replacing(target) as temporary:
            storage.write_bytes(temporary, b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert storage.read_bytes(target) == b"old"
    assert len(storage.list_files(root)) == 1


def test_missing_damaged_and_unknown_places(root):
    storage.write_bytes(storage.join(root, "j.json"), b"{")
    with pytest.raises(InputError, match="damaged"):
        storage.read_json(storage.join(root, "j.json"))
    with pytest.raises(InputError, match="no such file"):
        storage.read_json(storage.join(root, "none.json"))
    with pytest.raises(InputError, match="cannot be opened"):
        storage.exists("nonsense://bucket/x")


def test_absolute_makes_only_local_paths_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/b") == str(tmp_path / "a/b")
    assert storage.absolute("memory://a/b") == "memory://a/b"
