"""Listing of a source."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.data.sources import card_with

from orthoray.data.listing import list_source
from orthoray.errors import InputError
from orthoray.imaging import sniff


@pytest.fixture
def source(tmp_path):
    for name in ("b/2.dcm", "a.dcm", "b/c/3.dcm", "note.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * len(name))
    return tmp_path


def test_files_are_relative_sorted_and_limited(source):
    files = list_source(str(source), card_with())
    assert files["file"].tolist() == ["a.dcm", "b/2.dcm", "b/c/3.dcm"]
    assert files["size"].tolist() == [5, 7, 9]
    assert list_source(str(source), card_with(), limit=2)["file"].tolist() == ["a.dcm", "b/2.dcm"]
    assert list_source(str(source), card_with(glob=["b/*.dcm"]))["file"].tolist() == ["b/2.dcm", "b/c/3.dcm"]


def test_a_file_that_was_written_again_shows(source):
    before = list_source(str(source), card_with())
    os.utime(source / "a.dcm", ns=(1, 1))
    after = list_source(str(source), card_with())
    assert (before["changed"] != after["changed"]).tolist() == [True, False, False]


def test_loops_of_links_end_and_dead_links_are_listed(source, capsys):
    (source / "b" / "loop").symlink_to(source)
    (source / "dead.dcm").symlink_to(source / "nowhere")
    (source / "self").symlink_to(source / "self")
    assert list_source(str(source), card_with())["file"].tolist() == ["a.dcm", "b/2.dcm", "b/c/3.dcm", "dead.dcm"]
    assert "1 link(s) to folders are not followed" in capsys.readouterr().out


def test_a_folder_that_cannot_be_looked_into_is_an_error_and_not_named():
    """Root may look into everything, so root is nobody for a moment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "JANE").mkdir(mode=0)
        (folder / "a.dcm").write_bytes(b"x")
        with as_nobody(), pytest.raises(InputError, match="1 of its folders cannot be looked into") as error:
            list_source(name, card_with())
        assert "JANE" not in str(error.value)


@contextmanager
def as_nobody():
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_names_of_any_bytes_are_text_and_lead_to_their_file(source):
    """GBK, as Chinese archives have it, is no UTF-8."""
    name = os.fsencode(source) + b"/\xcd\xf5\xd0\xa1\xb6\xab.dcm"
    with open(name, "wb") as file:
        file.write(b"II*\0" + bytes(100))
    files = list_source(str(source), card_with())["file"]
    assert len(files) == 4
    assert [text.encode() for text in files]  # valid Unicode
    assert [sniff(f"{source}/{text}") for text in files if not text.isascii()] == ["tiff"]


def test_the_same_list_from_another_filesystem(source):
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("a.dcm", "b/2.dcm", "b/c/3.dcm"):
        memory.pipe(f"/listing/{name}", b"x" * len(name))
    files = list_source("memory://listing", card_with())
    assert files["file"].tolist() == ["a.dcm", "b/2.dcm", "b/c/3.dcm"]
    assert files["size"].tolist() == [5, 7, 9]


def test_nothing_to_read_is_an_error_that_says_why(source):
    with pytest.raises(InputError, match="no such folder"):
        list_source(str(source / "missing"), card_with())
    with pytest.raises(InputError, match=r"none of its 4 files match \*\*/\*\.nii"):
        list_source(str(source), card_with(glob=["**/*.nii"]))
