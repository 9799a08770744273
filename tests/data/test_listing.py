"""Listing of a source."""

import os

import pytest
from tests.data.sources import card_with

from orthoray.data.listing import list_source
from orthoray.errors import InputError


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


def test_loops_of_links_end_and_dead_links_are_listed(source):
    (source / "b" / "loop").symlink_to(source)
    (source / "dead.dcm").symlink_to(source / "nowhere")
    assert list_source(str(source), card_with())["file"].tolist() == ["a.dcm", "b/2.dcm", "b/c/3.dcm", "dead.dcm"]


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
