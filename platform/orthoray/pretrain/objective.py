"""The losses of a step put together: targets from the teacher first, of the whole batch, then the student's losses.

Where a step has few scores they are computed at once; where a network is not ``scored``, chunk by chunk
(`orthoray.pretrain.losses.chunked`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from orthoray.pretrain.accumulation import take
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.losses.chunked import chunked_dino_loss, chunked_ibot_loss
from orthoray.pretrain.losses.chunked_targets import CHUNK, ChunkedTargets, chunked_targets, update_centre
from orthoray.pretrain.losses.dino import Centre, dino_loss, teacher_targets
from orthoray.pretrain.losses.gram import gram_loss
from orthoray.pretrain.losses.ibot import ibot_loss
from orthoray.pretrain.losses.koleo import koleo_loss
from orthoray.pretrain.masks import PatchMasks
from orthoray.pretrain.network import Network, Seen
from orthoray.pretrain.parallel import gathered

Target = torch.Tensor | ChunkedTargets


@dataclass(frozen=True)
class Targets:
    """What the student is to tell: of the global views, of the masked patches, and the Gram teacher's patches.

    ``images``: of each view. ``grid``: (n_global · B, N, E), as `Seen.grid`.
    """

    views: Target
    images: int
    patches: Target | None = None
    grid: torch.Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """Means over the images: the sum to minimise, and each loss without its weight (absent where it is off)."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


def is_scored(config: PretrainConfig) -> bool:
    """Do all scores of a step fit into a chunk, so that they may be computed at once?"""
    rows = (config.crops.n_global + config.crops.n_local) * config.batch_size
    return config.losses.ibot.weight == 0.0 and rows * config.head.prototypes <= CHUNK


class Objective:
    """The losses of a run, with the running centres that they need.

    Attributes:
        centres: of the class tokens (``views``) and, with iBOT, of the masked patches (``patches``).
    """

    def __init__(self, config: PretrainConfig, device: torch.device, dtype: torch.dtype | None) -> None:
        self.config, self.dtype = config, dtype
        ibot, momentum = config.losses.ibot, config.teacher.centre_momentum
        self.centres = {"views": Centre(config.head.prototypes, momentum, device)}
        if ibot.weight:
            head = config.head if ibot.head == "shared" else ibot.head
            self.centres["patches"] = Centre(head.prototypes, momentum, device)

    @torch.no_grad()
    def targets(self, teacher: Network, seen: Seen, temperature: float, grid: torch.Tensor | None) -> Targets:
        """Targets of a whole batch from what the teacher has seen; moves the centres on."""
        n_global = self.config.crops.n_global
        views = self._target("views", teacher, seen.scores, temperature, n_global)
        patches = None if seen.patches is None else self._target("patches", teacher, seen.patches, temperature, 1)
        return Targets(views, len(seen.tokens) // n_global, patches, grid)

    def _target(self, name: str, teacher: Network, given: torch.Tensor, temperature: float, n_views: int) -> Target:
        """``given``: scores, or bottlenecks."""
        centre, centring = self.centres[name], self.config.teacher.centring
        if teacher.scored:
            found: Target = teacher_targets(given.float(), temperature, centring, centre, n_views)
            centre.update(given.float())
            return found
        head = teacher.of_patches() if name == "patches" else teacher.head
        with gathered(head):
            prototypes = head.unit_prototypes()
            found = chunked_targets(given, prototypes, temperature, centring, centre, n_views, dtype=self.dtype)
            update_centre(centre, given, prototypes)
        return found

    def losses(
        self, network: Network, seen: Seen, targets: Targets, masks: PatchMasks | None, part: slice
    ) -> tuple[Losses, torch.Tensor]:
        """Losses of images ``part``, which ``seen`` and ``masks`` are of, and the mean entropy of their targets."""
        weights, found = self.config.losses, dict[str, torch.Tensor]()
        found["dino"], entropy = self._dino(network, seen, _of_part(targets.views, self.config.crops.n_global, part))
        if weights.ibot.weight and masks is not None and targets.patches is not None and seen.patches is not None:
            found["ibot"] = self._ibot(network, seen.patches, targets.patches, masks)
        if weights.gram.weight and targets.grid is not None and seen.grid is not None:
            found["gram"] = gram_loss(seen.grid, take(targets.grid, self.config.crops.n_global, part))
        scale = {"dino": weights.dino, "ibot": weights.ibot.weight, "gram": weights.gram.weight}
        total = torch.stack([scale[name] * value for name, value in found.items() if scale[name]]).sum()
        return Losses(total, found), entropy

    def _dino(self, network: Network, seen: Seen, target: Target) -> tuple[torch.Tensor, torch.Tensor]:
        crops, temperature = self.config.crops, self.config.teacher.student_temperature
        n_views = crops.n_global + crops.n_local
        if isinstance(target, ChunkedTargets):
            prototypes = network.head.unit_prototypes()
            return chunked_dino_loss(target, seen.scores, prototypes, temperature, crops.n_global, n_views)
        loss = dino_loss(target, seen.scores.float(), temperature, crops.n_global, n_views)
        return loss, torch.special.entr(target).sum(dim=-1).mean()

    def _ibot(self, network: Network, seen: torch.Tensor, target: Target, masks: PatchMasks) -> torch.Tensor:
        temperature, crops = self.config.teacher.student_temperature, len(masks.masks)
        if isinstance(target, ChunkedTargets):
            prototypes = network.of_patches().unit_prototypes()
            return chunked_ibot_loss(target, seen, prototypes, masks.weights, temperature, crops)[0]
        return ibot_loss(target, seen.float(), masks.weights, temperature, crops)

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """KoLeo of the global views' class tokens (n_global · B, D), without its weight."""
        return torch.stack([koleo_loss(view) for view in tokens.chunk(self.config.crops.n_global)]).mean()

    def state(self) -> dict[str, torch.Tensor]:
        """The centres by name."""
        return {name: centre.value for name, centre in self.centres.items()}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the centres back; KeyError or ValueError for those of other losses."""
        for name, centre in self.centres.items():
            if state[name].shape != centre.value.shape:
                raise ValueError(f"centre of the {name} is of {state[name].shape[-1]} prototypes")
            centre.value = state[name].to(centre.value)


def of_patches(targets: Targets, rows: torch.Tensor) -> Targets:
    """The same with only some of the masked patches, ``rows`` (m,) among all of the batch's."""
    if isinstance(targets.patches, ChunkedTargets):
        return replace(targets, patches=replace(targets.patches, bottlenecks=targets.patches.bottlenecks[rows]))
    return targets if targets.patches is None else replace(targets, patches=targets.patches[rows])


def _of_part(target: Target, n_views: int, part: slice) -> Target:
    return target.of_part(part) if isinstance(target, ChunkedTargets) else take(target, n_views, part)
