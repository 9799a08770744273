"""Intensity augmentation that means something on one channel, batched on the training device."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from orthoray.models.features import Normalisation, normalise
from orthoray.pretrain.config import PhotometricConfig


class Photometric:
    """uint8 crops in, augmented and normalised float images out; every sample has parameters of its own."""

    def __init__(self, config: PhotometricConfig, normalisation: Normalisation) -> None:
        self.config, self.normalisation = config, normalisation

    def __call__(self, crops: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment a batch.

        Args:
            crops: (B, H, W) uint8 on any device.
            generator: source of all choices, on the same device.

        Returns:
            (B, 1, H, W) float32, normalised.
        """
        made = self.config  # every step but blur and noise works in place: memory is what costs here
        draw = _Draw(len(crops), crops.device, generator)
        if made.gamma:
            x = _gamma(crops, torch.exp(draw.uniform(-made.gamma, made.gamma)))
        else:
            x = crops.unsqueeze(1).float() / 255.0
        if made.contrast or made.brightness:
            mean = x.mean(dim=(2, 3), keepdim=True)
            factor = torch.exp(draw.uniform(-made.contrast, made.contrast))
            x.mul_(factor).add_(mean * (1.0 - factor) + draw.uniform(-made.brightness, made.brightness))
        if made.invert_probability:
            chosen = draw.happens(made.invert_probability).float()
            x.mul_(1.0 - 2.0 * chosen).add_(chosen)
        if made.blur_probability:
            chosen = draw.chosen(made.blur_probability)
            sigma = draw.uniform(*made.blur_sigma)
            if len(chosen):
                x.index_copy_(0, chosen, _blur(x[chosen], sigma[chosen]))
        if made.noise and made.noise_probability:
            chosen = draw.chosen(made.noise_probability)
            sigma = draw.uniform(0.0, made.noise)[chosen]
            grain = torch.randn((len(chosen), *x.shape[1:]), device=x.device, generator=generator)
            x.index_add_(0, chosen, grain.mul_(sigma))
        return normalise(x, self.normalisation)


class _Draw:
    """Per-sample random numbers of shape (B, 1, 1, 1)."""

    def __init__(self, count: int, device: torch.device, generator: torch.Generator) -> None:
        self.shape, self.device, self.generator = (count, 1, 1, 1), device, generator

    def uniform(self, low: float, high: float) -> torch.Tensor:
        return torch.rand(self.shape, device=self.device, generator=self.generator) * (high - low) + low

    def happens(self, probability: float) -> torch.Tensor:
        return torch.rand(self.shape, device=self.device, generator=self.generator) < probability

    def chosen(self, probability: float) -> torch.Tensor:
        return self.happens(probability).flatten().nonzero().flatten()


def _gamma(crops: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """(B, H, W) uint8 → (B, 1, H, W) float 0..1 to the power of (B, 1, 1, 1), by a table of 256 values per sample."""
    levels = torch.linspace(0.0, 1.0, 256, device=crops.device).clamp_min(1e-3)
    table = levels ** exponent.reshape(-1, 1)
    return table.gather(1, crops.flatten(1).long()).reshape(len(crops), 1, *crops.shape[1:])


def _blur(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of (B, 1, H, W) with one sigma per sample, as two grouped convolutions; edges are replicated."""
    radius = max(1, math.ceil(2.5 * float(sigma.max())))
    offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma.reshape(-1, 1) ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).unsqueeze(1)
    flat = functional.pad(x.transpose(0, 1), (radius, radius, radius, radius), mode="replicate")
    flat = functional.conv2d(flat, kernel.unsqueeze(2), groups=len(x))
    return functional.conv2d(flat, kernel.unsqueeze(3), groups=len(x)).transpose(0, 1)
