"""What the doctor knows of a run beside its history, and how it reads a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.settings.objective import Centring

Row = Mapping[str, float]

OF_HEAD = {"teacher_entropy", "student_teacher_kl", "prototypes_used", "assignment_perplexity", "score_spread"}
"""Measures that come from the head of the class tokens."""

FAR = 10.0
"""Peak learning rates of this many times the usual one count as evidence."""


@dataclass(frozen=True)
class Facts:
    """The settings that explain what goes wrong.

    Attributes:
        prototypes: K.
        student_temperature: of the student's softmax.
        centring: of the teacher's scores.
        centre_momentum: 1 means that nothing is centred.
        lr: peak learning rate.
        batch: images of a step, over all workers.
        steps: length of the run.
        settled: steps until warm-up and the freezing of the backbone are over.
        scored: class tokens are learnt from; without, measures of their head mean nothing and show nothing.
        clip: largest norm of gradients that is let through.
        continues: the backbone started from weights.
        held: steps for which the backbone was held fixed.
    """

    prototypes: int
    student_temperature: float
    centring: Centring
    centre_momentum: float
    lr: float
    batch: int
    steps: int
    settled: int = 0
    scored: bool = True
    clip: float = 3.0
    continues: bool = False
    held: int = 0

    @classmethod
    def of(cls, config: PretrainConfig, lr: float, steps: int) -> Facts:
        """Those of a run of ``steps`` steps with peak learning rate ``lr``."""
        held = config.model.freeze_backbone_steps
        return cls(
            prototypes=config.head.prototypes,
            student_temperature=config.teacher.student_temperature,
            centring=config.teacher.centring,
            centre_momentum=config.teacher.centre_momentum,
            lr=lr,
            batch=config.batch_size,
            steps=steps,
            settled=max(held + config.model.ramp_backbone_steps, round(config.optimiser.warmup * steps)),
            scored=config.losses.dino > 0.0,
            clip=config.optimiser.clip,
            continues=config.model.weights is not None,
            held=held,
        )

    @property
    def usual_lr(self) -> float:
        """4e-3 · √(batch / 1024), DINOv2's rule, which is the higher one for all but very large batches."""
        return 4e-3 * math.sqrt(self.batch / 1024)

    @property
    def lr_is_far_too_high(self) -> bool:
        """True if the peak learning rate alone explains a collapse."""
        return self.lr >= FAR * self.usual_lr


@dataclass(frozen=True)
class Reading:
    """A row of the history with the facts of its run; what the row does not hold is NaN, and NaN passes no test."""

    row: Row
    facts: Facts

    def __getitem__(self, name: str) -> float:
        if name in OF_HEAD and not self.facts.scored:
            return math.nan
        return float(self.row.get(name, math.nan))

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.row["step"])

    @property
    def finite(self) -> bool:
        """False if the row holds a loss that is not."""
        return math.isfinite(self.row.get("loss", 0.0))

    @property
    def uniformity(self) -> float:
        """Entropy of the teacher as a share of ln K."""
        return self["teacher_entropy"] / math.log(self.facts.prototypes)

    @property
    def disagreement(self) -> float:
        """KL from teacher to student as a share of ln K."""
        return self["student_teacher_kl"] / math.log(self.facts.prototypes)

    @property
    def in_use(self) -> float:
        """Number of prototypes that were the most likely one of some view of late."""
        return self["prototypes_used"] * self.facts.prototypes

    def gradients(self) -> dict[str, float]:
        """Norms of gradients before clipping, by part of the network."""
        return {
            key.removeprefix("grad_norm_"): value for key, value in self.row.items() if key.startswith("grad_norm_")
        }

    def head_gradient(self) -> float:
        """Norm of the gradients of the class tokens' head; NaN if it is not in the row."""
        found = [value for part, value in self.gradients().items() if part.split(".")[0] == "head"]
        return math.hypot(*found) if found and self.facts.scored else math.nan
