"""Measures by which collapse shows itself: of a step and of a set of features.

Tensors in, scalar tensors out, on the device of the input; nothing here waits for the device but `Diagnostics.row`,
whose measures are those of all workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from orthoray.pretrain.losses.chunked_targets import ChunkedTargets, target_measures
from orthoray.pretrain.losses.workers import gather_rows, max_over_workers, mean_over_workers, rank, sum_over_workers

SAMPLE = 2**20
"""Scores of a step that are looked at: with many prototypes only some of the views, evenly spread."""

RANKME_EPSILON = 1e-7
"""Garrido et al., equation 2; theirs for float32."""


def entropy(targets: torch.Tensor) -> torch.Tensor:
    """Mean entropy in nats of (B, K) distributions: 0 = all certain, ln K = all uniform."""
    found: torch.Tensor = torch.special.entr(targets.float()).sum(dim=-1).mean()
    return found


def student_teacher_kl(targets: torch.Tensor, scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean KL(teacher ‖ student) in nats.

    Args:
        targets: (B, K) teacher distributions.
        scores: (B, K) scores of the student for the same rows; its distribution is softmax(scores / temperature).
        temperature: the student's.
    """
    log_student = torch.log_softmax(scores.float() / temperature, dim=-1)
    return -(targets * log_student).sum(dim=-1).mean() - entropy(targets)


def feature_spread(features: torch.Tensor) -> torch.Tensor:
    """How far the directions of (B, D) features lie apart: 0 = all alike, 1 = no common direction.

    √(1 - ‖mean of the unit vectors‖²), which is the root of the summed variances of their coordinates. Rows of zeros
    count as alike.
    """
    unit = nn.functional.normalize(features.float(), dim=-1)
    return ((unit - unit.mean(dim=0)).square().sum() / len(unit)).sqrt()


def rankme(features: torch.Tensor, centred: bool = False) -> torch.Tensor:
    """Effective rank of (N, D) features: exp of the entropy of their normalised singular values.

    RankMe of Garrido et al. (arXiv:2210.02885), equations 1 and 2: p_k = σ_k / ‖σ‖₁ + ε, ε = 1e-7. Between 1 and
    min(N, D); features of zeros give 1. The singular values come from the smaller Gram matrix in float64, a fraction of
    the cost of a decomposition.

    Args:
        features: (N, D).
        centred: take the mean feature off first, which the paper does not. A large common direction, as class tokens
            have it, hides the others from the plain measure.
    """
    wide = features.double()
    if centred:
        wide = wide - wide.mean(dim=0)
    gram = wide @ wide.t() if len(wide) < wide.shape[1] else wide.t() @ wide
    values = torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()
    shares = values / values.sum().clamp_min(torch.finfo(torch.float64).tiny) + RANKME_EPSILON
    return torch.exp(-(shares * shares.log()).sum()).clamp_min(1.0).float()


