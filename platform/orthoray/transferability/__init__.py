"""Transferability: how well frozen features of a backbone suit a labelled target, without fine-tuning."""

from orthoray.transferability.checks import ScoreInputError
from orthoray.transferability.score import ESTIMATORS, Score, evaluate, score

__all__ = ["ESTIMATORS", "Score", "ScoreInputError", "evaluate", "score"]
