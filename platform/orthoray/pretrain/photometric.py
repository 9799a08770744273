"""Intensity augmentation that means something on one channel, batched on the training device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from orthoray.models.features import Normalisation, normalise
from orthoray.pretrain.artefacts import TERMS, bias_gain, ghosted
from orthoray.pretrain.settings.data import MODALITIES
from orthoray.pretrain.settings.photometric import PhotometricConfig

MR = MODALITIES.index("MR")

Part = torch.Tensor | slice
"""Samples of a batch."""


class Photometric:
    """uint8 crops in, augmented and normalised float images out; every sample has parameters of its own.

    On the CPU an effect is computed for the samples that it was drawn for. Elsewhere it is computed for all and then
    chosen, since the host would have to wait for the device to learn which ones they are.
    """

    def __init__(self, config: PhotometricConfig, normalisation: Normalisation) -> None:
        self.config, self.normalisation = config, normalisation
        self.needs_modality = config.mr.bias_field > 0.0 or config.mr.ghosting > 0.0

    def __call__(
        self, crops: torch.Tensor, generator: torch.Generator | None, modality: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Augment a batch.

        Args:
            crops: (B, H, W) uint8 on any device.
            generator: source of all choices, on the same device; None = the device's own.
            modality: (B,) codes as in `MODALITIES`, on the same device; needed by artefacts of MR.

        Returns:
            (B, 1, H, W) float32, normalised.
        """
        made = self.config  # every step but blur, noise and artefacts works in place: memory is what costs here
        draw = _Draw(len(crops), crops.device, generator)
        x = self._levels(crops, draw)
        if self.needs_modality:
            if modality is None:
                raise ValueError("artefacts of MR need the modality of every crop")
            x = self._artefacts(x, draw, (modality == MR).reshape(-1, 1, 1, 1))
        if made.contrast or made.brightness:
            mean = x.mean(dim=(2, 3), keepdim=True)
            factor = torch.exp(draw.uniform(-made.contrast, made.contrast))
            x.mul_(factor).add_(mean * (1.0 - factor) + draw.uniform(-made.brightness, made.brightness))
        if made.invert_probability:
            turned = draw.happens(made.invert_probability).float()
            x.mul_(1.0 - 2.0 * turned).add_(turned)
        if made.blur_probability:
            chosen = draw.happens(made.blur_probability)
            sigma = draw.uniform(*made.blur_sigma)
            x = _where(chosen, x, lambda part: _blur(x[part], sigma[part], made.blur_sigma[1]))
        if made.noise and made.noise_probability:
            x = draw.grain(x, draw.happens(made.noise_probability), draw.uniform(0.0, made.noise))
        return normalise(x, self.normalisation)

    def _levels(self, crops: torch.Tensor, draw: _Draw) -> torch.Tensor:
        """(B, H, W) uint8 → (B, 1, H, W) float, after window and gamma: a table of 256 values per sample."""
        made = self.config
        if not (made.window or made.gamma):
            return crops.unsqueeze(1).float() / 255.0
        levels = torch.linspace(0.0, 1.0, 256, device=crops.device)
        if made.window:
            low, high = draw.uniform(-made.window, made.window), 1.0 + draw.uniform(-made.window, made.window)
            levels = ((levels - low) / (high - low)).clamp(0.0, 1.0).reshape(len(crops), 256)
        if made.gamma:
            levels = levels.clamp_min(1e-3) ** torch.exp(draw.uniform(-made.gamma, made.gamma)).reshape(-1, 1)
        return levels.gather(1, crops.flatten(1).long()).reshape(len(crops), 1, *crops.shape[1:])

    def _artefacts(self, x: torch.Tensor, draw: _Draw, is_mr: torch.Tensor) -> torch.Tensor:
        made = self.config.mr
        if made.bias_field:
            chosen = draw.happens(made.bias_field_probability) & is_mr
            strength, terms = draw.uniform(0.0, made.bias_field), draw.normal(TERMS)
            x = _where(chosen, x, lambda part: x[part] * bias_gain(terms[part], strength[part], x.shape[-1]))
        if made.ghosting:
            chosen = draw.happens(made.ghosting_probability) & is_mr
            share, upright = draw.uniform(0.0, made.ghosting), draw.happens(0.5)
            period = draw.uniform(made.ghosts[0], made.ghosts[1] + 1).floor()
            x = _where(chosen, x, lambda part: ghosted(x[part], share[part], period[part], upright[part]))
        return x


