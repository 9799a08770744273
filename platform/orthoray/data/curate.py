"""What screening, polarity and repeated images mean for a dataset: who leaves, and whom people should look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.cards import DatasetCard
from orthoray.data.codec import decode
from orthoray.data.duplicates import find_duplicates
from orthoray.data.schema import REVIEW
from orthoray.data.screening import screen
from orthoray.data.shards import image_uri
from orthoray.imaging.polarity import CERTAIN


def judge(report: dict[int, pa.Table], out: str, card: DatasetCard) -> tuple[pd.DataFrame, pa.Table, dict[str, Any]]:
    """Judge all images that were made.

    Args:
        report: the reports of all shards.
        out: folder of the dataset; only candidates for duplicates are looked at.
        card: its rules, and whether they exclude images or only name them.

    Returns:
        Exclusions (``image_id, stage, reason, detail, value``), the rows of `REVIEW`, and an account.
    """
    made = pa.concat_tables([table.replace_schema_metadata(None) for _, table in sorted(report.items())])
    made = made.filter(pa.compute.is_null(made["stage"]))
    index = made.flatten().to_pandas().rename(columns={"acquisition.deviation_index": "deviation_index"})
    screening = screen(index, card.screening)
    owner = {image: number for number, table in report.items() for image in table["image_id"].to_pylist()}
    leaving = screening.exclusions["severity"].eq("exclude") & (card.screened == "exclude")
    stays = ~index["image_id"].isin(set(screening.exclusions.loc[leaving, "image_id"]))
    repeated = find_duplicates(index[stays], _Pixels(out, owner), card.screening)
    found = pd.concat([screening.exclusions, repeated.exclusions], ignore_index=True)
    found = found.sort_values("severity", kind="stable").drop_duplicates("image_id")  # "exclude" before "review"
    leaves = (found["severity"] == "exclude") & (card.screened == "exclude")
    look = pd.concat([found[~leaves], repeated.alarms, _inverted(index)], ignore_index=True)
    look = look[~look["image_id"].isin(set(found.loc[leaves, "image_id"]))]
    look["other_id"] = look["other_id"].fillna("") if "other_id" in look.columns else ""
    review = pa.Table.from_pandas(look[REVIEW.names], schema=REVIEW, preserve_index=False)
    account = {"screening": screening.account, "duplicates": repeated.account}
    return found[leaves].drop(columns="severity"), review.replace_schema_metadata(None), account


def _inverted(index: pd.DataFrame) -> pd.DataFrame:
    """Films that look like negatives."""
    rows = index[index["polarity"] <= -CERTAIN]
    return pd.DataFrame(
        {
            "image_id": rows["image_id"],
            "reason": "polarity",
            "detail": "looks like a negative: `inverted` in a table of facts turns it",
            "value": rows["polarity"].astype(float),
        }
    )


class _Pixels:
    """Pixels of images by id; one shard is held at a time, since images are asked for in their order."""

    def __init__(self, out: str, owner: dict[str, int]) -> None:
        self.out, self.owner = out, owner
        self._number, self._held = -1, dict[str, bytes]()

    def __call__(self, image_id: str) -> npt.NDArray[np.uint8]:
        number = self.owner[image_id]
        if number != self._number:
            table = storage.read_table(image_uri(self.out, number), columns=["image_id", "pixels"])
            self._held = dict(zip(table["image_id"].to_pylist(), table["pixels"].to_pylist(), strict=True))
            self._number = number
        return decode(self._held[image_id])
