"""One outer fold of a network over slices: members with other patients held out each, their mean on the test rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from orthoray.evaluation.bag_networks import GatedAttention, SliceTransformer
from orthoray.evaluation.bags import Bags, train_bags
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.frozen_settings import BagConfig, MilConfig, TransformerConfig
from orthoray.evaluation.protocol import Indices, inner_folds
from orthoray.evaluation.task_features import TaskFeatures


def fit_bags(
    data: TaskFeatures, train: Indices, test: Indices, n_classes: int, config: BagConfig, seed: int
) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    """Train on ``train`` and score ``test``.

    Args:
        data: features of the task.
        train: rows of the training studies. Some of their patients are held out to stop by.
        test: rows of the test studies.
        n_classes: K.
        config: `MilConfig` or `TransformerConfig`, which decides the network.
        seed: of the inner split, starting values, order and dropout.

    Returns:
        (N test, K) probabilities, the mean over members, and facts for the row's ``params``.
    """
    samples, bags = data.samples, Bags.of(data.images, data.samples)
    dim = int(bags.x.shape[1])

    def make() -> nn.Module:
        if isinstance(config, TransformerConfig):
            return SliceTransformer(dim, n_classes, config)
        return GatedAttention(dim, n_classes, MilConfig.model_validate(config.model_dump()))

    pairs = inner_folds(samples, train, ProbeConfig(inner="cv", inner_folds=config.parts()), seed)[: config.members]
    scores, facts = [], []
    for member, (fit, validate) in enumerate(pairs):
        rows = (train[fit], train[validate])
        trained = train_bags(make, bags, samples.label, *rows, n_classes, config, seed * 1000 + member)
        scores.append(trained.predict(test))
        facts.append(trained.facts)
    told = {name: [one[name] for one in facts] for name in facts[0]}
    return np.mean(scores, axis=0), {"members": len(pairs), **told}
