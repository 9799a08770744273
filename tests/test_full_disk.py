"""A disk that is full: a real one of a few megabytes, in a mount namespace of its own."""

import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.e2e, pytest.mark.slow]
CARD = """
name: films
title: Films
phi_source: false
reader: images
defaults: {modality: XR}
facts:
  - {table: patients.csv, key: {file: file}, columns: {patient: patient}}
"""


def on_a_small_disk(folder, command, size="2m", limit_s=200):
    """Run a shell command that sees a disk of ``size`` at ``folder``; skips where this is not allowed."""
    inner = f"mount -t tmpfs -o size={size} none {folder} || exit 77; {command}"
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` on this machine")
    done = subprocess.run(["unshare", "-m", "sh", "-c", inner], capture_output=True, text=True, timeout=limit_s)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("mounting a small disk is not allowed here")
    return done


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    films, disk = tmp_path / "films", tmp_path / "disk"
    films.mkdir()
    disk.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):  # noise does not compress: 24 × 256 KiB
        cv2.imwrite(str(films / f"{number}.png"), rng.integers(0, 256, (512, 512), dtype=np.uint8))
    (films / "patients.csv").write_text("file,patient\n" + "".join(f"{n}.png,P{n}\n" for n in range(24)))
    (tmp_path / "card.yaml").write_text(CARD)
    ingest = f"{sys.executable} -m orthoray.cli ingest {tmp_path}/card.yaml --source {films} --out {disk}/dataset"
    done = on_a_small_disk(disk, f"{ingest}; echo status $?; ls -A {disk} | wc -l")
    assert done.stdout.split("status ")[1].split() == ["1", "0"], done.stdout + done.stderr
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
