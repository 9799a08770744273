"""What a device can do at most: data sheets of GPUs, and a measurement for processors."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from orthoray.errors import InputError, nearest

if TYPE_CHECKING:
    import torch


class Peaks(NamedTuple):
    """Dense matrix products, FLOP/s: in bf16, and of float32 numbers by TF32 and without it. 0 = no such unit."""

    bf16: float
    tf32: float
    fp32: float


GPU_PEAKS = {
    "B200": Peaks(2250e12, 1100e12, 75e12),
    "H200": Peaks(989e12, 494e12, 67e12),
    "H200 NVL": Peaks(835e12, 417e12, 60e12),
    "GH200": Peaks(989e12, 494e12, 67e12),
    "H100": Peaks(989e12, 494e12, 67e12),
    "H100 NVL": Peaks(835e12, 417e12, 60e12),
    "H100 PCIe": Peaks(756e12, 378e12, 51e12),
    "A100": Peaks(312e12, 156e12, 19.5e12),
    "L40S": Peaks(362e12, 183e12, 91.6e12),
    "L40": Peaks(181e12, 90.5e12, 90.5e12),
    "L4": Peaks(121e12, 60e12, 30.3e12),
    "A40": Peaks(149.7e12, 74.8e12, 37.4e12),
    "A30": Peaks(165e12, 82e12, 10.3e12),
    "A10": Peaks(125e12, 62.5e12, 31.2e12),
    "V100": Peaks(0.0, 0.0, 15.7e12),
    "T4": Peaks(0.0, 0.0, 8.1e12),
}
"""By the words of the driver's name, from NVIDIA's data sheets of these products, without sparsity; SXM parts where
nothing else is said. Data sheets that print figures with sparsity alone (H100, H200, L4) are halved."""


def known_gpu(wanted: str, known: Collection[str] = GPU_PEAKS) -> str:
    """The name of a kind of GPU as it is known here, whatever its case; InputError with the nearest one otherwise."""
    found = next((name for name in known if name.lower() == wanted.lower()), None)
    if found is None:
        raise InputError(f"--gpu {wanted}: not known.{nearest(wanted, known)} Known: {', '.join(known)}.")
    return found


def gpu_peak(name: str, unit: str) -> float:
    """Peak FLOP/s of a GPU, 0.0 if it is not known: utilisation is then shown as 0 rather than guessed.

    Args:
        name: as the driver tells it, ``NVIDIA H100 80GB HBM3``. A part of a GPU (MIG) is not known.
        unit: ``bf16``, ``tf32`` or ``fp32``.
    """
    words = set(re.split(r"[\s-]+", name.lower()))
    if "mig" in words:
        return 0.0
    fitting = [part for part in GPU_PEAKS if set(part.lower().split()) <= words]
    best = max(fitting, key=lambda part: len(part.split()), default=None)
    return 0.0 if best is None else float(getattr(GPU_PEAKS[best], unit))


def peak_flops(device: torch.device, dtype: torch.dtype, processes: int = 1) -> float:
    """Peak FLOP/s for model FLOPs utilisation (MFU).

    GPUs: `gpu_peak`, for float32 by TF32 if torch is allowed to use it. CPU: the best of a few matrix products measured
    here in about 0.3 s: what this processor attains, not what its maker states.

    Args:
        device: where training runs.
        dtype: type of the matrix products.
        processes: training processes that share this processor (CPU only); each gets its part.
    """
    import torch

    if device.type == "cuda":
        by_tf32 = torch.get_float32_matmul_precision() != "highest"
        unit = "bf16" if dtype == torch.bfloat16 else "tf32" if by_tf32 else "fp32"
        return gpu_peak(torch.cuda.get_device_name(device), unit)
    return _measured_product(dtype) / max(1, processes)


def _measured_product(dtype: torch.dtype, side: int = 1024, seconds: float = 0.3) -> float:
    import torch

    left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    left @ right
    best, stop = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        left @ right
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best
