"""What an ingest, or its dry run, tells on the terminal."""

from __future__ import annotations

from typing import Any

from orthoray.data.card_tables import FactColumn, LabelTable
from orthoray.data.cards import DatasetCard
from orthoray.progress import say

NO_SUCH_IMAGE = "no such image in the source"


def tell_account(account: dict[str, Any], card: DatasetCard) -> None:
    """Tell what was read, excluded and found in the tables; ``account`` as in the manifest or of a dry run."""
    for step in account["funnel"]:
        say(f"  {step['count']:>9,}  {step['stage']}")
    for row in account["excluded"]:
        say(f"  {row['count']:>9,}  excluded: {row['stage']} / {row['reason']}")
    for row in account["counts"]:
        say(f"  {row['modality']}: {row['patients']:,} patients, {row['studies']:,} studies, {row['images']:,} images")
    for table, facts in zip(account["facts_audit"], card.facts, strict=True):
        say(
            f"  {table['table']}: {table['images']:,} images found in it, {table['images_not_in_table']:,} not; "
            f"{table['rows_without_image']:,} of its rows say something about no image here"
        )
        if not table["images"]:
            _tell_key(facts.key)
    for reason, count in account.get("review", {}).items():
        say(f"  {count:>9,}  to look at: {reason}")
    for label in card.labels:
        _tell_labels(label, account["label_audit"][label.task])


def _tell_labels(label: LabelTable, account: dict[str, Any]) -> None:
    why = ", ".join(f"{count:,} {reason}" for reason, count in account["reasons"].items() if count)
    say(
        f"  labels {label.task}: {account['samples']:,} samples from {account['matched']:,} of {account['rows']:,} rows"
        + (f"; rows not used: {why}" if why else "")
    )
    if not account["matched"] and account["reasons"][NO_SUCH_IMAGE]:
        _tell_key(label.key)
    if not account["task_card"]:
        say(
            f"    no task card: `orthoray study` needs datasets/tasks/{label.task}.yaml (docs/data.md tells how); "
            "write it, and give this command again"
        )


def _tell_key(key: dict[Any, FactColumn]) -> None:
    """What to compare where the key of an entry finds nothing."""
    means = {"file": "the path below --source, films/a.png", "laterality": "L, R, B or U"}
    names = "; ".join(
        f"'{', '.join(column.columns)}' must hold {means.get(fact, f'the {fact} as the files write it')}"
        for fact, column in key.items()
    )
    say(f"    no row of it was found by its key: {names}")
