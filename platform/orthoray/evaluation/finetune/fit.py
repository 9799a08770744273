"""One fine-tuning: a network learns the fit rows, its best epoch by the validation rows scores the test rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from orthoray.errors import RunError
from orthoray.evaluation.finetune.augment import augment, draw
from orthoray.evaluation.finetune.bags import Bags, Chosen
from orthoray.evaluation.finetune.blend import blend, draw_blend, mixed_labels
from orthoray.evaluation.finetune.heads import Target
from orthoray.evaluation.finetune.network import TaskNetwork
from orthoray.evaluation.finetune.rates import average_decay, parameter_groups, rate_at, update_average
from orthoray.evaluation.finetune.settings import FineTuneConfig
from orthoray.evaluation.finetune.share import Share
from orthoray.evaluation.finetune.task import Parts, Scores, Task, inner_score
from orthoray.evaluation.protocol import Indices
from orthoray.evaluation.temperatures import inner_temperature

TEST_IMAGES = 256
"""Images that are scored at a time."""

Report = Callable[[int, dict[str, float]], None]


class Outcome(NamedTuple):
    """(N test rows, K) scores, facts for the row's ``params``, and the network that gave them."""

    scores: Scores
    facts: dict[str, Any]
    network: TaskNetwork


class _Best:
    """The best epoch so far, and the weights that it ended with."""

    def __init__(self) -> None:
        self.score, self.epoch, self.state = -math.inf, 0, dict[str, Tensor]()

    def see(self, epoch: int, scores: dict[str, float], network: nn.Module) -> None:
        if scores and scores["score"] > self.score:
            self.score, self.epoch = scores["score"], epoch
            self.state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


