"""The model card tells provenance, licence and gains as they are; gains are those of the result files."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from tests.models.checkpoints import checkpoint

from orthoray import storage
from orthoray.errors import InputError
from orthoray.models import Normalisation, import_timm, normalise
from orthoray.models.export import export_checkpoint
from orthoray.models.export_gains import read_gains

PLAIN = Normalisation()


def card_text(tmp_path, normalisation=PLAIN, family="vit", **provenance):
    checkpoint(tmp_path / "c", family, normalisation=normalisation, **provenance)
    export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"), overwrite=True)
    return (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_the_card_is_filled_from_the_checkpoint(tmp_path):
    facts = {"dataset_ids": ["ds-1a2b", "ds-3c4d"], "steps": 1500, "images_seen": 96000, "seed": 7}
    text = card_text(tmp_path, Normalisation(mean=0.3, std=0.2), **facts)
    for part in (
        "`vit_tiny_patch16_224` (timm)",
        "1 channel(s), 32 × 32 px, patches of 8 px",
        "32 values, 0 register token(s)",
        "(x − 0.3) / 0.2",
        "`ds-1a2b`, `ds-3c4d`",
        "1,500 steps, 96,000 images, seed 7",
        "none (trained from scratch)",
        "timm.create_model('local-dir:THIS_FOLDER', pretrained=True)",
        "None were given to the export.",
        "not a diagnostic device",
    ):
        assert part in text
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "timm"
    assert "license" not in head


def test_the_licence_of_dinov3_is_on_top_and_an_unknown_one_is_said_to_be(tmp_path):
    text = card_text(tmp_path, family="dinov3", initial_weights="w.pth", initial_licence="dinov3-license")
    assert yaml.safe_load(text.split("---")[1])["license_name"] == "dinov3-license"
    assert "stay under the DINOv3 License" in text
    assert "`w.pth`" in text
    assert "32 values, 4 register token(s)" in text
    unknown = card_text(tmp_path, initial_weights="w.pth")
    assert "not known; find out before you pass these weights on" in unknown


def test_normalisation_by_image_is_written_out_as_code(tmp_path):
    text = card_text(tmp_path, Normalisation(kind="per_image", floor=0.05))
    assert "each image by itself" in text
    code = text.split("```python")[1].split("```")[0].replace("THIS_FOLDER", str(tmp_path / "out"))
    names = {}
    import_timm()
    exec(code, names)
    rule = Normalisation(kind="per_image", floor=0.05)
    torch.testing.assert_close(names["x"], normalise(names["image"], rule))
    assert names["class_token"].shape == (1, 32)


@pytest.fixture
def study(tmp_path):
    """A study of two tasks, two seeds and three folds, with known values."""
    lot = np.random.default_rng(0)
    rows, values = [], {}
    for task in ("xr_kl", "mr_acl"):
        for fraction in (0.1, 1.0):
            for model, base in (("pixels", 0.3), ("untrained", 0.4), ("pretrained", 0.5)):
                for seed in (0, 1):
                    for fold in (-1, 0, 1, 2):
                        for metric in ("balanced_accuracy", "f1"):
                            value = base * fraction + 0.01 * lot.normal() + (metric == "f1")
                            values[task, fraction, model, seed, fold, metric] = value
                            head = {"study": "s", "task": task, "model": model, "protocol": "lp", "fraction": fraction}
                            head |= {"seed": seed, "fold": fold, "metric": metric, "value": value}
                            rows.append({**head, "n_patients": 90 if fold < 0 else 30, "n_samples": 180})
    models = [
        {"name": "pixels", "kind": "pixels", "checkpoint": None, "pretrain_run": None, "content": None},
        {"name": "untrained", "checkpoint": "r/initial", "pretrain_run": "r", "content": "aa"},
        {"name": "pretrained", "checkpoint": "r/checkpoint", "pretrain_run": "r", "content": "bb"},
    ]
    models[2]["pretrained_on_evaluated"] = ["ds-1a2b"]
    headline = {"xr_kl": "balanced_accuracy", "mr_acl": "f1"}
    folder = tmp_path / "study"
    storage.write_json(folder / "study.json", {"name": "knees", "models": models, "headline": headline})
    storage.write_table(pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False), folder / "results.parquet")
    return folder, values


def test_gains_are_paired_over_folds_at_the_largest_fraction(study):
    folder, values = study
    gains = read_gains(str(folder), "bb")
    assert [(row.task, row.metric, row.n_patients, row.n_folds) for row in gains.rows] == [
        ("xr_kl", "balanced_accuracy", 90, 6),
        ("mr_acl", "f1", 90, 6),
    ]
    for row in gains.rows:
        pairs = [
            [values[row.task, 1.0, model, seed, fold, row.metric] for model in ("untrained", "pretrained")]
            for seed in (0, 1)
            for fold in (0, 1, 2)
        ]
        start, adapted = np.array(pairs).T
        assert row.start == pytest.approx(start.mean())
        assert row.adapted_sd == pytest.approx(adapted.std(ddof=1))
        assert row.gain == pytest.approx((adapted - start).mean())
        assert row.gain_sd == pytest.approx((adapted - start).std(ddof=1))


def test_the_card_shows_the_gains_and_that_images_were_seen(study, tmp_path):
    gains = read_gains(str(study[0]), "bb")
    checkpoint(tmp_path / "c", "vit")
    export_checkpoint(str(tmp_path / "c"), "timm", str(tmp_path / "out"), gains=gains)
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    first = gains.rows[0]
    line = next(line for line in text.splitlines() if line.startswith("| xr_kl"))
    assert f"| {first.start:.3f} ± {first.start_sd:.3f} | {first.adapted:.3f} ± {first.adapted_sd:.3f} |" in line
    assert f"{first.gain:+.3f}" in line
    assert "so this is not an external test" in text


def test_a_study_of_other_checkpoints_or_without_a_start_is_refused(study, tmp_path):
    folder = str(study[0])
    with pytest.raises(InputError, match="evaluates other checkpoints"):
        read_gains(folder, "cc")
    with pytest.raises(InputError, match=r"no finished study \(study\.json is missing\)"):
        read_gains(str(tmp_path / "none"), "bb")
    facts = json.loads((study[0] / "study.json").read_text())
    facts["models"].pop(1)
    storage.write_json(study[0] / "study.json", facts)
    with pytest.raises(InputError, match="start of the run"):
        read_gains(folder, "bb")


def test_a_study_that_has_not_finished_is_refused(study):
    table = storage.read_table(study[0] / "results.parquet").to_pandas()
    gone = (table["model"] == "pretrained") & (table["fold"] == 2) & (table["seed"] == 1)
    storage.write_table(pa.Table.from_pandas(table[~gone], preserve_index=False), study[0] / "results.parquet")
    with pytest.raises(InputError, match="folds of xr_kl are missing"):
        read_gains(str(study[0]), "bb")
