"""The search for settings: one Optuna study and one ASHA per unit, all in a single run of Ray Tune.

A unit is fitted ``budget`` times, one fit after the other, so that what is proposed depends on that unit's inner
scores alone: no other fold's, whose validation patients may be this one's test patients. Units run beside each other.
Every fit that has ended is on file; a search that is taken up again replays them and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from orthoray.evaluation.finetune.settings import FineTuneConfig, Range, SearchConfig


@dataclass
class Record:
    """One fit of a unit: its settings, what it reported epoch by epoch, and how it ended."""

    options: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    state: str = "running"  # completed, pruned, failed
    reason: str = ""

    def best(self, name: str) -> float:
        """The best value that it reported."""
        return max((values[name] for values in self.history), default=float("-inf"))


class UnitSearch:
    """Proposals for one unit, in the order in which they are asked for."""

    def __init__(self, config: FineTuneConfig, search: SearchConfig, budget: int, seed: int) -> None:
        self.budget, self.records, self.objectives = budget, list[Record](), search.objectives
        self.busy = False
        several = len(search.objectives) > 1
        metric: Any = list(search.objectives) if several else search.objectives[0]
        self.optuna: OptunaSearch | None = None
        self.asha: AsyncHyperBandScheduler | None = None
        if budget == 1:
            return
        first = {name: getattr(config, name) for name in search.space}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = {name: domain(values) for name, values in search.space.items()}
        self.optuna = OptunaSearch(
            space=OptunaSearch.convert_search_space(space),
            metric=metric,
            mode=["max"] * len(metric) if several else "max",
            points_to_evaluate=[first] if all(inside(search.space[k], v) for k, v in first.items()) else None,
            seed=seed,
        )
        if search.asha and not several and config.epochs > search.grace:
            self.asha = AsyncHyperBandScheduler(
                time_attr="epoch",
                metric=search.objectives[0],
                mode="max",
                max_t=config.epochs,
                grace_period=search.grace,
                reduction_factor=search.reduction,
                stop_last_trials=False,
            )

    def ready(self) -> bool:
        """May another fit begin?"""
        return not self.busy and len(self.records) < self.budget

    def propose(self, name: str) -> dict[str, Any]:
        """Settings of the next fit, which ``name`` stands for from now on."""
        options: dict[str, Any] = {}
        if self.optuna is not None:
            options = {k: int(v) if k == "batch_size" else v for k, v in (self.optuna.suggest(name) or {}).items()}
        if self.asha is not None:
            self.asha.on_trial_add(None, SimpleNamespace(trial_id=name))  # type: ignore[arg-type]
        self.records.append(Record(options))
        self.busy = True
        return options

    def reported(self, name: str, values: dict[str, float]) -> bool:
        """Take note of an epoch; True if the fit is to end here."""
        history = self.records[-1].history
        while history and history[-1]["epoch"] >= values["epoch"]:  # its worker died, and it began again
            history.pop()
        history.append(values)
        if self.optuna is not None and len(self.objectives) == 1:
            self.optuna.on_trial_result(name, {**values, "training_iteration": int(values["epoch"])})
        if self.asha is None:
            return False
        told = self.asha.on_trial_result(None, SimpleNamespace(trial_id=name), values)  # type: ignore[arg-type]
        return bool(told == TrialScheduler.STOP)

    def ended(self, name: str, state: str) -> Record:
        """Take note of the end of a fit; the searcher learns the best that it reported."""
        record = self.records[-1]
        record.state, self.busy = state, False
        if self.optuna is not None:
            known = bool(record.history) and state != "failed"
            best = {objective: record.best(objective) for objective in self.objectives} if known else None
            self.optuna.on_trial_complete(name, best, error=state == "failed")
        return record

    def replay(self, record: Record, name: str) -> bool:
        """Go through a fit of an earlier session again, without fitting; False if it was not this one that is due."""
        if self.propose(name) != record.options:
            self.records.pop()
            self.busy = False
            return False
        for values in record.history:
            self.reported(name, values)
        self.ended(name, record.state)
        return True

    def winner(self) -> int | None:
        """Position of the completed fit with the best first objective, the earliest among equals."""
        done = [at for at, record in enumerate(self.records) if record.state == "completed"]
        return max(done, key=lambda at: (self.records[at].best(self.objectives[0]), -at)) if done else None


def domain(values: Range) -> Any:
    """A setting's values as Tune says it."""
    if values.choices is not None:
        return tune.choice(values.choices)
    assert values.low is not None
    assert values.high is not None
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def inside(values: Range, value: float) -> bool:
    """Is ``value`` one of those searched?"""
    if values.choices is not None:
        return value in values.choices
    return values.low is not None and values.high is not None and values.low <= value <= values.high


OnEnd = Callable[[int, int, Record], None]
"""Told the unit, the number of its fit, and the record."""


class Proposals(Searcher):
    """Hands out the fits of all units, the first unit that is ready first."""

    def __init__(self, units: list[UnitSearch], seen: dict[str, tuple[int, int]], on_end: OnEnd) -> None:
        super().__init__()
        self.units, self.seen, self.on_end = units, seen, on_end

    def suggest(self, trial_id: str) -> Any:
        """The next fit; None while all that could be next are waiting, and at the end the searcher's own mark."""
        for at, unit in enumerate(self.units):
            if unit.ready():
                number = len(unit.records)
                self.seen[trial_id] = (at, number)
                return {"unit": at, "fit": number, "options": unit.propose(trial_id)}
        return None if any(unit.busy for unit in self.units) else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close the record of a fit: it failed, was pruned (see `Pruning`), or is complete."""
        at, number = self.seen[trial_id]
        unit = self.units[at]
        if unit.busy and number == len(unit.records) - 1:
            record = unit.records[-1]
            record.reason = "the trial was lost" if error else str((result or {}).get("broken") or "")
            state = "failed" if record.reason else "pruned" if record.state == "pruned" else "completed"
            self.on_end(at, number, unit.ended(trial_id, state))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what has ended is on file."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""


class Pruning(FIFOScheduler):
    """Passes each epoch on to its unit, and ends the fits that the unit's ASHA gives up."""

    def __init__(self, units: list[UnitSearch], seen: dict[str, tuple[int, int]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.units, self.seen = units, seen

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Continue or stop."""
        unit = self.units[self.seen[trial.trial_id][0]]
        if "epoch" not in result or unit.optuna is None or not unit.busy:
            return str(TrialScheduler.CONTINUE)
        names = ("epoch", "log_loss", "headline", "loss")
        values = {name: float(result[name]) for name in names if result.get(name) is not None}
        if not unit.reported(trial.trial_id, values):
            return str(TrialScheduler.CONTINUE)
        unit.records[-1].state = "pruned"
        return str(TrialScheduler.STOP)
