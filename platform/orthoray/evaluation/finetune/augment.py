"""Augmentation of training images for fine-tuning, batched on the device that trains."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from orthoray.evaluation.finetune.settings import AugmentConfig


class Draws(NamedTuple):
    """Random numbers of B images, drawn on the host: the same on every device, and whoever sees which image.

    Attributes:
        theta: (B, 2, 3) affine maps from the crop's coordinates to the image's.
        levels: (B, 3) log gamma, log contrast, brightness.
        noise: seed of the noise.
    """

    theta: Tensor
    levels: Tensor
    noise: int

    def part(self, rows: Tensor) -> Draws:
        """Those of some images."""
        return Draws(self.theta[rows], self.levels[rows], self.noise)


def draw(count: int, config: AugmentConfig, generator: torch.Generator) -> Draws:
    """Draw for ``count`` images: a crop of ``area`` to 1 of the image, stretched and turned, within its borders."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    side = uniform(config.area, 1.0).sqrt()
    stretch = torch.exp(0.5 * uniform(-math.log(config.aspect), math.log(config.aspect)))
    width, height = (side * stretch).clamp(max=1.0), (side / stretch).clamp(max=1.0)
    angle = torch.deg2rad(uniform(-config.rotation, config.rotation))
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if config.flip else torch.ones(count)
    shift_x, shift_y = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack((mirror * width * cos, -height * sin, shift_x), dim=1),
        torch.stack((mirror * width * sin, height * cos, shift_y), dim=1),
    ]
    levels = torch.stack(
        (
            uniform(-config.gamma, config.gamma),
            uniform(-config.contrast, config.contrast),
            uniform(-config.brightness, config.brightness),
        ),
        dim=1,
    )
    noise = int(torch.randint(1 << 31, (1,), generator=generator))
    return Draws(torch.stack(rows, dim=1), levels, noise)


def augment(images: Tensor, draws: Draws, noise: float) -> Tensor:
    """Change images as drawn.

    Args:
        images: (B, H, W) uint8.
        draws: of as many images.
        noise: SD, of 1.

    Returns:
        (B, 1, H, W) float32 in 0..1.
    """
    x = images[:, None].float() / 255.0
    grid = functional.affine_grid(draws.theta.to(x.device), list(x.shape), align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    gamma, contrast, brightness = draws.levels.to(x.device).view(-1, 3, 1, 1, 1).unbind(dim=1)
    x = x.clamp(1e-4, 1.0).pow(gamma.exp())
    mean = x.mean(dim=(2, 3), keepdim=True)
    x = (x - mean) * contrast.exp() + mean + brightness
    if noise:
        x = x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(draws.noise)).to(x.device)
    return x.clamp(0.0, 1.0)
