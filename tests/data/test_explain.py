"""`orthoray explain` on what ingest is in doubt of, on what people said, and on the place in a stack."""

import pytest
from tests.data.audit.sources import export_of
from tests.data.sources import card_with, write_archive

from orthoray import storage
from orthoray.data.audit import import_decisions
from orthoray.data.dataset import Dataset
from orthoray.data.explain import explain
from orthoray.data.ingest import ingest


@pytest.mark.ray
@pytest.mark.slow
def test_doubts_and_decisions_are_told_and_slices_counted_from_one(tmp_path, monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "a-key-of-the-tests-0123456789")
    out = str(tmp_path / "dataset")
    ingest(card_with(), str(write_archive(tmp_path / "archive").root), out)
    dataset = Dataset(out)
    doubt = storage.read_table(f"{out}/review.parquet").to_pandas().iloc[0]
    export = tmp_path / "ab.json"
    said = export_of(out, lambda tile: "blur" if tile.image_id == doubt["image_id"] else "accept", n=999, rejected=0)
    export.write_text(said.model_dump_json())
    import_decisions(out, [str(export)])

    told = explain(out, doubt["image_id"])
    assert f"review    {doubt['reason']}: {doubt['detail']} (value {doubt['value']:.4g})" in told
    assert "audit     AB: blur, 2026-03-01T10:00:00.000Z" in told
    index = dataset.index()
    stacks = index[index["slice_count"] > 1].sort_values(["series_id", "slice_index"])
    stack = stacks[stacks["series_id"] == stacks["series_id"].iloc[0]]
    for number, image in enumerate(stack["image_id"], 1):
        assert explain(out, image)[-1] == f"kept      as slice {number} of {len(stack)} of its series"
