"""What happens when a run shows signs of collapse."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orthoray.config import StrictModel


class DoctorConfig(StrictModel):
    """The collapse doctor, see `orthoray.pretrain.doctor`. ``stop`` ends a run that a finding says is lost."""

    action: Literal["off", "warn", "stop"] = "warn"
    patience: int = Field(
        default=300, ge=1, description="Steps after the warm-up over which a sign of collapse must last."
    )