class Fit:
    """The state of one fine-tuning.

    Args:
        task: what is learnt.
        bags: images of all its samples.
        parts: rows that teach, choose and are tested.
        network: on the device that trains.
        config: how.
        seed: of order, augmentation and dropping.
        share: of the work, with several workers.
    """

    def __init__(
        self,
        task: Task,
        bags: Bags,
        parts: Parts,
        network: TaskNetwork,
        config: FineTuneConfig,
        seed: int = 0,
        share: Share = Share(),  # noqa: B008 (it never changes)
    ) -> None:
        self.task, self.bags, self.parts, self.config, self.seed, self.share = task, bags, parts, config, seed, share
        self.network = network
        self.device = next(network.parameters()).device
        self.label = torch.from_numpy(task.samples.label)
        self.weight = torch.from_numpy(class_weights(task, parts.fit, config)).float()
        lr = config.base_lr * config.batch_size / 256
        self.learner = share.wrap(network)
        groups = parameter_groups(network, lr, config.layer_decay, config.weight_decay)
        self.optimiser = torch.optim.AdamW(groups)
        self.peaks = [group["lr"] for group in self.optimiser.param_groups]
        self.average = copy.deepcopy(network) if config.ema else None
        self.per_epoch = math.ceil(len(parts.fit) / config.batch_size)
        self.steps = config.epochs * self.per_epoch
        self.step = 0

    def run(self, report: Report) -> Outcome:
        """Train until the epochs are over or patience is, then score the test rows by the best epoch's weights.

        A head that starts as a linear probe is a candidate as it is: epoch 0.

        Args:
            report: called after every epoch with its number (from 1) and inner scores, larger is better.

        Raises:
            RunError: the loss is not finite.
        """
        torch.manual_seed(self.seed + self.share.rank)
        judged = self.network if self.average is None else self.average
        best = _Best()
        if self.config.start == "probe":
            best.see(0, self._validated(judged), judged)
        losses: list[float] = []
        for epoch in range(1, self.config.epochs + 1):
            losses.append(self._epoch(epoch))
            scores = self._validated(judged)
            report(epoch, {"loss": losses[-1], **scores})
            best.see(epoch, scores, judged)
            if scores and epoch - best.epoch >= self.config.patience:
                break
        if best.state:
            judged.load_state_dict(best.state)
        facts = {
            "epochs": epoch,
            "best_epoch": best.epoch if best.state else epoch,
            "inner_score": best.score if best.state else None,
            "chosen_by": self.config.select if len(self.parts.validate) else "none: a class has one patient",
            "n_validate": len(self.parts.validate),
            "loss": losses[-1],
            **self._calibrated(judged),
        }
        return Outcome(self.predict(judged, self.parts.test), facts, judged)

    def _validated(self, network: nn.Module) -> dict[str, float]:
        rows = self.parts.validate
        if not len(rows):
            return {}
        scores = self.predict(network, rows)
        found = {name: inner_score(self.task, rows, scores, name) for name in ("log_loss", "headline")}
        chosen = found[self.config.select]
        return {**found, "score": found["log_loss"] if math.isnan(chosen) else chosen}

    def _calibrated(self, network: nn.Module) -> dict[str, float | None]:
        """The temperature by the rows that chose the epoch; nothing where scores are no probabilities."""
        rows = self.parts.validate
        if self.task.samples.time is not None or not len(rows):
            return {}
        return inner_temperature(self.task.samples.label[rows], self.predict(network, rows))

    def _epoch(self, epoch: int) -> float:
        """One pass over the fit rows; the mean loss."""
        rng = np.random.default_rng((self.seed, epoch))
        order = self._order(rng)
        self.learner.train()
        total = 0.0
        for batch in np.array_split(order, self.per_epoch):
            total += self._step(batch, rng)
        mean = total / self.per_epoch
        if not math.isfinite(mean):
            raise RunError(
                f"fine-tuning: the loss is not finite in epoch {epoch}. Lower finetune.base_lr (now "
                f"{self.config.base_lr:g}), or set precision: fp32."
            )
        return mean

    def _order(self, rng: np.random.Generator) -> Indices:
        fit = self.parts.fit
        if self.config.class_balance != "sampler":
            return rng.permutation(fit)
        counts = np.bincount(self.task.samples.label[fit])
        chance = 1.0 / counts[self.task.samples.label[fit]]
        return np.asarray(rng.choice(fit, len(fit), p=chance / chance.sum()))

    def _step(self, rows: Indices, rng: np.random.Generator) -> float:
        """One step on a batch of samples, of which each worker takes its share; the batch's loss."""
        chosen = self.bags.some_of(rows, self.config.slices, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        draws = draw(len(chosen.image), self.config.augment, generator)
        images = augment(self._images(chosen), draws, self.config.augment.noise)
        owner = torch.from_numpy(chosen.owner).to(self.device)
        target = self._target(rows)
        if self.config.mixup or self.config.cutmix:
            made = draw_blend(len(rows), self.config.mixup, self.config.cutmix, rng)
            images, kept = blend(images, owner, made)
            target.mixed = mixed_labels(target.label, made, kept, self.task.classes)
        loss = self._loss(images, owner, target)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for p in self.network.parameters() if p.requires_grad], self.config.clip)
        factor = rate_at(self.step, self.steps, round(self.config.warmup * self.steps))
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        self.optimiser.step()
        if self.average is not None:
            update_average(self.average, self.network, average_decay(self.config.ema, self.step))
        self.step += 1
        return self.share.mean(float(loss.detach()))

    def _loss(self, images: Tensor, owner: Tensor, target: Target) -> Tensor:
        """Weighted mean loss; a worker's is scaled so that the mean over workers is the whole batch's."""
        count = len(target.label)
        mine = self.share.of(count).to(self.device)
        inside = torch.isin(owner, mine)
        theirs = torch.searchsorted(mine, owner[inside])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            outputs = self.learner(images[inside], theirs, len(mine)).float()
        by_image = self.network.by_image
        own = target.of(owner[inside] if by_image else mine)
        everyone = target.weight[owner].sum() if by_image else target.weight.sum()
        losses = self.network.head.losses(outputs, own)
        return torch.sum(losses * own.weight) / everyone * self.share.world

    def _target(self, rows: Indices) -> Target:
        time = self.task.samples.time
        return Target(
            self.label[rows].to(self.device),
            self.weight[self.label[rows]].to(self.device),
            None if time is None else torch.from_numpy(time[rows]).float().to(self.device),
        )

    def _images(self, chosen: Chosen) -> Tensor:
        return torch.from_numpy(self.bags.images[chosen.image]).to(self.device)

    @torch.inference_mode()
    def predict(self, network: nn.Module, rows: Indices) -> Scores:
        """(n, K) scores of samples, all their images seen as they are."""
        network.eval()
        mine = rows[self.share.of(len(rows)).numpy()]
        found = [self._scored(network, part) for part in _packed(self.bags, mine)]
        whole = self.share.gathered(torch.cat(found) if found else None, len(rows))
        return whole.numpy()

    def _scored(self, network: Any, rows: Indices) -> Tensor:
        chosen = self.bags.all_of(rows)
        owner = torch.from_numpy(chosen.owner).to(self.device)
        images = self._images(chosen)[:, None]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            outputs = network(images, owner, len(rows))
        scores: Tensor = network.scores(outputs, owner, len(rows))
        return scores.cpu()


def _packed(bags: Bags, rows: Indices) -> list[Indices]:
    """Rows in pieces of about `TEST_IMAGES` images; a sample is never cut."""
    counts = np.cumsum(bags.start[rows + 1] - bags.start[rows])
    return [part for part in np.split(rows, np.flatnonzero(np.diff(counts // TEST_IMAGES)) + 1) if len(part)]


def class_weights(task: Task, fit: Indices, config: FineTuneConfig) -> Scores:
    """(K,) weights of the classes: 1, or with ``weights`` inverse to their counts, with mean 1 over the fit rows."""
    counts = np.bincount(task.samples.label[fit], minlength=task.classes).astype(np.float64)
    if config.class_balance != "weights":
        return np.ones(len(counts))
    present = counts > 0
    return np.where(present, len(fit) / (present.sum() * np.maximum(counts, 1.0)), 0.0)
