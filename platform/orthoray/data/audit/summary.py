"""What an audit found: shares of defects, agreement of readers, conflicts and advice, as JSON and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from orthoray.data.audit.decisions import Answers, Decision
from orthoray.data.audit.sample import Arm, Plan
from orthoray.data.audit.statistics import advise, exact_upper, kappa, percent, rule_of_three, wilson

LISTED = 20
"""Conflicts on standard output; the file has them all."""


def summarise(plans: Sequence[Plan], answers: Answers, tolerance: float) -> dict[str, Any]:
    """The findings of all readers over all sheets of one dataset.

    An accepted image is a defect, and a rejected one wrongly rejected, as soon as one reader says so: where readers
    differ the finding counts until they agree.

    Args:
        plans: the sheets that were read, all of the same dataset.
        answers: decisions by image_id and reviewer.
        tolerance: largest share of defects among accepted images that is good enough.
    """
    home = {tile.image_id: (tile.arm, tile.stratum) for plan in plans for tile in plan.tiles}
    tiles = {arm: {image for image, (a, _) in home.items() if a == arm} for arm in ("accepted", "rejected")}
    findings: dict[str, Any] = {
        "accepted": _arm("accepted", "reject", plans, home, answers),
        "rejected": _arm("rejected", "accept", plans, home, answers),
    }
    total = findings["accepted"]["total"]
    advice = advise(total["found"], total["read"], len(tiles["accepted"]), plans[0].size("accepted")[1], tolerance)
    return findings | {
        "double_read": _double_read(plans, answers),
        "agreement": [_agreement(pair, answers) for pair in combinations(_readers(answers), 2)],
        "conflicts": _conflicts(home, answers),
        "advice": asdict(advice),
    }


def describe(audit: Mapping[str, Any]) -> list[str]:
    """The lines of the summary on standard output."""
    lines = []
    for arm, what in (("accepted", "with a defect"), ("rejected", "wrongly rejected")):
        lines += _table(audit[arm], f"{arm}, {what}")
    if audit["review"]["total"]["read"]:
        lines += _table(audit["review"], "in review, with a defect")
    double = audit["double_read"]
    lines.append(f"  read by two: {double['read']} of the {double['planned']} planned for it")
    for pair in audit["agreement"]:
        if not pair["images"]:
            continue
        words = [
            f"{name} {pair[key]:.2f}" if pair[key] is not None else f"{name} undefined (one answer throughout)"
            for name, key in (("kappa of accept/reject", "kappa"), ("of reasons", "kappa_reasons"))
        ]
        readers = " and ".join(pair["readers"])
        lines.append(f"  {readers}: {pair['images']} images, {pair['agree']} alike, {', '.join(words)}")
    lines.append(f"  conflicts: {len(audit['conflicts'])}")
    for conflict in audit["conflicts"][:LISTED]:
        said = ", ".join(f"{reader} {answer}" for reader, answer in conflict["answers"].items())
        lines.append(f"    {conflict['image_id']} ({conflict['arm']}, {conflict['stratum']}): {said}")
    if len(audit["conflicts"]) > LISTED:
        lines.append(f"    and {len(audit['conflicts']) - LISTED} more, in the file")
    return [*lines, f"  advice: {audit['advice']['action']}: {audit['advice']['why']}"]


def describe_plan(plan: Plan) -> list[str]:
    """The lines that tell what a sheet samples, and what it would prove if no defect turned up."""
    lines = []
    for arm in ("accepted", "rejected"):
        sampled, population = plan.size(arm)
        strata = plan.of(arm)
        if not population:
            lines.append(f"  {arm}: none can be shown, so only accepted images are audited")
            continue
        groups = f"{len(strata)} strata" if len(strata) != 1 else "1 stratum"
        lines.append(f"  {arm}: {sampled:,} of {population:,} images, {groups}{_asked(plan, arm)}")
        width = max((len(stratum.name) for stratum in strata), default=0)
        lines += [f"    {s.name:<{width}}  {s.sampled:>6,} of {s.population:,}" for s in strata]
    if plan.hidden:
        lines.append(f"  excluded, not to be judged by looking (no thumbnail, or a duplicate): {plan.hidden:,}")
    lines.append(f"  second reading: {sum(tile.second for tile in plan.tiles):,} of {len(plan.tiles):,}")
    n, population = plan.size("accepted")
    if n < population:
        bound = f"3/n = {percent(rule_of_three(n))}, exact {percent(exact_upper(0, n))}"
        lines.append(f"  no defect in {n:,} would mean: at most {bound} have one (95 %)")
    else:
        lines.append(f"  no defect in {n:,} would mean: none has one, for these are all images")
    return lines


def _asked(plan: Plan, arm: Arm) -> str:
    sampled, population = plan.size(arm)
    asked = plan.parameters.n if arm == "accepted" else plan.parameters.rejected
    if asked > population:
        return f" (all; {asked:,} were asked for)"
    return f" (one of each; {asked:,} were asked for)" if 0 < asked < sampled else ""


def _arm(
    arm: Arm, finding: str, plans: Sequence[Plan], home: Mapping[str, tuple[Arm, str]], answers: Answers
) -> dict[str, Any]:
    populations = {stratum.name: stratum.population for stratum in plans[0].of(arm)}
    read: dict[str, list[list[Decision]]] = {name: [] for name in populations}
    for image, (where, stratum) in home.items():
        if where == arm and image in answers:
            read[stratum].append(list(answers[image].values()))
    strata = [{"stratum": name} | share(read[name], finding, size) for name, size in populations.items()]
    total = share([item for items in read.values() for item in items], finding, sum(populations.values()))
    return {"total": total | {"weighted": _weighted(strata)}, "strata": strata}


def share(read: Sequence[Sequence[Decision]], finding: str, population: int) -> dict[str, Any]:
    """Counts and bounds of one stratum; the bounds are None where nothing was read."""
    found = [decisions for decisions in read if any(decision.verdict == finding for decision in decisions)]
    n, count = len(read), len(found)
    low, high = wilson(count, n) if n else (None, None)
    answers = Counter(decision.answer for decisions in found for decision in _first(decisions, finding))
    return {
        "population": population,
        "read": n,
        "found": count,
        "rate": count / n if n else None,
        "wilson_low": low,
        "wilson_high": high,
        "exact_upper": exact_upper(count, n) if n else None,
        "rule_of_three": rule_of_three(n) if n and not count else None,
        "answers": dict(sorted(answers.items())),
    }


def _first(decisions: Iterable[Decision], finding: str) -> list[Decision]:
    return [decision for decision in decisions if decision.verdict == finding][:1]


def _weighted(strata: Sequence[Mapping[str, Any]]) -> float | None:
    """Share over the dataset, each stratum counting by its size; None until every stratum is read."""
    population = sum(item["population"] for item in strata)
    if not population or any(item["rate"] is None for item in strata):
        return None
    return float(sum(item["population"] * item["rate"] for item in strata) / population)


def _double_read(plans: Sequence[Plan], answers: Answers) -> dict[str, int]:
    planned = {tile.image_id for plan in plans for tile in plan.tiles if tile.second}
    return {"planned": len(planned), "read": sum(len(answers.get(image, {})) > 1 for image in planned)}


def _readers(answers: Answers) -> list[str]:
    return sorted({reader for readers in answers.values() for reader in readers})


def _agreement(pair: tuple[str, str], answers: Answers) -> dict[str, Any]:
    both = [(readers[pair[0]], readers[pair[1]]) for readers in answers.values() if set(pair) <= readers.keys()]
    verdicts = [(first.verdict, second.verdict) for first, second in both]
    reasons = [(first.answer, second.answer) for first, second in both]
    return {
        "readers": list(pair),
        "images": len(both),
        "agree": sum(first == second for first, second in verdicts),
        "kappa": kappa([a for a, _ in verdicts], [b for _, b in verdicts]),
        "kappa_reasons": kappa([a for a, _ in reasons], [b for _, b in reasons]),
    }


def _conflicts(home: Mapping[str, tuple[Arm, str]], answers: Answers) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "arm": home[image][0],
            "stratum": home[image][1],
            "answers": {reader: decision.answer for reader, decision in readers.items()},
        }
        for image, readers in answers.items()
        if len({decision.verdict for decision in readers.values()}) > 1
    ]


def _table(arm: Mapping[str, Any], title: str) -> list[str]:
    rows = [("all", arm["total"]), *((item["stratum"], item) for item in arm["strata"])]
    width = max(len(title), *(len(name) + 2 for name, _ in rows))
    lines = [f"  {title:<{width}}  {'found/read':>12}  {'rate':>8}  {'95 % (Wilson)':>17}  {'exact upper':>11}"]
    for name, item in rows:
        counts = f"{item['found']}/{item['read']}"
        if item["read"]:
            interval = f"{percent(item['wilson_low'])} … {percent(item['wilson_high'])}"
            numbers = f"{percent(item['rate']):>8}  {interval:>17}  {percent(item['exact_upper']):>11}"
        else:
            numbers = f"{'–':>8}"
        lines.append(f"  {'  ' + name if name != 'all' else name:<{width}}  {counts:>12}  {numbers}".rstrip())
    return lines