class PrototypeUsage:
    """How much of a head's prototypes the teacher uses.

    Args:
        prototypes: K.
        window: steps that count as recent.
        device: where the targets are.
    """

    def __init__(self, prototypes: int, window: int, device: torch.device) -> None:
        self.window, self.step = window, 0
        self._last = torch.full((prototypes,), -window - 1, dtype=torch.int64, device=device)
        self._mean = torch.zeros(prototypes, device=device)

    @torch.no_grad()
    def add(self, targets: torch.Tensor | ChunkedTargets) -> None:
        """Take in the teacher's distributions (n, K) of a step, or of `SAMPLE` scores' worth of its views."""
        if isinstance(targets, ChunkedTargets):  # they are computed once more
            views, prototypes = len(targets.bias), len(self._last)
            images = max(1, SAMPLE // (views * prototypes))
            found = target_measures(targets.of_part(slice(0, images)))
            best, mean = found.favourite, found.share
        else:
            some = _sampled(targets)
            best, mean = some.argmax(dim=-1), some.float().mean(dim=0)
        self._last.index_fill_(0, best, self.step)
        self._mean.lerp_(mean, 1.0 / min(self.step + 1, self.window))
        self.step += 1

    @torch.no_grad()
    def measures(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Over all workers: the share of the prototypes that were the most likely one of some view in the last
        ``window`` steps, and the perplexity of the mean assignment (1 = all on one prototype, K = even).

        The mean is over the first ``window`` steps, then exponential with that time constant.
        """
        last, mean = max_over_workers(self._last.clone()), sum_over_workers(self._mean.clone())
        mean /= mean.sum().clamp_min(torch.finfo(torch.float32).tiny)
        return (last >= self.step - self.window).float().mean(), entropy(mean.unsqueeze(0)).exp()

    @torch.no_grad()
    def state(self) -> dict[str, Any]:
        """What `load_state` takes, on the CPU; of all workers, collective."""
        last, mean = max_over_workers(self._last.clone()), mean_over_workers(self._mean.clone())
        return {"step": self.step, "last": last.cpu(), "mean": mean.cpu()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take a state back, saved by any number of workers."""
        self.step = int(state["step"])
        self._last.copy_(state["last"])
        self._mean.copy_(state["mean"])


class RecentFeatures:
    """The newest ``rows`` feature vectors of this worker, in a ring on the device."""

    def __init__(self, rows: int, width: int, device: torch.device) -> None:
        self._values = torch.zeros(rows, width, device=device)
        self._next = self._count = 0

    @torch.no_grad()
    def add(self, features: torch.Tensor) -> None:
        """Take in (B, D) features."""
        rows = len(self._values)
        new = features[-rows:].detach().float()
        first = min(len(new), rows - self._next)
        self._values[self._next : self._next + first] = new[:first]
        self._values[: len(new) - first] = new[first:]
        self._next = (self._next + len(new)) % rows
        self._count = min(rows, self._count + len(new))

    def values(self) -> torch.Tensor:
        """(n, D) float32, n ≤ ``rows``; in no particular order."""
        return self._values[: self._count]

    @torch.no_grad()
    def state(self) -> dict[str, Any]:
        """What `load_state` takes, on the CPU: the rings (workers, rows, D) of all workers; collective."""
        rings = gather_rows(self._values.unsqueeze(0))
        return {"rings": rings.to("cpu", copy=True), "next": self._next, "count": self._count}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take this worker's ring back; of another number of workers, one of theirs."""
        rings = state["rings"]
        self._values.copy_(rings[rank() % len(rings)])
        self._next, self._count = int(state["next"]), int(state["count"])


class Diagnostics:
    """What the doctor reads beside a step's own measures, gathered over steps and told in a row of the history.

    Args:
        prototypes: K of the head.
        width: D of the backbone.
        device: where training runs.
        window: steps over which prototypes count as used.
        rows: class tokens of each worker that RankMe looks at.
    """

    def __init__(self, prototypes: int, width: int, device: torch.device, window: int = 100, rows: int = 256) -> None:
        self.usage = PrototypeUsage(prototypes, window, device)
        self.recent = RecentFeatures(rows, width, device)
        self._spread = torch.zeros((), device=device)

    @torch.no_grad()
    def add(self, targets: torch.Tensor | ChunkedTargets, scores: torch.Tensor, tokens: torch.Tensor) -> None:
        """Take in a step's teacher.

        Args:
            targets: distributions (n, K) of the global views.
            scores: (n, K) scores, or (n, d) bottlenecks.
            tokens: (n, D) class tokens.
        """
        self.usage.add(targets)
        self.recent.add(tokens)
        self._spread = feature_spread(_sampled(scores))

    @torch.no_grad()
    def row(self, centre: torch.Tensor | None = None) -> dict[str, float]:
        """The measures as numbers; every worker must call it at the same step.

        Args:
            centre: running centre of the scores, (1, K) or (K,), if there is one.

        Returns:
            ``prototypes_used`` 0..1, ``assignment_perplexity`` 1..K, ``score_spread`` 0..1 (of the newest step),
            ``rankme`` and ``rankme_centred`` 1..min(rows, D), ``rankme_rows`` (class tokens of a worker in them), and
            ``centre_norm`` if there is a centre. RankMe and spread are means over the workers.
        """
        tokens = self.recent.values()
        own = {"score_spread": self._spread, "rankme": rankme(tokens), "rankme_centred": rankme(tokens, centred=True)}
        if centre is not None:
            own["centre_norm"] = centre.float().norm()
        used, perplexity = self.usage.measures()
        numbers = torch.stack([used, perplexity, *mean_over_workers(torch.stack(list(own.values())))]).tolist()
        row = dict(zip(("prototypes_used", "assignment_perplexity", *own), numbers, strict=True))
        return {**row, "rankme_rows": float(len(tokens))}

    def state(self) -> dict[str, Any]:
        """What a run needs to tell the same after a resume; collective."""
        return {"usage": self.usage.state(), "recent": self.recent.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take a state back; RuntimeError for one of another head or width."""
        self.usage.load_state(state["usage"])
        self.recent.load_state(state["recent"])


def _sampled(scores: torch.Tensor) -> torch.Tensor:
    """Every so many of (n, K) rows, so that about `SAMPLE` numbers are left."""
    return scores[:: max(1, scores.numel() // SAMPLE)]
