"""A ranking that is killed goes on with what it lacks."""

import json

import pandas as pd
import pytest
from tests.pretrain.commands import Command


@pytest.mark.e2e
@pytest.mark.slow
def test_a_killed_ranking_keeps_its_cells_and_ends_as_if_nothing_had_been(tmp_path, dataset_folder, tiny_checkpoint):
    checkpoints = [tiny_checkpoint(tmp_path / f"c{n}", seed=n) for n in range(3)]
    values = {
        "candidates": [{"name": f"m{n}", "checkpoint": uri} for n, uri in enumerate(checkpoints)],
        "targets": [
            {"dataset": dataset_folder(tmp_path / "d0", patients=60, dataset_id="d0"), "task": "xr_tkr"},
            {"dataset": dataset_folder(tmp_path / "d1", patients=60, dataset_id="d1"), "task": "mr_acl"},
        ],
        "bootstraps": 300,
        "estimators": ["logme", "itm"],
    }
    given = [f"{key}={json.dumps(value)}" for key, value in values.items()]

    out = tmp_path / "killed"
    with Command(tmp_path, f"out={out}", *given, name="rank") as command:
        cells = command.until(lambda: list(out.glob("cells/*/*.json")), "a cell")
    kept = {cell: cell.read_bytes() for cell in cells}
    for folder in (out, tmp_path / "whole"):
        with Command(tmp_path, f"out={folder}", *given, name="rank") as command:
            assert command.finish() == 0, command.shown
    assert all(cell.read_bytes() == content for cell, content in kept.items())
    assert not list(out.rglob("*.tmp*"))
    folders = (out, tmp_path / "whole")
    first, second = (pd.read_parquet(f / "leaderboard.parquet").drop(columns="seconds") for f in folders)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
