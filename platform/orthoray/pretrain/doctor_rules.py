"""The doctor's rules: signs in a row of the history, and for each what to tell about cause and remedy.

Figures behind the limits: toy runs and runs on knee films, sound and with injected faults (``tests/pretrain``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from orthoray.pretrain.doctor_facts import Reading

Cause = Literal[
    "diverged",
    "dead_head",
    "teacher_temperature_high",
    "lr_too_high",
    "no_centring",
    "one_prototype",
    "uniform",
    "features_collapsed",
    "dimensional_collapse",
    "no_difference",
    "teacher_temperature_low",
    "position_blind",
    "teacher_fixed",
]
"""What the doctor can find."""

Span = Literal["once", "short", "long"]
"""How long a sign must last: one row; three rows and a few steps; ``patience`` steps after the warm-up."""

MANY = 256
"""Prototypes from which two in use are as bad as one."""

UNIFORM = 0.99
"""Share of ln K from which the teacher counts as uniform. Sound runs on knee films lie between 0.65 and 0.92."""

NEARLY_UNIFORM = 0.95
"""The same where the teacher's temperature explains it."""

STUCK = 0.95
"""Cross-entropy as a share of ln K from which little has been learnt; counts only together with a far too high rate."""

ALIKE = 0.02
"""Feature spread below which all images look the same to the teacher; sound runs have 0.07 and more."""

DEAD = 1e-6
"""Spread of scores of a head that gives every image the same; sound heads have 0.03 and more."""

BLIND = 1e-4
"""Position sensitivity, as a share of the feature spread, of a backbone that does not know where a patch lies. Sound
ones have 1e-2 and more, before and after training; blind ones the rounding of float32, 2e-6 and less."""

ONE_DIMENSION = 1.2
"""Effective rank of the centred features that stands for a single direction."""

AGREE = 1e-4
"""Share of ln K below which teacher and student agree on everything."""

SHARP = 0.05
"""Share of ln K below which the teacher's targets count as one-hot."""

LOWEST_TEMPERATURE = 0.015
"""Teacher temperatures below it make targets one-hot before anything has been learnt; DINO uses 0.04 to 0.07."""


@dataclass(frozen=True)
class Rule:
    """A cause, its sign in a row, the words for it, how long it must last, and whether the run is lost then.

    ``collapse``: of such rules only the first that holds is told.
    """

    cause: Cause
    sign: Callable[[Reading], bool]
    words: Callable[[Reading], str]
    span: Span = "long"
    stops: bool = True
    collapse: bool = True


def _one_prototype(row: Reading) -> bool:
    few = 1.5 if row.facts.prototypes < MANY else 2.5
    return row.in_use < few and row.uniformity < 0.9


def _uniform(row: Reading) -> bool:
    return row.uniformity >= UNIFORM


def _alike(row: Reading) -> bool:
    return row["feature_std"] < ALIKE


def _stuck(row: Reading) -> bool:
    return row.uniformity + row.disagreement >= STUCK


def _hot(row: Reading) -> bool:
    return row["teacher_temp"] >= row.facts.student_temperature


def _cold(row: Reading) -> bool:
    return row["teacher_temp"] < LOWEST_TEMPERATURE and row.uniformity < SHARP


def _uncentred(row: Reading) -> bool:
    return row.facts.centring == "centre" and row.facts.centre_momentum >= 0.9999


def _dead(row: Reading) -> bool:
    return row["feature_std"] > ALIKE and (row["score_spread"] < DEAD or row.head_gradient() == 0.0)


def _fixed(row: Reading) -> bool:
    return row["teacher_momentum"] >= 1.0 - 1e-7 and row.step < 0.9 * row.facts.steps


def _symptom(row: Reading) -> str:
    """What is seen, without why."""
    if _one_prototype(row):
        return f"All images fall onto {row.in_use:.0f} of {row.facts.prototypes:,} prototypes"
    if _uniform(row) or row.uniformity >= NEARLY_UNIFORM:
        entropy, most = row["teacher_entropy"], math.log(row.facts.prototypes)
        return f"The teacher is as good as uniform (entropy {entropy:.2f} of ln K = {most:.2f})"
    if not _alike(row):
        loss, most = row["teacher_entropy"] + row["student_teacher_kl"], math.log(row.facts.prototypes)
        return f"The loss is stuck at ln K ({loss:.2f} of {most:.2f})"
    return f"The teacher sees all images alike (feature spread {row['feature_std']:.3f})"


def _heads_destroy(row: Reading) -> str:
    """A remedy for runs that continue from weights."""
    if row.facts.continues and not row.facts.held:
        return " New heads may be destroying the weights: hold the backbone at first (model.freeze_backbone_steps)."
    return ""


def _diverged(row: Reading) -> str:
    facts = row.facts
    why = "Most often the learning rate is too high"
    if facts.lr_is_far_too_high:
        why = f"The peak learning rate {facts.lr:.1e} is {facts.lr / facts.usual_lr:.0f} times the usual one"
    return (
        f"The loss is not finite: the run has diverged. {why}: lower optimiser.lr or optimiser.clip, or raise "
        "optimiser.warmup; if it comes again at the very same step, look at the images of that batch."
    )


