"""What runs begun earlier saw: with every new option off, choices stay as they were.

The values in ``unchanged.json`` were written by the code as of commit bea9d76. Orders are compared exactly.
Pixels may differ by one grey level, since processors round differently; another random number would change most of
them by far more.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from orthoray.models import Normalisation
from orthoray.pretrain.config import DataConfig, DataSource, PhotometricConfig
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig
from orthoray.pretrain.photometric import Photometric
from orthoray.pretrain.plan import Mixture

FILE = Path(__file__).with_suffix("").with_name("unchanged.json")
SIZES = {"global_size": 16, "local_size": 8, "n_local": 2}
CROPS = {
    "defaults": ({}, (90, 70)),
    "turned": ({"rotation": 20.0, "aspect": 1.6}, (64, 96)),
    "reduced": ({"global_scale": (0.9, 1.0), "local_scale": (0.5, 0.9)}, (300, 260)),
}
LIGHT = {
    "defaults": {},
    "strong": {"gamma": 1.0, "contrast": 0.8, "noise": 0.2, "noise_probability": 1.0, "blur_sigma": (1.0, 2.0)},
    "inverted": {"invert_probability": 0.5, "blur_probability": 0.0, "noise": 0.0},
}


def crops_of(name):
    """Two images' crops, one after the other, as a flat list of grey levels."""
    changes, shape = CROPS[name]
    image = np.random.default_rng(11).integers(0, 256, shape).astype(np.uint8)
    cut = MultiCrop(MultiCropConfig(**SIZES, **changes))
    made = [part for place in (0, 1) for part in cut(image, np.random.default_rng((5, place)))]
    return [int(value) for part in made for value in part.flatten()]


def light_of(name):
    crops = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (6, 10, 10)).astype(np.uint8))
    made = Photometric(PhotometricConfig(**LIGHT[name]), Normalisation())(crops, torch.Generator().manual_seed(8))
    return [round(float(value), 6) for value in made.flatten()]


def orders_of(make):
    """Digests of the first images of runs: name → (images an epoch, digest of their numbers)."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        mixed = make(f"{folder}/mixed", ((9, 5), (7, 4, 4), (3,)), modalities=("XR", "MR", "MR"), blank=True)
        films = make(f"{folder}/films", ((8, 8), (6,)), blank=True)
        asked = {
            "one": [{"uri": films}],
            "two": [{"uri": films}, {"uri": mixed}],
            "weighted": [{"uri": mixed, "modality": "XR", "weight": 4.0}, {"uri": mixed, "modality": "MR"}],
        }
        for name, sources in asked.items():
            for seed, window in ((0, 10), (7, 1), (3, 1000)):
                data = DataConfig(datasets=[DataSource(**source) for source in sources], shuffle_window=window)
                mixture = Mixture(data, seed)
                rows = [
                    mixture.groups[group].first + int(row)
                    for window_ in mixture.windows(300, 17)
                    for group, row in mixture.order(window_)
                ]
                assert len(rows) == 283
                digest = hashlib.sha256(np.array(rows, "<i8").tobytes()).hexdigest()
                found[f"{name} {seed} {window}"] = [mixture.images_per_epoch(), digest]
    return found


@pytest.fixture(scope="module")
def earlier():
    return json.loads(FILE.read_text())


@pytest.mark.parametrize("name", CROPS)
def test_crops_are_cut_where_they_were(earlier, name):
    found, expected = np.array(crops_of(name)), np.array(earlier["crops"][name])
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.02


@pytest.mark.parametrize("name", LIGHT)
def test_grey_levels_are_changed_as_they_were(earlier, name):
    np.testing.assert_allclose(light_of(name), earlier["light"][name], atol=2e-5)


def test_images_come_in_the_order_in_which_they_came(earlier, dataset_folder):
    assert orders_of(dataset_folder) == earlier["orders"]
