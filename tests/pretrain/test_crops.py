import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orthoray.models import Normalisation
from orthoray.pretrain.config import PhotometricConfig
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig
from orthoray.pretrain.photometric import Photometric

PLAIN = {"aspect": 1.0, "rotation": 0.0, "global_scale": (1.0, 1.0), "local_size": 8, "n_local": 0}


def ramp(height=64, width=64):
    """Grey level = column: shows scale, place and mirroring at once."""
    return np.tile(np.linspace(0, 252, width).astype(np.uint8), (height, 1))


def test_whole_image_crop_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    cut = MultiCrop(MultiCropConfig(global_size=64, **PLAIN))
    views, details = cut(image, np.random.default_rng(1))
    assert np.array_equal(views[0], image)
    assert details.shape == (0, 8, 8)


def test_flip_mirrors_columns():
    cut = MultiCrop(MultiCropConfig(global_size=64, flip=1.0, **PLAIN))
    assert np.array_equal(cut(ramp(), np.random.default_rng(0))[0][0], ramp()[:, ::-1])


def test_shrinking_averages_instead_of_aliasing():
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 200
    views, _ = MultiCrop(MultiCropConfig(global_size=32, **PLAIN))(stripes, np.random.default_rng(0))
    assert np.abs(views.astype(int) - 100).max() <= 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.05, 0.9))
def test_area_and_place_of_a_crop(seed, scale):
    config = MultiCropConfig(
        global_size=32, global_scale=(scale, scale), aspect=1.0, rotation=0.0, n_local=0, local_size=8
    )
    view = MultiCrop(config)(ramp(256, 256), np.random.default_rng(seed))[0][0].astype(float)
    shown = (view[:, -1] - view[:, 0]).mean() / 252 * 256 * 32 / 31  # columns of the image that the crop spans
    assert shown == pytest.approx(256 * scale**0.5, rel=0.06, abs=3)
    assert view.min() >= 0
    assert view.max() <= 252


def test_same_generator_same_crops():
    image = np.random.default_rng(0).integers(0, 256, (90, 70)).astype(np.uint8)
    cut = MultiCrop(MultiCropConfig(global_size=32, local_size=16, rotation=10.0))
    one, two = cut(image, np.random.default_rng(3)), cut(image, np.random.default_rng(3))
    other = cut(image, np.random.default_rng(4))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


def test_scales_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match="must not exceed"):
        MultiCropConfig(global_scale=(0.9, 0.3))


OFF = {"gamma": 0.0, "contrast": 0.0, "brightness": 0.0, "noise": 0.0, "blur_probability": 0.0}


def augment(crops, seed=0, **on):
    rule = Normalisation(mean=0.0, std=1.0)
    return Photometric(PhotometricConfig(**{**OFF, **on}), rule)(crops, torch.Generator().manual_seed(seed))


def test_all_off_only_normalises():
    crops = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(augment(crops), crops[:, None].float() / 255)


def test_samples_have_parameters_of_their_own():
    crops = torch.randint(30, 200, (1, 16, 16), dtype=torch.uint8).expand(8, -1, -1)
    for name in ("gamma", "contrast", "brightness"):
        out = augment(crops, **{name: 0.3})
        means = (out * torch.rand(16, 16)).mean(dim=(1, 2, 3))
        assert len(means.unique()) == 8, name


def test_gamma_keeps_the_order_of_grey_levels():
    crops = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(4, -1, -1)
    out = augment(crops, gamma=0.5).flatten(1)
    assert (out.diff(dim=1) >= 0).all()


def test_blur_keeps_the_mean_and_spreads_a_point():
    crops = torch.zeros(4, 17, 17, dtype=torch.uint8)
    crops[:, 8, 8] = 255
    out = augment(crops, blur_probability=1.0, blur_sigma=(1.0, 1.0))[:, 0]
    torch.testing.assert_close(out.sum(dim=(1, 2)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(out[:, 8, 8], torch.full((4,), 0.1592), atol=2e-2, rtol=0)  # 1 / 2πσ²


def test_inversion_is_off_unless_asked_for():
    crops = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    assert (augment(crops) == 1).all()
    assert (augment(crops, invert_probability=1.0) == 0).all()
