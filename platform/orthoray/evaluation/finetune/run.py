"""Fine-tune rows of a study: one run of Ray Tune for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orthoray import storage
from orthoray.errors import OrthoRayError, RunError
from orthoray.evaluation.finetune.job import FineTuneJob, fit_row, seed_of
from orthoray.evaluation.finetune.resources import concurrent, set_threads, trial_resources
from orthoray.evaluation.finetune.search import Proposals, Pruning, Record, UnitSearch
from orthoray.evaluation.finetune.settings import SearchConfig
from orthoray.evaluation.finetune.units import Unit, read_records, settle, units_of, write_record
from orthoray.evaluation.finetune.workers import fit_with_workers
from orthoray.evaluation.rows import Row
from orthoray.evaluation.tuning import OnEnd, run_trials
from orthoray.progress import Progress, say


def run_finetune(rows: Sequence[Row], job: FineTuneJob, search: SearchConfig, on_end: OnEnd) -> dict[Row, str]:
    """Fine-tune ``rows`` and return when each has its part file, or a reason why not.

    Returns:
        The rows that failed, with reasons.

    Raises:
        RunError: trials vanished without any result.
    """
    budgets = [search.trials] * len(rows)
    if search.trials > 1:
        say(f"  search: {search.trials} fits for every model, task, fraction, seed and fold, the same for all models")
        budgets = [search.trials if len(job.parts(row).validate) else 1 for row in rows]
        if 1 in budgets:
            say(f"  {budgets.count(1)} rows have too few patients to choose by: one fit, as configured")
    units = units_of(rows, budgets)
    driver = _Driver(units, job, search, on_end)
    with Progress(sum(unit.budget * len(unit.rows) for unit in units), "fine-tuning", "fits") as bar:
        driver.run(bar)
    return driver.failed


class _Driver:
    def __init__(self, units: list[Unit], job: FineTuneJob, search: SearchConfig, on_end: OnEnd) -> None:
        self.units, self.job, self.search, self.on_end = units, job, search, on_end
        self.failed: dict[Row, str] = {}
        self.states = [UnitSearch(job.config, search, unit.budget, seed_of(unit.rows[0])) for unit in units]

    def run(self, bar: Progress) -> None:
        from ray import tune

        bar.start_at(self._replayed())
        seen: dict[str, tuple[int, int]] = {}
        left = sum(unit.budget - len(state.records) for unit, state in zip(self.units, self.states, strict=True))
        if not left:
            return
        scratch = storage.join(self.job.out, ".tune")
        trial = tune.with_parameters(_trial, units=self.units, job=self.job, scratch=scratch)
        run_trials(
            tune.with_resources(trial, trial_resources(self.job.config)),
            scratch,
            _callback(self, bar),
            left,
            search_alg=Proposals(self.states, seen, self._ended),
            scheduler=Pruning(self.states, seen),
            num_samples=left,
            max_concurrent_trials=concurrent(self.job.config),
            reuse_actors=self.job.config.workers == 1,
        )
        for unit in self.units:
            for row in unit.rows:
                if not storage.exists(row.part(self.job.out)):
                    self.failed.setdefault(row, "the fit ended without a result")

    def _replayed(self) -> int:
        """Go through the fits that are on file; returns their number."""
        for unit, state in zip(self.units, self.states, strict=True):
            if unit.budget > 1:
                for fit, record in enumerate(read_records(self.job.out, unit)):
                    if not state.replay(record, f"before-{fit}"):
                        break
                self._settled(unit, state)
        return sum(len(state.records) for state in self.states)

    def _ended(self, at: int, fit: int, record: Record) -> None:
        unit, state = self.units[at], self.states[at]
        if unit.budget > 1:
            write_record(self.job.out, unit, fit, record)
            self._settled(unit, state)

    def _settled(self, unit: Unit, state: UnitSearch) -> None:
        if len(state.records) == unit.budget and not state.busy:
            try:
                settle(self.job.out, unit, state.records, state.winner(), self.search.objectives[0])
            except RunError as error:
                self.failed[unit.rows[0]] = str(error)
            else:
                self.on_end(unit.rows)

    def lost(self, at: int, reason: str) -> None:
        """Note the rows of a unit whose trial ended with an error, beyond all retries."""
        for row in self.units[at].rows:
            if self.units[at].budget == 1 and not storage.exists(row.part(self.job.out)):
                self.failed.setdefault(row, reason)


def _trial(config: dict[str, Any], units: list[Unit], job: FineTuneJob, scratch: str) -> None:
    """Function trainable: the fits of one unit; a row that fails does not take the others with it."""
    from ray import tune

    unit, failed = units[config["unit"]], {}
    set_threads(job.config)
    for done, row in enumerate(unit.rows, start=1):
        target = unit.target(job.out, row, config["fit"])
        if not storage.exists(target):

            def on_epoch(epoch: int, values: dict[str, float]) -> None:
                tune.report({"epoch": epoch, **values})

            try:
                if job.config.workers > 1:
                    fit_with_workers(job, row, config["options"], target, scratch)
                else:
                    fit_row(job, row, config["options"], target, on_epoch if unit.budget > 1 else _silent)
            except OrthoRayError as error:
                failed[done - 1] = str(error)
        broken = failed.get(0, "") if unit.budget > 1 else ""
        tune.report({"rows": done, "failed": failed, "broken": broken})


def _silent(epoch: int, values: dict[str, float]) -> None:
    """Nobody needs the epochs of a fit that is not compared with others."""


def _callback(driver: _Driver, bar: Progress) -> Any:
    from ray import tune

    class Show(tune.Callback):
        """Move the bar, and take note of what failed."""

        def __init__(self) -> None:
            self.seen: dict[str, int] = {}

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            unit = driver.units[trial.config["unit"]]
            for at, reason in (result.get("failed") or {}).items():
                driver.failed[unit.rows[int(at)]] = reason
            if unit.budget == 1:
                done = int(result.get("rows") or 0)
                driver.on_end([row for row in unit.rows[:done] if row not in driver.failed])
                self._to(trial.trial_id, done)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            if driver.units[trial.config["unit"]].budget > 1:
                self._to(trial.trial_id, 1)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            reason = (str(trial.get_error() or "").strip().splitlines() or ["the trial was lost"])[-1]
            driver.lost(trial.config["unit"], reason)

        def _to(self, name: str, count: int) -> None:
            bar.advance(max(0, count - self.seen.get(name, 0)))
            self.seen[name] = max(count, self.seen.get(name, 0))

    return Show()
