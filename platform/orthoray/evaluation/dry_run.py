"""What a study would do, and about how long it would take, before it does anything."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orthoray import storage
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.failures import only_failed
from orthoray.evaluation.feature_folders import store_of
from orthoray.evaluation.fits import family
from orthoray.evaluation.preflight import Plan
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.protocol import Samples, fold_rows, inner_folds, training_subset
from orthoray.evaluation.rows import Row, finished, read_part
from orthoray.evaluation.shots import shot_protocols, shots_of
from orthoray.evaluation.slices import RULES
from orthoray.features.blocks import LAST, blocks_spec
from orthoray.features.encoders import EncoderSpec
from orthoray.features.store import META
from orthoray.progress import clock

MOST_SAMPLES = 600
"""Samples of the fit that is timed; a larger task is taken to need proportionally longer."""

UNKNOWN = "how long they take is not known before one has run, and not in the sum"
"""Of protocols that are not timed."""

SAMPLED_PARTS = 20
"""Part files of a protocol that are read for the seconds that its rows took."""


class Estimate(NamedTuple):
    """Seconds of one processor, and where the figure comes from."""

    seconds: float
    source: str


def dry_run(config: StudyConfig, plan: Plan, rows: Sequence[Row], price_per_hour: float | None) -> list[str]:
    """Lines of text: the grid, what is left of it, seconds and cost. Nothing is written.

    Seconds are those that rows of the same protocol have taken in this study, if there are any, else timed here on
    random features of the size of the largest task (probes) or on one step of the network (fine-tuning). Networks over
    slices and SGD heads are not timed beforehand: their lines say so, and they are not in the sum.
    """
    out = storage.absolute(config.out)
    done, failed = finished(rows, out), set(only_failed(out, rows))
    lines = [
        f"{len(plan.tasks)} tasks x {len(config.all_models())} models x {len(config.protocols)} protocols x "
        f"{len(config.fractions)} fractions x {len(config.seeds)} seeds x {config.folds} folds: {len(rows)} rows "
        f"({len(done)} done, {len(failed - done)} failed before)"
    ]
    total = _features(config, plan, out, lines)
    for protocol in [*config.protocols, *shot_protocols(config)]:
        mine = [row for row in rows if row.protocol == protocol]
        left = [row for row in mine if row not in done]
        found = _measured(out, [row for row in mine if row in done]) or _timed(
            config, plan, shots_of(protocol)[0], left
        )
        total += found.seconds
        if left and found.source == UNKNOWN:
            lines.append(f"{protocol}: {len(left)} of {len(mine)} rows left, {UNKNOWN}")
            continue
        lines.append(
            f"{protocol}: {len(left)} of {len(mine)} rows left, {clock(found.seconds)} of one processor "
            f"({found.source})"
        )
    processors = os.cpu_count() or 1
    wall = total / processors
    lines.append(f"about {clock(wall)} on the {processors} processors of this machine, without start-up")
    if price_per_hour is not None:
        lines.append(f"about {wall / 3600 * price_per_hour:.2f} at {price_per_hour:g} an hour")
    return lines


def _features(config: StudyConfig, plan: Plan, out: str, lines: list[str]) -> float:
    """Seconds of one processor for features that are not there yet."""
    store = store_of(config, out)
    total = 0.0
    gaps = {gap.model for gap in plan.gaps if gap.protocol == "sgd"}
    several = {f"{n}, {LAST} blocks": blocks_spec(s) for n, s in plan.specs.items() if n not in gaps}
    for name, spec in (plan.specs | (several if "sgd" in config.protocols else {})).items():
        missing = 0
        for dataset in plan.datasets:
            folder = storage.join(store, spec.key(str(dataset.manifest["dataset_id"]), config.features.modality))
            if not storage.exists(storage.join(folder, META)):
                missing += len(dataset.index())
        if missing:
            seconds = missing / _images_per_second(spec)
            total += seconds
            lines.append(f"features of {name}: {missing} images, {clock(seconds)} of one processor (timed here)")
    return total


def _images_per_second(spec: EncoderSpec, count: int = 8) -> float:
    """Of one processor; images of noise."""
    encoder = spec.build(1, "cpu")
    images = [np.random.default_rng(n).integers(0, 255, (256, 256)).astype(np.uint8) for n in range(count)]
    encoder.encode(images)
    start = time.perf_counter()
    encoder.encode(images)
    return count / (time.perf_counter() - start)


def _measured(out: str, done: Sequence[Row]) -> Estimate | None:
    """From the part files of rows that are done."""
    if not done:
        return None
    some = [done[at] for at in np.linspace(0, len(done) - 1, min(SAMPLED_PARTS, len(done))).astype(int)]
    took = [float(read_part(row.part(out))[1].get("seconds", 0.0)) for row in some]
    return Estimate(float(np.mean(took)) * len(done), f"as {len(some)} rows of this study took")


def _timed(config: StudyConfig, plan: Plan, protocol: str, left: Sequence[Row]) -> Estimate:
    if not left:
        return Estimate(0.0, "nothing left")
    if protocol == "ft":
        return _timed_tuning(config, plan, left)
    if family(protocol) in ("mil", "transformer", "sgd"):
        return Estimate(0.0, UNKNOWN)
    widest = max(_width(spec) for spec in plan.specs.values())
    largest = max(plan.tasks.values(), key=lambda task: len(task.samples.label) * len(task.card.classes))
    samples = _some(largest.samples)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(samples.label), widest))
    train = np.arange(len(samples.label))
    start = time.perf_counter()
    part = Part(train, inner_folds(samples, train, config.probe, 0))
    fit_probes(features, samples.label, [part], len(largest.card.classes), config.probe)
    per_cell = (time.perf_counter() - start) / (len(train) * widest * len(largest.card.classes))
    total = 0.0
    for row in left:
        task = plan.tasks[row.task]
        n = len(task.samples.label) * row.fraction * (1 - 1 / config.folds)
        if protocol in RULES:  # fitted on slices, once for all rules
            n *= len(task.samples.image_id) / len(task.samples.label) / len(set(RULES) & set(config.protocols))
        total += per_cell * n * _width(plan.specs[row.model]) * len(task.card.classes)
    return Estimate(total, "one linear probe timed here on random features, the slowest kind")


def _timed_tuning(config: StudyConfig, plan: Plan, left: Sequence[Row]) -> Estimate:
    import torch

    from orthoray.evaluation.finetune.bags import Bags
    from orthoray.evaluation.finetune.fit import Fit
    from orthoray.evaluation.finetune.start import start_network
    from orthoray.evaluation.finetune.task import Parts, Task

    torch.set_num_threads(1)
    rates: dict[str, tuple[float, float]] = {}
    count = config.finetune.batch_size
    for name in dict.fromkeys(row.model for row in left):
        spec = plan.specs[name]
        samples = Samples(
            sample_id=np.array([f"s{n}" for n in range(count)], dtype=object),
            patient_id=np.array([f"p{n}" for n in range(count)], dtype=object),
            label=np.arange(count) % 2,
            image_id=np.array([f"i{n}" for n in range(count)], dtype=object),
            image_dataset=np.zeros(count, np.int64),
            owner=np.arange(count),
        )
        toy = Task(samples, "binary", 2, "auroc")
        bags = Bags(np.zeros((count, spec.resolution, spec.resolution), np.uint8), np.arange(count + 1))
        settings = config.finetune.model_copy(update={"epochs": 1, "head": "linear", "start": "zero"})
        rows = np.arange(count)
        network = start_network(spec.checkpoint, "cls", toy, settings, 0, "cpu")
        fit = Fit(toy, bags, Parts(rows, rows, rows), network, settings)
        fit._epoch(1)
        start = time.perf_counter()
        fit._epoch(1)
        middle = time.perf_counter()
        fit.predict(network, rows)
        rates[name] = (count / (middle - start), count / (time.perf_counter() - middle))
    total = sum(_tuning_seconds(config, plan, row, *rates[row.model]) for row in left)
    return Estimate(total * config.search.trials, "a step of the network timed here; all epochs, none given up early")


def _tuning_seconds(config: StudyConfig, plan: Plan, row: Row, learnt: float, seen: float) -> float:
    task, settings = plan.tasks[row.task], config.finetune
    train, test = fold_rows(task.samples, task.splits[row.seed], row.fold)
    train = training_subset(task.samples, train, row.fraction, row.seed)
    images = np.bincount(task.samples.owner, minlength=len(task.samples.label))
    held = settings.holdout
    shown = np.minimum(images[train], settings.slices).sum()
    per_epoch = (1 - held) * shown / learnt + held * images[train].sum() / seen
    return float(settings.epochs * per_epoch + images[test].sum() / seen)


def _width(spec: EncoderSpec) -> int:
    if spec.kind == "pixels":
        return spec.resolution**2
    card: Mapping[str, int] = storage.read_json(storage.join(spec.checkpoint, "card.json"))
    return int(card["feature_dim"]) * (2 if "+" in spec.pooling else 1)


def _some(samples: Samples) -> Samples:
    """At most `MOST_SAMPLES` of them, by chance."""
    order = np.random.default_rng(0).permutation(len(samples.label))[:MOST_SAMPLES]
    return samples.without_images(np.sort(order))
