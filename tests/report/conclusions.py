"""The tables that `orthoray study` writes beside its results, computed by the same code for a study of the tests."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
from tests.report.cohort import results_of

from orthoray import storage
from orthoray.evaluation.calibrated import trust
from orthoray.evaluation.comparisons import compare, draw_all
from orthoray.evaluation.curves import learning_curves
from orthoray.evaluation.efficiency import labels_needed
from orthoray.evaluation.subgroups import COLUMNS, subgroup_table
from orthoray.evaluation.tasks import load_task

DRAWS = 200

SITES = {"north": 30, "south": 24, "west": 6}
TITLES = {
    "mr_acl": "Anterior cruciate ligament tear",
    "xr_tkr": "Total knee replacement",
    "xr_kl": "Kellgren-Lawrence grade",
}
NAMES = {"pretrained": "Pretrained", "untrained": "Untrained", "pixels": "Raw pixels"}


def with_fewer_labels(predictions, shares=(0.25, 0.5)):
    """The same predictions, and at smaller shares such with ever more scores that say nothing."""
    rng, tables = np.random.default_rng(5), []
    scores = [name for name in predictions.columns if name.startswith("score_")]
    for share in shares:
        few = predictions.assign(fraction=share)
        lost = rng.random(len(few)) > share
        few.loc[lost, scores] = few.loc[lost, scores].where(few.loc[lost, scores].isna(), 0.5)
        few[scores] = few[scores].div(few[scores].sum(axis=1), axis=0)
        tables.append(few)
    return pd.concat([*tables, predictions], ignore_index=True)


def sites(predictions, sizes):
    """Task → `subgroups.attributes` with patients dealt out to sites of these sizes."""
    patients = sorted(predictions["patient_id"].unique())
    site = dict(zip(patients, np.repeat(list(sizes), list(sizes.values())), strict=True))
    found = {}
    for task, part in predictions.drop_duplicates(["task", "sample_id"]).groupby("task"):
        known = pd.DataFrame({"sample_id": part["sample_id"], **dict.fromkeys(COLUMNS)})
        found[task] = known.assign(site=part["patient_id"].map(site).to_numpy())
    return found


def temperatures(results, value):
    """The results of fits that all found this temperature."""
    return results.assign(params=json.dumps({"calibration_temperature": value, "n_train_patients": 48}))


def conclude(predictions, sizes, temperature=1.5, candidate="pretrained"):
    """Name → table; ``sizes``: site → patients."""
    cards = {name: load_task(name) for name in predictions["task"].unique()}
    headline = {name: card.headline for name, card in cards.items()}
    results = temperatures(results_of(predictions), temperature)
    draws = draw_all(predictions, {name: [metric] for name, metric in headline.items()}, DRAWS)
    tables = trust(results, predictions, cards)._asdict()
    tables["comparisons"] = compare(results, draws, headline, candidate)
    tables["efficiency"] = labels_needed(draws, headline, candidate)
    tables["curves"] = learning_curves(draws, headline)
    tables["subgroups"] = subgroup_table(predictions, sites(predictions, sizes), headline, candidate, DRAWS, 10)
    return tables


def write(uri, **tables):
    """Write those that have rows."""
    for name, table in tables.items():
        if len(table):
            storage.write_table(pa.Table.from_pandas(table, preserve_index=False), f"{uri}/{name}.parquet")
