"""What screening, polarity and repeated images mean for a dataset: who leaves, and whom people should look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from orthoray.data.cards import DatasetCard
from orthoray.data.codec import decode
from orthoray.data.duplicates import NEEDED, find_duplicates
from orthoray.data.outliers import known_scores
from orthoray.data.schema import REVIEW, as_table
from orthoray.data.screening import screen
from orthoray.data.shards import held_pixels
from orthoray.imaging.polarity import CERTAIN


def judge(made: pa.Table, out: str, card: DatasetCard) -> tuple[pd.DataFrame, pa.Table, dict[str, Any]]:
    """Judge all images that were made.

    Args:
        made: the reports of all images, with the number of each one's ``shard``.
        out: folder of the dataset; only candidates for duplicates are looked at.
        card: its rules, and whether they exclude images or only name them.

    Returns:
        Exclusions (``image_id, stage, reason, detail, value``), the rows of `REVIEW`, and an account.
    """
    index = made.flatten().to_pandas().rename(columns={"acquisition.deviation_index": "deviation_index"})
    index["outlier_score"] = known_scores(out, index)
    screening = screen(index, card.screening)
    owner = dict(zip(made["image_id"].to_pylist(), made["shard"].to_pylist(), strict=True))
    leaving = _leaves(screening.exclusions["severity"], card)
    stays = ~index["image_id"].isin(set(screening.exclusions.loc[leaving, "image_id"]))
    repeated = find_duplicates(index.loc[stays, NEEDED], _Pixels(out, owner), card.screening)
    found = pd.concat([screening.exclusions, repeated.exclusions], ignore_index=True)
    found = found.sort_values("severity", kind="stable").drop_duplicates("image_id")  # "always", "exclude", "review"
    leaves = _leaves(found["severity"], card)
    look = pd.concat([found[~leaves], repeated.alarms, _inverted(index)], ignore_index=True)
    look = look[~look["image_id"].isin(set(found.loc[leaves, "image_id"]))]
    look["other_id"] = look["other_id"].fillna("") if "other_id" in look.columns else ""
    account = {"screening": screening.account, "duplicates": repeated.account}
    return found[leaves].drop(columns="severity"), as_table(look, REVIEW), account


def _leaves(severity: pd.Series, card: DatasetCard) -> pd.Series:
    return severity.eq("always") | (severity.eq("exclude") & (card.screened == "exclude"))


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
            self._number, self._held = number, held_pixels(self.out, number)
        return decode(self._held[image_id])
