"""Intensity augmentation: what each effect does to a batch, and to whom."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from orthoray.config import parse_config
from orthoray.errors import InputError
from orthoray.models import Normalisation
from orthoray.pretrain import photometric as module
from orthoray.pretrain.artefacts import TERMS, bias_gain, ghosted
from orthoray.pretrain.config import PhotometricConfig
from orthoray.pretrain.photometric import Photometric

OFF = {"gamma": 0.0, "contrast": 0.0, "brightness": 0.0, "noise": 0.0, "blur_probability": 0.0}


def augment(crops, seed=0, modality=None, **on):
    rule, config = Normalisation(mean=0.0, std=1.0), parse_config(PhotometricConfig, {**OFF, **on}, "photometric")
    return Photometric(config, rule)(crops, torch.Generator().manual_seed(seed), modality)


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


XR, MR = 0, 1
FIELD = {"bias_field": 0.6, "bias_field_probability": 1.0}
GHOSTS = {"ghosting": 0.8, "ghosting_probability": 1.0}


def waves(count=6, side=48):
    """Smooth bright crops, (B, side, side) uint8."""
    x = np.linspace(0, 3, side)
    made = [120 + 60 * np.sin(x[:, None] * (at + 1)) * np.cos(x[None] * (at + 2)) for at in range(count)]
    return torch.from_numpy(np.stack(made).astype(np.uint8))


def test_a_window_is_a_straight_line_that_saturates():
    crops = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(200, -1, -1)
    out = augment(crops, window=0.2).flatten(1)
    assert out.min() == 0
    assert out.max() == 1
    slopes = out.diff(dim=1) * 255
    inside = (out[:, 1:] < 1) & (out[:, :-1] > 0)
    for sample in range(200):
        own = slopes[sample][inside[sample]]
        assert own.std() < 1e-3
        assert 1 / 1.4 - 1e-3 <= own.mean() <= 1 / 0.6 + 1e-3
        assert (slopes[sample] >= 0).all()
    black, white = (out == 0).sum(dim=1) / 255, (out == 1).sum(dim=1) / 255
    assert black.max() <= 0.2 + 2 / 255  # the lower end moves by at most 0.2 either way …
    assert white.max() <= 0.2 + 2 / 255
    assert 0.4 < (black > 1 / 255).float().mean() < 0.6  # … up in half of the samples
    assert len(black.unique()) > 30


def test_window_and_gamma_go_together_as_one_after_the_other():
    crops = torch.randint(0, 256, (5, 8, 8), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(4)
    low, high, gamma = (torch.rand((5, 1, 1), generator=generator) for _ in range(3))
    low, high, gamma = low * 0.2 - 0.1, 1 + high * 0.2 - 0.1, torch.exp(gamma * 0.6 - 0.3)
    levels = ((crops / 255 - low) / (high - low)).clamp(0, 1)
    expected = levels.clamp_min(1e-3) ** gamma
    torch.testing.assert_close(augment(crops, seed=4, window=0.1, gamma=0.3)[:, 0], expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(8, 64), strength=st.floats(0.05, 1.5))
def test_a_bias_field_is_smooth_bounded_and_keeps_the_exposure(seed, size, strength):
    terms = torch.randn((4, TERMS), generator=torch.Generator().manual_seed(seed))
    log = bias_gain(terms, torch.full((4,), strength), size).log()[:, 0].double()
    assert log.shape == (4, size, size)
    torch.testing.assert_close(log.abs().amax(dim=(1, 2)), torch.full((4,), strength).double(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(log.mean(dim=(1, 2)), torch.zeros(4).double(), rtol=0, atol=1e-4)
    for _ in range(4):  # a polynomial of degree 3: fourth differences vanish
        log = log.diff(dim=1)
    assert log.abs().max() < 1e-4


def test_a_bias_field_is_the_polynomial_of_its_coefficients():
    x = np.linspace(-1, 1, 10)
    terms = torch.tensor([[0.0, 0.0, 0.3, 0.0, -0.2, 0.0, 0.0, 0.5, 0.0]])  # y^3, x y, x^2 y
    plain = 0.3 * x[None] ** 3 - 0.2 * x[:, None] * x[None] + 0.5 * x[:, None] ** 2 * x[None]
    plain = plain - plain.mean()
    expected = np.exp(0.4 * plain / np.abs(plain).max())
    np.testing.assert_allclose(bias_gain(terms, torch.tensor([0.4]), 10)[0, 0], expected, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31), period=st.integers(2, 6), times=st.integers(2, 6), share=st.floats(0, 1),
    upright=st.booleans(),
)  # fmt: skip
def test_ghosts_are_shifted_copies(seed, period, times, share, upright):
    """Where the period divides the side: x - share · (mean of the n copies - mean along the axis)."""
    side = period * times
    x = np.random.default_rng(seed).random((3, 1, side, side))
    axis = -2 if upright else -1
    copies = np.mean([np.roll(x, shift * times, axis) for shift in range(period)], axis=0)
    expected = np.abs(x - share * (copies - x.mean(axis, keepdims=True)))
    per_sample = [torch.full((3, 1, 1, 1), value) for value in (share, float(period))]
    found = ghosted(torch.from_numpy(x).float(), *per_sample, torch.full((3, 1, 1, 1), upright))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_ghosts_of_a_bright_spot_lie_a_part_of_the_image_apart():
    x = torch.full((1, 1, 60, 60), 0.5)
    x[0, 0, 20, 33] = 1.0
    made = ghosted(x, *(torch.full((1, 1, 1, 1), value) for value in (0.9, 3.0)), torch.ones(1, 1, 1, 1).bool())
    changed = (made - x).abs()[0, 0]
    assert changed[:, 33].topk(3).indices.sort().values.tolist() == [0, 20, 40]
    assert changed[:, [*range(33), *range(34, 60)]].max() < 1e-6


@pytest.mark.parametrize("artefact", [FIELD, GHOSTS, FIELD | GHOSTS])
def test_films_are_left_as_they_are_by_artefacts_of_mr(artefact):
    crops = waves(8)
    modality = torch.tensor([XR, MR, MR, XR, XR, MR, XR, MR], dtype=torch.uint8)
    plain, made = augment(crops), augment(crops, modality=modality, mr=artefact)
    changed = (plain != made).flatten(1).any(dim=1)
    assert changed.tolist() == (modality == MR).tolist()
    assert torch.equal(plain[modality == XR], made[modality == XR])


def test_every_slice_has_artefacts_of_its_own():
    crops = waves(1).expand(40, -1, -1)
    modality = torch.full((40,), MR)
    half = augment(crops, modality=modality, mr=FIELD | {"bias_field_probability": 0.5})
    changed = (half != augment(crops)).flatten(1).any(dim=1)
    assert 8 <= int(changed.sum()) <= 32
    made = augment(crops, modality=modality, mr=FIELD | GHOSTS)
    assert len(torch.unique(made.flatten(1), dim=0)) == 40
    gain = augment(crops, modality=modality, mr=FIELD) / augment(crops)
    assert math.exp(-0.6) - 1e-3 <= gain.min()
    assert gain.max() <= math.exp(0.6) + 1e-3
    assert gain.max() > 1.3


def test_artefacts_need_to_know_which_crops_are_mr():
    with pytest.raises(ValueError, match="need the modality"):
        augment(waves(), mr=FIELD)
    assert torch.equal(
        augment(waves(), modality=torch.full((6,), MR), mr=FIELD | {"bias_field": 0.0}), augment(waves())
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mr": {"ghosts": [5, 3]}}, "ghosts: the first number must not exceed"),
        ({"mr": {"ghosts": [1, 3]}}, "greater than or equal to 2"),
        ({"blur_sigma": [0.0, 1.0]}, "blur_sigma: two numbers above 0"),
        ({"blur_sigma": [1.0, 0.5]}, "blur_sigma: two numbers above 0"),
        ({"window": 0.5}, "less than or equal to 0.4"),
        ({"hue": 0.1}, "unknown key"),
    ],
)
def test_impossible_strengths_are_refused(given, told):
    with pytest.raises(InputError, match=told):
        parse_config(PhotometricConfig, given, "photometric")


EVERYTHING = {
    "window": 0.1,
    "gamma": 0.4,
    "contrast": 0.3,
    "brightness": 0.1,
    "noise": 0.05,
    "noise_probability": 0.5,
    "blur_probability": 0.5,
    "invert_probability": 0.2,
    "mr": {**FIELD, **GHOSTS},
}


def test_no_step_waits_for_the_device():
    """A meta tensor holds no values: whatever asks for one (nonzero, item) fails."""
    config = parse_config(PhotometricConfig, EVERYTHING, "photometric")
    crops = torch.empty((12, 32, 32), dtype=torch.uint8, device="meta")
    modality = torch.empty(12, dtype=torch.uint8, device="meta")
    made = Photometric(config, Normalisation())(crops, None, modality)
    assert made.shape == (12, 1, 32, 32)
    assert made.dtype == torch.float32


@pytest.mark.parametrize("effects", [{"mr": FIELD}, {"mr": GHOSTS}, {"blur_probability": 0.5}, {"window": 0.1}])
def test_what_other_devices_compute_is_the_same(effects, monkeypatch):
    """The branch for devices, run here: chosen by a mask instead of by number."""
    crops, modality = waves(20), torch.arange(20) % 2
    expected = augment(crops, modality=modality, blur_sigma=[1.0, 1.19], **effects)
    monkeypatch.setattr(module, "_picks", lambda _: False)
    found = augment(crops, modality=modality, blur_sigma=[1.0, 1.19], **effects)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.equal(found, augment(crops))


def test_noise_elsewhere_is_as_strong(monkeypatch):
    crops = torch.full((400, 16, 16), 128, dtype=torch.uint8)
    monkeypatch.setattr(module, "_picks", lambda _: False)
    out = augment(crops, noise=0.1, noise_probability=0.5)
    spread = out.flatten(1).std(dim=1)
    assert 160 < int((spread == 0).sum()) < 240  # 200 expected, 4 sigma either way
    assert spread[spread > 0].mean() == pytest.approx(0.05, rel=0.15)  # uniform from 0 to 0.1
    assert (out.mean(dim=(1, 2, 3)) - 128 / 255).abs().max() < 0.03


def test_blur_by_shifts_is_a_gaussian():
    x = torch.rand((9, 1, 20, 24), generator=torch.Generator().manual_seed(0))
    sigma = torch.linspace(0.4, 1.2, 9).reshape(-1, 1, 1, 1)
    found = module._blur_by_shifts(x, sigma, 6)
    offsets = torch.arange(-6, 7).double()
    for sample in range(9):
        kernel = torch.exp(-(offsets**2) / (2 * float(sigma[sample]) ** 2))
        kernel = (kernel[:, None] * kernel[None] / kernel.sum() ** 2).float()
        wide = functional.pad(x[sample : sample + 1], (6, 6, 6, 6), mode="replicate")
        expected = functional.conv2d(wide, kernel[None, None])
        torch.testing.assert_close(found[sample : sample + 1], expected, atol=1e-6, rtol=1e-5)
