"""The search without Ray's processes: proposals are each unit's own, replays repeat them, ASHA ends what is behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.finetune.conftest import settings

from orthoray.config import parse_config
from orthoray.errors import InputError
from orthoray.evaluation.finetune.search import Proposals, Pruning, Record, UnitSearch
from orthoray.evaluation.finetune.settings import SEARCHED, FineTuneConfig, SearchConfig
from orthoray.evaluation.finetune.units import Unit, read_records, settle, units_of, write_record
from orthoray.evaluation.rows import Row

CONFIG = settings(epochs=9, base_lr=5e-3, layer_decay=0.65)


def search(**values):
    return parse_config(SearchConfig, {"trials": 4, **values}, "search")


def quality(options, epoch):
    """Better with more epochs, best at a learning rate of 2e-3."""
    return -abs(options["base_lr"] - 2e-3) * 100 - 1 / epoch


def drive(unit, fits, epochs=9):
    """Fit ``fits`` times; returns the settings that were tried."""
    for _ in range(fits):
        name = f"fit-{len(unit.records)}"
        options = unit.propose(name)
        for epoch in range(1, epochs + 1):
            value = quality(options, epoch)
            if unit.reported(name, {"epoch": epoch, "log_loss": value, "headline": value, "loss": 1.0}):
                unit.records[-1].state = "pruned"
                break
        unit.ended(name, "pruned" if unit.records[-1].state == "pruned" else "completed")
    return [record.options for record in unit.records]


def test_the_first_fit_is_as_configured_and_a_seed_repeats_all():
    tried = drive(UnitSearch(CONFIG, search(), 4, 7), 4)
    assert tried[0] == {"base_lr": 5e-3, "layer_decay": 0.65, "drop_path": 0.0}
    assert len({options["base_lr"] for options in tried}) == 4
    assert tried == drive(UnitSearch(CONFIG, search(), 4, 7), 4)
    assert tried != drive(UnitSearch(CONFIG, search(), 4, 8), 4)


def test_a_unit_does_not_see_another():
    alone = drive(UnitSearch(CONFIG, search(), 3, 1), 3)
    first, second = UnitSearch(CONFIG, search(), 3, 1), UnitSearch(CONFIG, search(), 3, 2)
    for _ in range(3):
        drive(second, 1)
        drive(first, 1)
    assert [record.options for record in first.records] == alone


@given(st.integers(0, 6))
def test_after_an_interruption_the_search_goes_on_as_if_there_had_been_none(done):
    whole = UnitSearch(CONFIG, search(trials=6), 6, 3)
    drive(whole, 6)
    resumed = UnitSearch(CONFIG, search(trials=6), 6, 3)
    assert all(resumed.replay(record, f"before-{at}") for at, record in enumerate(whole.records[:done]))
    drive(resumed, 6 - done)
    assert resumed.records == whole.records
    assert resumed.winner() == whole.winner()


def test_a_record_of_other_settings_is_not_taken():
    unit = UnitSearch(CONFIG, search(), 4, 3)
    assert not unit.replay(Record({"base_lr": 1.0}, [], "completed"), "before-0")
    assert unit.records == []
    assert unit.ready()


def test_asha_ends_what_is_behind_but_never_the_first():
    unit = UnitSearch(CONFIG, search(trials=12, grace=1), 12, 0)
    drive(unit, 12)
    states = [record.state for record in unit.records]
    assert states[0] == "completed"
    assert "pruned" in states
    assert all(len(record.history) in (1, 3) for record in unit.records if record.state == "pruned")
    best = max(range(12), key=lambda at: unit.records[at].best("log_loss"))
    assert unit.winner() == best


def test_a_fit_that_begins_again_is_counted_once():
    unit = UnitSearch(CONFIG, search(asha=False), 4, 0)
    unit.propose("a")
    for epoch in (1, 2, 3, 1, 2):
        unit.reported("a", {"epoch": epoch, "log_loss": -1.0, "headline": 0.5, "loss": 1.0})
    assert [values["epoch"] for values in unit.records[0].history] == [1, 2]


def test_two_objectives_are_searched_together():
    unit = UnitSearch(CONFIG, search(objectives=["headline", "log_loss"]), 4, 0)
    assert unit.asha is None
    assert len(drive(unit, 4)) == 4
    assert unit.winner() is not None


def test_failed_fits_do_not_win_and_end_the_unit():
    unit = UnitSearch(CONFIG, search(), 2, 0)
    for _ in range(2):
        unit.propose(f"fit-{len(unit.records)}")
        unit.ended(f"fit-{len(unit.records) - 1}", "failed")
    assert unit.winner() is None
    assert not unit.ready()


class Trial:
    def __init__(self, trial_id):
        self.trial_id = trial_id


def test_tune_is_given_one_fit_of_a_unit_at_a_time_and_told_of_every_end():
    units = [UnitSearch(CONFIG, search(), 2, 0), UnitSearch(CONFIG, search(trials=1), 1, 1)]
    seen, ends = {}, []
    proposals = Proposals(units, seen, lambda at, fit, record: ends.append((at, fit, record.state)))
    pruning = Pruning(units, seen)
    first, second = proposals.suggest("a"), proposals.suggest("b")
    assert (first["unit"], first["fit"], second["unit"], second["options"]) == (0, 0, 1, {})
    assert proposals.suggest("c") is None
    assert pruning.on_trial_result(None, Trial("a"), {"epoch": 1, "log_loss": -1.0, "headline": 0.4}) == "CONTINUE"
    proposals.on_trial_complete("a", {"broken": ""})
    proposals.on_trial_complete("b", {"broken": ""})
    assert proposals.suggest("c")["fit"] == 1
    proposals.on_trial_complete("c", None, error=True)
    assert ends == [(0, 0, "completed"), (1, 0, "completed"), (0, 1, "failed")]
    assert proposals.suggest("d") == "FINISHED"


def row(fold, task="t", model="m"):
    return Row(task, model, "ft", 1.0, 0, fold, f"{fold:012d}")


def test_rows_with_a_search_are_units_of_their_own():
    rows = [row(0), row(1), row(0, model="n"), row(1, model="n")]
    assert [unit.rows for unit in units_of(rows, [1, 1, 1, 1])] == [rows[:2], rows[2:]]
    units = units_of(rows, [3, 1, 3, 3])
    assert [(unit.budget, len(unit.rows)) for unit in units] == [(3, 1), (1, 1), (3, 1), (3, 1)]


def test_records_are_read_up_to_the_first_gap(tmp_path):
    unit, out = Unit([row(0)], 4), str(tmp_path)
    for fit, state in ((0, "pruned"), (1, "completed"), (3, "pruned")):
        write_record(out, unit, fit, Record({"base_lr": 0.1 + fit}, [{"epoch": 1, "log_loss": -0.5}], state))
    found = read_records(out, unit)
    assert [record.options["base_lr"] for record in found] == [0.1]  # the second is complete without predictions


def test_a_search_in_which_all_failed_has_a_reason(tmp_path):
    from orthoray.errors import RunError

    with pytest.raises(RunError, match="all 2 fits of the search failed; the first: no luck"):
        settle(str(tmp_path), Unit([row(0)], 2), [Record({}, [], "failed", "no luck")] * 2, None, "log_loss")


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (SearchConfig, {"space": {"bas_lr": {"low": 0.1, "high": 1}}}, "base_lr"),
        (SearchConfig, {"space": {"base_lr": {"low": 1.0, "high": 0.1}}}, "must lie below"),
        (SearchConfig, {"space": {"base_lr": {"low": 0.0, "high": 0.1, "log": True}}}, "above 0"),
        (SearchConfig, {"space": {"base_lr": {"low": 0.1}}}, "either"),
        (SearchConfig, {"trials": 2, "space": {}}, "empty"),
        (FineTuneConfig, {"start": "probe", "head": "coral"}, "linear head"),
        (FineTuneConfig, {"mixup": 0.2, "head": "cox"}, "blend classes"),
        (FineTuneConfig, {"preset": "retfond"}, "retfound"),
        (FineTuneConfig, {"cpus": 1.5}, "whole"),
    ],
)
def test_impossible_settings_are_refused(model, values, message):
    with pytest.raises(InputError, match=message):
        parse_config(model, values, "study")


def test_presets_give_way_to_what_is_written():
    mae = parse_config(FineTuneConfig, {"preset": "mae", "mixup": 0.1}, "study")
    assert (mae.base_lr, mae.layer_decay, mae.mixup, mae.cutmix) == (1e-3, 0.75, 0.1, 1.0)
    lora = parse_config(FineTuneConfig, {"preset": "lora"}, "study")
    assert (lora.adapter.kind, lora.layer_decay) == ("lora", 1.0)
    default = FineTuneConfig()
    assert (default.base_lr, default.layer_decay, default.head_for("ordinal")) == (5e-3, 0.65, "coral")
    assert parse_config(FineTuneConfig, {"preset": "lp_ft"}, "study").head_for("ordinal") == "linear"
    assert default.head_for("binary") == "linear"
    assert set(SEARCHED) <= set(FineTuneConfig.model_fields)
