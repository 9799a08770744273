"""Which number format the forward pass runs in, and why."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

PrecisionName = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True)
class Precision:
    """A resolved precision: ``name`` bf16 or fp32, the device type, and the reason for the choice."""

    name: Literal["bf16", "fp32"]
    device: str
    reason: str

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which matrix products run in this precision; master weights stay float32."""
        import torch

        return torch.autocast(self.device, torch.bfloat16, enabled=self.name == "bf16")

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of matrix products."""
        import torch

        return torch.bfloat16 if self.name == "bf16" else torch.float32


def resolve_precision(wanted: PrecisionName, device: str) -> Precision:
    """Resolve "auto": bf16 where the hardware multiplies it natively, else fp32.

    Args:
        wanted: ``auto``, ``bf16`` or ``fp32``.
        device: torch device type, ``cpu`` or ``cuda``.
    """
    if wanted != "auto":
        return Precision(wanted, device, "asked for")
    if device == "cuda":
        import torch

        if torch.cuda.is_bf16_supported():
            return Precision("bf16", device, "the GPU multiplies bf16 natively")
        return Precision("fp32", device, "the GPU has no native bf16")
    if cpu_has_bf16():
        return Precision("bf16", device, "the processor has AVX512-BF16 or AMX-BF16")
    return Precision("fp32", device, "the processor has no bf16 instructions")


@cache
def cpu_has_bf16() -> bool:
    """True if this processor has AVX512-BF16 or AMX-BF16 (Linux; False where that cannot be read)."""
    info = Path("/proc/cpuinfo")
    try:
        flags = info.read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
