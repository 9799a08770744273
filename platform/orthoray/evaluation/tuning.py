"""One quiet run of Ray Tune in a study's folder: Ctrl-C reaches the command, lost workers begin again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from orthoray import storage
from orthoray.errors import RunError
from orthoray.evaluation.rows import Row

RETRIES = 2
"""Times that a trial begins again after its worker was lost; rows with a part file are not run again."""

OnEnd = Callable[[Sequence[Row]], None]
"""Told of rows that have their part files."""


def run_trials(
    trainable: Any, scratch: str, callback: Any, expected: int, param_space: Any = None, **tuning: Any
) -> None:
    """Run all trials and come back when each has ended; what each did is told by part files.

    Args:
        trainable: with its parameters and resources.
        scratch: folder of Tune's own, removed afterwards.
        callback: told of results as they come.
        expected: number of trials.
        param_space: of Tune; None where a searcher proposes.
        tuning: options of `ray.tune.TuneConfig`.

    Raises:
        RunError: trials vanished.
    """
    from ray import tune

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C must reach the command, not end in a partial result
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the old reporter is silent at verbose=0, the new one is not
    tuner = tune.Tuner(
        trainable,
        param_space=param_space,
        tune_config=tune.TuneConfig(**tuning),
        run_config=tune.RunConfig(
            name="study",
            storage_path=scratch,
            verbose=0,
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        results = tuner.fit()
    finally:
        storage.remove_tree(scratch)
    check_results(results, expected)


def check_results(results: Any, expected: int) -> None:
    """RunError unless there is one result per trial."""
    if len(results) != expected:
        raise RunError(
            f"{len(results)} of {expected} trials came back: the processors or GPUs that one asks for could not be "
            "had, or workers were lost. See `ray status`, then run again to resume."
        )
