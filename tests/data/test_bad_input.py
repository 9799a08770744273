"""Whole ingests of what should not be there: every file has its reason, no good image is lost or doubled."""

import hashlib
import os
import re
import threading
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest
from tests.data.hostile import number_of, write_folder
from tests.data.sources import card_with, write_archive
from tests.pretrain.commands import psutil

from orthoray import storage
from orthoray.data.codec import decode
from orthoray.data.dataset import Dataset
from orthoray.data.ingest import ingest
from orthoray.imaging.names import as_text
from orthoray.imaging.pseudonyms import pseudonyms

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CARD = {"facts": [], "labels": [], "bilateral": "keep"}


@pytest.fixture(autouse=True, scope="module")
def _key():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("hostile") / "source")


@pytest.fixture(scope="module")
def before(folder):
    return snapshot(folder.root)


@pytest.fixture(scope="module")
def made(folder, before, ray_session):
    out = folder.root.parent / "dataset"
    manifest = ingest(card_with(master=True, **CARD), str(folder.root), str(out))
    return Dataset(str(out)), manifest


def snapshot(root):
    """Everything below a folder: what it is, and its content."""
    found = {}
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
            else:
                found[path] = "folder, pipe or socket"
    return found


def rows_of(dataset):
    return [row for file in dataset.image_files() for row in pq.read_table(file).to_pylist()]


def test_every_good_image_is_there_once(made, folder):
    dataset, manifest = made
    shown = Counter(number_of(decode(row["pixels"], row["codec"])) for row in rows_of(dataset))
    assert shown == Counter(folder.good)
    assert sorted(dataset.index()["image_id"]) == sorted(row["image_id"] for row in rows_of(dataset))
    assert manifest["n_images"] == len(folder.good)
    master = [row for file in storage.list_files(f"{dataset.uri}/master") for row in pq.read_table(file).to_pylist()]
    assert len(master) == len(folder.good)


def test_every_bad_file_has_its_reason(made, folder):
    dataset, manifest = made
    excluded = dataset.excluded()
    assert Counter(zip(excluded["stage"], excluded["reason"], strict=True)) == Counter(folder.bad.values())
    assert (excluded["detail"].str.len() > 0).all()
    assert manifest["n_read"] == manifest["n_files"] == len(folder.good) + len(folder.bad)
    ids = pseudonyms("trial", phi=True)
    reasons = dict(zip(excluded["image_id"], excluded["reason"], strict=True))
    for name, (stage, reason) in folder.bad.items():
        if stage == "read":  # nothing but its name is known of such a file
            assert reasons[ids.make("image", f"|{as_text(name)}|0|")] == reason, name


def test_nothing_is_written_elsewhere_and_no_name_comes_from_a_header(made, folder, before):
    dataset, _ = made
    assert snapshot(folder.root) == before
    assert sorted(os.listdir(folder.root.parent)) == ["dataset", "source"]
    names = [os.path.relpath(path, dataset.uri) for path in storage.list_files(dataset.uri)]
    assert len(names) > 8
    assert [
        name for name in names if not re.fullmatch(r"([a-z_]+/){0,2}[a-z_]+(-\d{5})?\.(parquet|json|md|svg)", name)
    ] == []
    for path in storage.list_files(dataset.uri):
        assert b"escaped" not in storage.read_bytes(path), path
    assert not os.path.exists("/escaped")
    assert not os.path.exists("escaped")


class Killer(threading.Thread):
    """Kills (SIGKILL) one worker of each of the given kinds of work, as the kernel does where memory is short."""

    def __init__(self, *works):
        super().__init__(daemon=True)
        self.works, self.killed = list(works), []
        self.over = threading.Event()

    def run(self):
        own = psutil().Process()
        while self.works and not self.over.is_set():
            for process in own.children(recursive=True):
                title = " ".join(self._line(process))
                work = next((work for work in self.works if title.startswith("ray::") and work in title), None)
                if work:
                    process.kill()
                    self.works.remove(work)
                    self.killed.append(work)
            time.sleep(0.005)

    def _line(self, process):
        try:
            return process.cmdline()
        except Exception:
            return []


def test_killed_workers_cost_and_double_nothing(tmp_path, ray_session):
    archive = write_archive(tmp_path / "archive").root
    whole = ingest(card_with(), str(archive), str(tmp_path / "whole"))
    killer = Killer("HeaderReader", "ShardWriter")
    killer.start()
    again = ingest(card_with(), str(archive), str(tmp_path / "killed"))
    killer.over.set()
    killer.join()
    assert killer.killed == ["HeaderReader", "ShardWriter"]
    pixels = [
        sorted((row["image_id"], decode(row["pixels"]).tobytes()) for row in rows_of(Dataset(str(tmp_path / name))))
        for name in ("whole", "killed")
    ]
    assert pixels[0] == pixels[1]
    assert not [name for name in os.listdir(tmp_path / "killed" / "images") if name.endswith(".tmp")]
    for key in ("dataset_id", "n_read", "excluded", "funnel", "label_audit", "review"):
        assert whole[key] == again[key], key
