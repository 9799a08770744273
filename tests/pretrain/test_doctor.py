"""The doctor's rules on made-up histories: what is named, when, once, and what to do about it."""

import math

import pytest

from orthoray.pretrain.doctor import Doctor, explain_divergence
from orthoray.pretrain.doctor_facts import Facts
from orthoray.pretrain.settings.doctor import DoctorConfig

LN_K = math.log(1024)
FACTS = Facts(1024, 0.1, "centre", 0.9, lr=7e-4, batch=32, steps=2000, settled=200)

SOUND = {
    "loss": 0.82 * LN_K,
    "teacher_entropy": 0.7 * LN_K,
    "student_teacher_kl": 0.12 * LN_K,
    "feature_std": 0.09,
    "score_spread": 0.85,
    "prototypes_used": 0.14,
    "assignment_perplexity": 525.0,
    "rankme": 3.7,
    "rankme_centred": 28.0,
    "centre_norm": 1.3,
    "teacher_temp": 0.04,
    "teacher_momentum": 0.997,
    "position_sensitivity": 0.04,
    "grad_norm_backbone": 0.5,
    "grad_norm_head": 0.34,
}
"""As a run on knee films reports."""

UNIFORM = {"teacher_entropy": 0.998 * LN_K, "student_teacher_kl": 0.003 * LN_K, "feature_std": 0.03}


def history(end, sick=None, since=0, every=20, base=SOUND):
    """Rows up to step ``end``, those after ``since`` with the values of ``sick``."""
    rows = []
    for step in range(every, end + 1, every):
        changed = sick if sick and step > since else {}
        rows.append({**base, "step": step, **changed})
    return rows


def findings(rows, facts=FACTS, **config):
    doctor = Doctor(facts, DoctorConfig(**config))
    found = [new for end in range(1, len(rows) + 1) for new in doctor.examine(rows[:end])]
    assert found == doctor.findings
    return found


def causes(rows, facts=FACTS, **config):
    return [finding.cause for finding in findings(rows, facts, **config)]


def changed(**values):
    return Facts(**{**FACTS.__dict__, **values})


def test_a_sound_history_and_an_empty_one_give_nothing():
    assert findings(history(2000)) == []
    assert Doctor(FACTS, DoctorConfig()).examine([]) == []


def test_rows_of_an_older_version_with_four_measures_give_nothing_and_no_error():
    names = ("loss", "teacher_entropy", "student_teacher_kl", "feature_std")
    base = {name: SOUND[name] for name in names}
    assert findings(history(2000, base=base)) == []
    assert causes(history(2000, UNIFORM, base=base)) == ["uniform"]


def test_a_sign_must_last_for_the_patience_after_the_warm_up():
    (found,) = findings(history(2000, UNIFORM))
    assert (found.cause, found.step) == ("uniform", 200 + 300)
    (later,) = findings(history(2000, UNIFORM, since=1000))
    assert later.step == 1000 + 300
    (patient,) = findings(history(2000, UNIFORM), patience=1000)
    assert patient.step == 1200
    assert findings(history(480, UNIFORM)) == []


def test_one_good_row_starts_the_count_again():
    rows = history(900, UNIFORM, since=200)
    rows[20] |= {"teacher_entropy": 0.9 * LN_K}  # step 420
    assert [found.step for found in findings(rows)] == [420 + 300]


def test_rows_that_are_far_apart_must_be_three():
    assert [found.step for found in findings(history(2000, UNIFORM, every=400))] == [1200]


def test_a_cause_is_told_once_and_a_collapse_has_one_cause():
    sick = {**UNIFORM, "feature_std": 0.001, "rankme_centred": 1.0, "student_teacher_kl": 0.0}
    assert causes(history(2000, sick)) == ["uniform"]


@pytest.mark.parametrize(
    ("cause", "sick", "facts", "words"),
    [
        ("uniform", UNIFORM, {}, ["uniform", "6.92", "head.batch_norm"]),
        (
            "teacher_temperature_high",
            {"teacher_entropy": 0.96 * LN_K, "teacher_temp": 0.1},
            {},
            ["0.1", "[0.04, 0.07]"],
        ),
        ("lr_too_high", UNIFORM, {"lr": 0.07}, ["7.0e-02", "99 times", "optimiser.lr"]),
        ("lr_too_high", {"feature_std": 0.01}, {"lr": 0.07}, ["alike"]),
        ("lr_too_high", {"teacher_entropy": 0.9 * LN_K}, {"lr": 0.07}, ["stuck at ln K"]),
        (
            "no_centring",
            {"prototypes_used": 1 / 1024, "assignment_perplexity": 2.0, "teacher_entropy": 0.01},
            {"centre_momentum": 1.0},
            ["1 of 1,024", "centre_momentum=0.9"],
        ),
        (
            "one_prototype",
            {"prototypes_used": 2 / 1024, "assignment_perplexity": 2.0, "teacher_entropy": 0.01},
            {},
            ["2 of 1,024", "sinkhorn_knopp"],
        ),
        ("features_collapsed", {"feature_std": 0.004}, {}, ["0.004", "losses.koleo"]),
        ("dimensional_collapse", {"rankme_centred": 1.1}, {}, ["single direction"]),
        ("no_difference", {"student_teacher_kl": 1e-6}, {}, ["crops.global_scale"]),
    ],
)
def test_slow_signs_are_named_with_figures_and_remedies(cause, sick, facts, words):
    (found,) = findings(history(2000, sick), changed(**facts))
    assert (found.cause, found.step) == (cause, 500)
    assert [word for word in words if word not in found.text] == []
    assert found.stops == (cause != "no_difference")


