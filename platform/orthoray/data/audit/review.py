"""A sheet of the images that ingest listed for review, and what people said of them.

They are no random sample: what is found among them says how good the rules are, and nothing of the other images.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from orthoray.data.audit.decisions import Answers
from orthoray.data.audit.sample import Parameters, Plan, dataset_name, draw
from orthoray.data.audit.summary import share
from orthoray.data.audit.tables import review_table
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError


def plan_review(dataset: Dataset, parameters: Parameters) -> Plan:
    """Take all images of ``review.parquet``, or ``n`` of them if that was asked for, with one of each reason at least.

    Raises:
        InputError: the manifest has no dataset_id, or no image is listed.
    """
    reasons = _reasons(dataset)
    if reasons.empty:
        raise InputError(f"{dataset.uri}: ingest has listed no image for review, so there is nothing to look at.")
    wanted = parameters.n if "n" in parameters.model_fields_set else len(reasons)
    parameters = Parameters(**(parameters.model_dump() | {"n": wanted, "rejected": 0}))
    strata, tiles = draw("accepted", reasons, wanted, parameters)
    return Plan(dataset_name(dataset), parameters, strata, tiles)


def describe_review(plan: Plan) -> list[str]:
    """The lines that tell what a sheet of images in review holds."""
    sampled, listed = plan.size("accepted")
    width = max(len(stratum.name) for stratum in plan.strata)
    lines = [f"  in review: {sampled:,} of {listed:,} images"]
    lines += [f"    {s.name:<{width}}  {s.sampled:>6,} of {s.population:,}" for s in plan.strata]
    lines.append(f"  second reading: {sum(tile.second for tile in plan.tiles):,} of {len(plan.tiles):,}")
    return [*lines, "  no random sample: it says how good the rules are, and nothing of the other images"]


def summarise_review(dataset: Dataset, answers: Answers) -> dict[str, Any]:
    """How many images that are in review now were read, and were defects, by reason and in total.

    Args:
        dataset: its ``review.parquet`` says what is in review; answers on other images are not counted.
        answers: decisions from sheets of images in review.
    """
    reasons = _reasons(dataset)
    read = {image: list(readers.values()) for image, readers in answers.items() if image in reasons.index}
    strata = [
        {"stratum": str(name)} | share([read[image] for image in images if image in read], "reject", len(images))
        for name, images in reasons.groupby(reasons).groups.items()
    ]
    return {"total": share(list(read.values()), "reject", len(reasons)), "strata": strata}


def _reasons(dataset: Dataset) -> pd.Series:
    """Reason by image_id; the first, where an image is listed more than once."""
    table = review_table(dataset).drop_duplicates("image_id")
    return pd.Series(table["reason"].astype(str).to_numpy(), table["image_id"].to_numpy(), dtype=object)