def _dead_words(row: Reading) -> str:
    return (
        f"The head is dead: it scores every image alike (spread {row['score_spread']:.1e}) while the backbone tells "
        f"them apart ({row['feature_std']:.2f}), and gets no gradient that could mend it. Start again with another "
        "seed, head.batch_norm=true or a lower optimiser.lr, and check what was loaded into the head."
    )


def _lr_words(row: Reading) -> str:
    facts = row.facts
    return (
        f"{_symptom(row)}. The peak learning rate {facts.lr:.1e} is {facts.lr / facts.usual_lr:.0f} times the usual "
        f"one for a batch of {facts.batch:,} ({facts.usual_lr:.1e}): lower optimiser.lr." + _heads_destroy(row)
    )


def _hot_words(row: Reading) -> str:
    return (
        f"{_symptom(row)}, since its temperature {row['teacher_temp']:g} is not below the student's "
        f"{row.facts.student_temperature:g}: there is nothing to learn from it. Set teacher.temperature to about "
        "[0.04, 0.07]."
    )


def _uncentred_words(row: Reading) -> str:
    return (
        f"{_symptom(row)}, and nothing centres the teacher's scores (teacher.centre_momentum="
        f"{row.facts.centre_momentum:g}). Set teacher.centre_momentum=0.9 or teacher.centring=sinkhorn_knopp."
    )


def _one_prototype_words(row: Reading) -> str:
    return (
        f"{_symptom(row)} (perplexity of the mean assignment {row['assignment_perplexity']:.1f}). Use teacher.centring="
        "sinkhorn_knopp or head.batch_norm=true, or lower optimiser.lr." + _heads_destroy(row)
    )


def _uniform_words(row: Reading) -> str:
    return (
        f"{_symptom(row)}, and the loss is stuck with it. Lower teacher.temperature, use head.batch_norm=true or "
        "fewer head.prototypes; a run that has just begun may need a longer doctor.patience." + _heads_destroy(row)
    )


def _alike_words(row: Reading) -> str:
    return (
        f"{_symptom(row)}: the backbone has collapsed. Lower optimiser.lr, or use losses.koleo=0.1, "
        "head.batch_norm=true or teacher.centring=sinkhorn_knopp." + _heads_destroy(row)
    )


def _dimension_words(row: Reading) -> str:
    return (
        f"The features have collapsed onto a single direction (effective rank {row['rankme_centred']:.1f} once their "
        "mean is taken off). Use losses.koleo=0.1 and lower optimiser.lr." + _heads_destroy(row)
    )


def _agree_words(row: Reading) -> str:
    return (
        f"Student and teacher agree on every view (KL {row['student_teacher_kl']:.1e}): there is nothing to learn. The "
        "views of an image may not differ (crops.global_scale, photometric), or nothing learns (optimiser.lr)."
    )


def _cold_words(row: Reading) -> str:
    return (
        f"The teacher's temperature {row['teacher_temp']:g} is so low that its targets are one-hot whatever the image "
        f"(entropy {row['teacher_entropy']:.3f}): it teaches its own noise. Set teacher.temperature to about "
        "[0.04, 0.07]."
    )


def _blind_words(row: Reading) -> str:
    return (
        "The backbone does not know where a patch lies: with all patches in other places the class token changes by "
        f"{row['position_sensitivity']:.0e} of its length. Check that the position embedding was loaded and is not "
        "zero (from scratch: model.start=sincos), and that a DINOv3 backbone applies its RoPE."
    )


def _fixed_words(row: Reading) -> str:
    return (
        "The teacher does not follow the student: its momentum is 1 from the start, so the student learns to imitate "
        "an untrained network. Set teacher.momentum to [0.996, 1.0], lower for a short run."
    )


RULES = (
    Rule("diverged", lambda row: not row.finite, _diverged, "once"),
    Rule("dead_head", _dead, _dead_words, "short"),
    Rule("teacher_temperature_high", lambda row: row.uniformity >= NEARLY_UNIFORM and _hot(row), _hot_words),
    Rule(
        "lr_too_high",
        lambda row: (
            row.facts.lr_is_far_too_high and (_uniform(row) or _alike(row) or _one_prototype(row) or _stuck(row))
        ),
        _lr_words,
    ),
    Rule("no_centring", lambda row: _one_prototype(row) and _uncentred(row) and not _cold(row), _uncentred_words),
    Rule("one_prototype", lambda row: _one_prototype(row) and not _cold(row), _one_prototype_words),
    Rule("uniform", _uniform, _uniform_words),
    Rule("features_collapsed", _alike, _alike_words),
    Rule("dimensional_collapse", lambda row: row["rankme_centred"] < ONE_DIMENSION, _dimension_words),
    Rule("no_difference", lambda row: row.disagreement < AGREE, _agree_words, stops=False),
    Rule("teacher_temperature_low", _cold, _cold_words, "short", stops=False, collapse=False),
    Rule(
        "position_blind",
        lambda row: row["position_sensitivity"] < BLIND * row["feature_std"] and not _alike(row),
        _blind_words,
        "once",
        collapse=False,
    ),
    Rule("teacher_fixed", _fixed, _fixed_words, "short", collapse=False),
)
"""In the order in which causes are considered."""
