"""One grey channel in place of three colours: exact for grey images, with or without the source's normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from orthoray.config import StrictModel
from orthoray.errors import InputError
from orthoray.models.features import Normalisation

if TYPE_CHECKING:
    import torch


class SourceNormalisation(StrictModel):
    """Mean and standard deviation per colour channel that a network was trained with, on levels of 0..1."""

    mean: tuple[float, float, float] = Field(strict=False)
    std: tuple[float, float, float] = Field(strict=False)


IMAGENET = SourceNormalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What DINO, DINOv2, DINOv3 (web images), MAE and MoCo v3 were trained with."""


def fold_kernel(weight: torch.Tensor) -> torch.Tensor:
    """(O, 3, h, w) → (O, 1, h, w): the sum over channels.

    ``Σ_c W_c * z = (Σ_c W_c) * z``, so it is exact for an image that holds the same values z in all three channels.
    """
    return weight.sum(dim=1, keepdim=True)


def fold_normalised(
    weight: torch.Tensor, bias: torch.Tensor | None, source: SourceNormalisation, ours: Normalisation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold three channels, and the normalisation that each of them had, into one channel that is normalised our way.

    The source sees ``(x − m_c) / s_c`` of a grey image x in channel c, we see ``z = (x − m) / s``. With x = s·z + m:

    ``Σ_c W_c * (x − m_c)/s_c + b = (Σ_c W_c · s/s_c) * z + b + Σ_c (m − m_c)/s_c · Σ_ij W_c[i, j]``

    The second term is the same at every place only because the kernel never reaches beyond the image (its stride is its
    size and nothing is padded), as in the patch embedding of a ViT and the stem of a ConvNeXt.

    Args:
        weight: (O, 3, h, w) kernel of such a layer.
        bias: (O,), or None.
        source: normalisation of the network that the weights come from.
        ours: ``fixed`` normalisation of the grey image.

    Returns:
        (O, 1, h, w) kernel and (O,) bias.

    Raises:
        InputError: ``ours`` is not the same for all images, or the layer has no bias to take up the shift.
    """
    import torch

    if ours.kind != "fixed":
        raise InputError(
            "the source's normalisation folds into the weights only if ours is fixed: per_image differs from image to "
            "image. Use normalisation.kind=fixed, or fold without the source's normalisation."
        )
    if bias is None:
        raise InputError("the patch embedding has no bias, which has to take up the shift between normalisations.")
    wide = weight.double()
    mean, std = (
        torch.tensor(values, dtype=torch.float64, device=weight.device) for values in (source.mean, source.std)
    )
    kernel = (wide * (ours.std / std)[:, None, None]).sum(dim=1, keepdim=True)
    shift = (wide.sum(dim=(2, 3)) * ((ours.mean - mean) / std)).sum(dim=1)
    return kernel.to(weight.dtype), (bias.double() + shift).to(bias.dtype)
