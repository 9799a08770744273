"""Corruptions: each severity is worse than the one before, the same image is always made the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from orthoray.features.corruptions import KINDS, STRENGTH, corrupt
from orthoray.features.encoders import CorruptedEncoder, EncoderSpec, PixelEncoder, pixel_spec


def film(seed=0, shape=(384, 256)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    grey = 90 + 40 * np.sin(x / 5.0) + 30 * np.cos(y / 7.0) + rng.normal(0, 6, shape)
    return np.clip(grey, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_severities_rise_and_repeat(kind):
    image = film()
    kept = image.copy()
    made = [corrupt(image, kind, severity) for severity in (1, 2, 3, 4, 5)]
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in made)
    away = [float(np.abs(one.astype(float) - image).mean()) for one in made]
    assert away[0] > 0.3
    assert all(before < after for before, after in itertools.pairwise(away))
    np.testing.assert_array_equal(corrupt(image, kind, 3), made[2])
    np.testing.assert_array_equal(image, kept)


def test_what_a_severity_means():
    flat = np.full((60, 60), 100, np.uint8)
    noise = corrupt(flat, "noise", 3).astype(float) - 100
    assert noise.std() == pytest.approx(255 * STRENGTH["noise"][2], rel=0.05)
    assert (corrupt(flat, "brightness", 2) == 151).all()
    image = film()
    contrast = corrupt(image, "contrast", 2).astype(float)
    assert contrast.std() == pytest.approx(0.5 * image.std(), rel=0.02)
    assert contrast.mean() == pytest.approx(image.mean(), abs=0.6)
    assert not np.array_equal(corrupt(film(1), "noise", 3) - film(1), corrupt(image, "noise", 3) - image)


def test_an_encoder_sees_the_worse_image_and_clean_features_keep_their_folder():
    spec = EncoderSpec(kind="pixels", corruption="blur-4")
    images = [film(0), film(1)]
    encoder = spec.build(1, "cpu")
    assert isinstance(encoder, CorruptedEncoder)
    told = PixelEncoder().encode([corrupt(image, "blur", 4) for image in images])
    np.testing.assert_array_equal(encoder.encode(images), told)
    assert spec.key("ds", None) != pixel_spec().key("ds", None)
    assert pixel_spec().key("ds-1", None) == "pixels-24-8295e34d4507ba83"