@pytest.mark.parametrize(
    ("cause", "sick", "step", "words"),
    [
        ("dead_head", {"score_spread": 0.0}, 60, ["dead", "0.09"]),
        ("dead_head", {"grad_norm_head": 0.0}, 60, ["dead"]),
        ("teacher_temperature_low", {"teacher_temp": 0.001, "teacher_entropy": 0.01}, 60, ["one-hot"]),
        ("teacher_fixed", {"teacher_momentum": 1.0}, 60, ["0.996"]),
        ("position_blind", {"position_sensitivity": 3e-7}, 20, ["3e-07", "RoPE"]),
        ("diverged", {"loss": math.nan}, 20, ["not finite", "optimiser.lr"]),
        ("diverged", {"loss": math.inf}, 20, ["not finite"]),
    ],
)
def test_sure_signs_are_named_soon(cause, sick, step, words):
    (found,) = findings(history(400, sick))
    assert (found.cause, found.step) == (cause, step)
    assert [word for word in words if word not in found.text] == []


def test_a_momentum_that_ends_at_one_is_no_fixed_teacher():
    assert findings(history(2000, {"teacher_momentum": 1.0}, since=1850)) == []


def test_a_collapsed_backbone_is_not_called_blind_nor_its_head_dead():
    sick = {"feature_std": 0.001, "position_sensitivity": 1e-9, "score_spread": 0.0}
    assert causes(history(2000, sick)) == ["features_collapsed"]


def test_two_independent_faults_are_both_told():
    assert causes(history(600, {**UNIFORM, "position_sensitivity": 1e-7})) == ["position_blind", "uniform"]


def test_gradients_that_explode_are_named_before_the_loss_follows():
    rows = history(600, {"grad_norm_backbone": 80.0}, since=500)
    (found,) = findings(rows)
    assert (found.cause, found.step, found.stops) == ("lr_too_high", 560, False)
    assert "backbone" in found.text
    assert "8.0e+01" in found.text
    one = history(600)
    one[27]["grad_norm_backbone"] = 1e6  # a single row
    assert findings(one) == []
    small = history(600, {"grad_norm_backbone": 0.05}, base={**SOUND, "grad_norm_backbone": 1e-5}, since=500)
    assert findings(small) == []


def test_a_head_that_is_not_learnt_from_is_not_judged():
    sick = {**UNIFORM, "feature_std": 0.09, "prototypes_used": 1 / 1024, "score_spread": 0.0, "grad_norm_head": 0.0}
    assert findings(history(2000, sick), changed(scored=False)) == []


def test_runs_that_continue_from_weights_are_told_to_hold_the_backbone():
    (found,) = findings(history(600, UNIFORM), changed(continues=True))
    assert "model.freeze_backbone_steps" in found.text
    (found,) = findings(history(600, UNIFORM), changed(continues=True, held=50))
    assert "model.freeze_backbone_steps" not in found.text


def test_only_stop_stops_and_only_where_the_run_is_lost():
    for action, sick, stops in (("warn", UNIFORM, False), ("stop", UNIFORM, True)):
        doctor = Doctor(FACTS, DoctorConfig(action=action))
        doctor.examine(history(600, sick))
        assert (doctor.must_stop() is not None) == stops
    mild = Doctor(FACTS, DoctorConfig(action="stop"))
    mild.examine(history(600, {"student_teacher_kl": 1e-6}))
    assert [found.cause for found in mild.findings] == ["no_difference"]
    assert mild.must_stop() is None
    assert findings(history(2000, UNIFORM), action="off") == []


def test_the_facts_are_those_of_the_configuration(config_of):
    config = config_of(
        model__freeze_backbone_steps=30,
        model__ramp_backbone_steps=10,
        optimiser__warmup=0.1,
        teacher__student_temperature=0.2,
        teacher__centring="sinkhorn_knopp",
        losses__dino=0.0,
        losses__ibot={"weight": 1.0},
    )
    facts = Facts.of(config, 1e-3, 200)
    assert (facts.prototypes, facts.student_temperature, facts.centring) == (64, 0.2, "sinkhorn_knopp")
    assert (facts.lr, facts.batch, facts.steps, facts.settled, facts.held) == (1e-3, 8, 200, 40, 30)
    assert (facts.scored, facts.continues, facts.clip) == (False, False, 3.0)
    assert Facts.of(config_of(optimiser__warmup=0.5), 1e-3, 200).settled == 100


def test_the_usual_rate_follows_the_batch():
    assert changed(batch=1024).usual_lr == pytest.approx(4e-3)
    assert changed(batch=64).usual_lr == pytest.approx(1e-3)
    assert not changed(batch=1024, lr=0.039).lr_is_far_too_high
    assert changed(batch=1024, lr=0.041).lr_is_far_too_high


def test_a_loss_that_is_not_finite_is_explained_without_any_row():
    assert "Most often the learning rate" in explain_divergence(7, FACTS)
    assert "99 times the usual one" in explain_divergence(7, changed(lr=0.07))
