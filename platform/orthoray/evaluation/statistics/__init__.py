"""Intervals, tests, adjustment for many tests, calibration and usefulness of predictions; see docs/statistics.md."""

from orthoray.evaluation.statistics.auroc import AurocInterval, auroc_interval, delong_covariance, delong_variance
from orthoray.evaluation.statistics.checks import StatisticInputError
from orthoray.evaluation.statistics.comparisons import (
    FoldTest,
    PaperTest,
    detectable_difference,
    nadeau_bengio_test,
    paper_test,
)
from orthoray.evaluation.statistics.delong import DelongTest, FoldsDelongTest, delong_test, paired_delong_over_folds
from orthoray.evaluation.statistics.intervals import (
    BootstrapDifference,
    BootstrapInterval,
    Draws,
    bootstrap_difference,
    bootstrap_draws,
    cluster_bootstrap,
    cross_validation_inflation,
    difference_of,
    interval_of,
    resampling_inflation,
)
from orthoray.evaluation.statistics.multiplicity import fdr, holm
from orthoray.evaluation.statistics.probabilities import (
    Calibration,
    Temperature,
    apply_temperature,
    calibration,
    temperature,
)
from orthoray.evaluation.statistics.ranks import Friedman, SignedRanks, friedman, mean_ranks, signed_ranks
from orthoray.evaluation.statistics.reliability import ReliabilityCurve, reliability_curve, wilson
from orthoray.evaluation.statistics.utility import DecisionCurve, decision_curve
from orthoray.evaluation.statistics.weighted import WEIGHTED

__all__ = [
    "WEIGHTED",
    "AurocInterval",
    "BootstrapDifference",
    "BootstrapInterval",
    "Calibration",
    "DecisionCurve",
    "DelongTest",
    "Draws",
    "FoldTest",
    "FoldsDelongTest",
    "Friedman",
    "PaperTest",
    "ReliabilityCurve",
    "SignedRanks",
    "StatisticInputError",
    "Temperature",
    "apply_temperature",
    "auroc_interval",
    "bootstrap_difference",
    "bootstrap_draws",
    "calibration",
    "cluster_bootstrap",
    "cross_validation_inflation",
    "decision_curve",
    "delong_covariance",
    "delong_test",
    "delong_variance",
    "detectable_difference",
    "difference_of",
    "fdr",
    "friedman",
    "holm",
    "interval_of",
    "mean_ranks",
    "nadeau_bengio_test",
    "paired_delong_over_folds",
    "paper_test",
    "reliability_curve",
    "resampling_inflation",
    "signed_ranks",
    "temperature",
    "wilson",
]