class _Draw:
    """Per-sample random numbers of shape (B, 1, 1, 1)."""

    def __init__(self, count: int, device: torch.device, generator: torch.Generator | None) -> None:
        self.shape, self.device, self.generator = (count, 1, 1, 1), device, generator

    def uniform(self, low: float, high: float) -> torch.Tensor:
        return torch.rand(self.shape, device=self.device, generator=self.generator) * (high - low) + low

    def happens(self, probability: float) -> torch.Tensor:
        return torch.rand(self.shape, device=self.device, generator=self.generator) < probability

    def normal(self, count: int) -> torch.Tensor:
        """(B, count)."""
        return torch.randn((self.shape[0], count), device=self.device, generator=self.generator)

    def grain(self, x: torch.Tensor, chosen: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """``x`` with white noise of standard deviation ``sigma`` in the chosen samples."""
        if not _picks(x):
            noise = torch.randn(x.shape, device=x.device, generator=self.generator)
            return x.addcmul_(noise, sigma * chosen)
        part = chosen.flatten().nonzero().flatten()
        noise = torch.randn((len(part), *x.shape[1:]), generator=self.generator)
        return x.index_add_(0, part, noise.mul_(sigma[part]))


def _picks(x: torch.Tensor) -> bool:
    """Can samples be picked by their numbers without waiting for the device?"""
    return x.device.type == "cpu"


def _where(chosen: torch.Tensor, x: torch.Tensor, effect: Callable[[Part], torch.Tensor]) -> torch.Tensor:
    """``x`` with the chosen samples (B, 1, 1, 1) replaced by what ``effect`` makes of them."""
    if not _picks(x):
        return torch.where(chosen, effect(slice(None)), x)
    part = chosen.flatten().nonzero().flatten()
    return x.index_copy_(0, part, effect(part)) if len(part) else x


def _blur(x: torch.Tensor, sigma: torch.Tensor, most: float) -> torch.Tensor:
    """Gaussian blur of (B, 1, H, W) with one sigma per sample, at most ``most``; edges are replicated."""
    if not _picks(x):
        return _blur_by_shifts(x, sigma, _radius(most))
    radius = _radius(float(sigma.max()))
    kernel = _kernel(sigma, radius).unsqueeze(1)
    flat = functional.pad(x.transpose(0, 1), (radius, radius, radius, radius), mode="replicate")
    flat = functional.conv2d(flat, kernel.unsqueeze(2), groups=len(x))
    return functional.conv2d(flat, kernel.unsqueeze(3), groups=len(x)).transpose(0, 1)


def _blur_by_shifts(x: torch.Tensor, sigma: torch.Tensor, radius: int) -> torch.Tensor:
    """The same as weighted sums of shifted images: GPUs are slow at convolutions with a kernel for every channel."""
    weights = _kernel(sigma, radius).reshape(len(x), -1, 1, 1, 1)
    for axis in (-1, -2):
        ends = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
        wide = functional.pad(x, ends, mode="replicate")
        size = x.shape[axis]
        x = wide.narrow(axis, 0, size) * weights[:, 0]
        for shift in range(1, 2 * radius + 1):
            x.addcmul_(wide.narrow(axis, shift, size), weights[:, shift])
    return x


def _radius(sigma: float) -> int:
    return max(1, math.ceil(2.5 * sigma))


def _kernel(sigma: torch.Tensor, radius: int) -> torch.Tensor:
    """(B, 2 · radius + 1) weights that sum up to 1."""
    offsets = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma.reshape(-1, 1) ** 2))
    return kernel / kernel.sum(dim=1, keepdim=True)
