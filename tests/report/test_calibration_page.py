"""Reliability, calibration and net benefit on the page equal the tables of the study."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from tests.report import conclusions
from tests.report.conclusions import NAMES, SITES, TITLES
from tests.report.pages import data_of, figure, line_of, marks, rows_about, tables_of, text, within

BINARY = {name: TITLES[name] for name in ("mr_acl", "xr_tkr")}


def rival_of(predictions, task):
    """The comparison with the best mean AUROC over folds, and its class."""
    rows = predictions[(predictions["task"] == task) & (predictions["fraction"] == 1.0)]
    areas = rows.groupby(["model", "fold"])[["label", "score_1"]].apply(
        lambda t: roc_auc_score(t["label"], t["score_1"])
    )
    best = areas.groupby("model").mean().drop("pretrained").idxmax()
    return best, {"pixels": "m1", "untrained": "m2"}[best]


def test_reliability_figures_and_their_bars_are_where_the_table_says(told, whole_page):
    predictions, tables = told
    for task, title in BINARY.items():
        svg, height = figure(whole_page, "predicted probability", title)
        bins = tables["reliability"].query("task == @task and protocol == 'lp'")
        rival, place = rival_of(predictions, task)
        for model, scaled, css in (
            ("pretrained", False, "m0"),
            ("pretrained", True, "m0 scaled"),
            (rival, False, place),
        ):
            rows = bins[(bins["model"] == model) & (bins["scaled"] == scaled)].sort_values("predicted")
            if css != "m2":  # a triangle's middle is not that of its corners
                shown = data_of(marks(svg, css), height)
                assert np.allclose(shown, rows[["predicted", "observed"]], atol=6e-4)
            bars = re.findall(rf'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="bar {css}"', svg)
            shown = data_of(bars, height)
            wanted = np.column_stack([rows["predicted"], rows["low"], rows["predicted"], rows["high"]]).reshape(-1, 2)
            assert np.allclose(shown, wanted, atol=6e-4)
        assert (
            f"{len(predictions.query('task == @task and model == @rival and fraction == 1.0'))} out-of-fold"
            in whole_page
        )


def test_net_benefit_is_where_the_table_says_and_is_cut_off_below(told, whole_page):
    predictions, tables = told
    for task, title in BINARY.items():
        svg, height = figure(whole_page, "threshold probability", title)
        rows = tables["decisions"].query("task == @task")
        own = rows[rows["model"] == "pretrained"]
        model, place = rival_of(predictions, task)
        rival = rows[rows["model"] == model]
        top = max(own["model_benefit"].max(), rival["model_benefit"].max(), own["treat_all"].max())
        for css, column, part in (
            ("m0", "model_benefit", own),
            ("everybody", "treat_all", own),
            (place, "model_benefit", rival),
        ):
            shown = data_of(line_of(svg, css), height, -0.2 * top, 1.08 * top)
            assert shown[:, 1].min() >= -0.2 * top - 1e-3
            wanted = part.loc[part[column] >= -0.2 * top, ["threshold", column]].to_numpy()
            at = np.abs(shown[:, None, :] - wanted[None]).max(axis=2).min(axis=0)
            assert at.max() < 2e-3
        assert own["treat_all"].min() < -1  # that is what is cut off
        assert f"{text(own.set_index('threshold')['model_benefit'][0.2])} at 20 %" in svg


def test_calibration_table_holds_all_models_and_says_what_is_judged(told, whole_page):
    tables = told[1]
    shown = rows_about(whole_page, "Calibration of all models")
    assert len(shown) == len(tables["calibration"]) == 9
    for row in tables["calibration"].to_dict("records"):
        of = "predicted class" if row["task"] == "xr_kl" else "positive class"
        title = TITLES[row["task"]] + of
        (cells,) = [cells for cells in shown if (cells["Task"], cells["Model"]) == (title, NAMES[row["model"]])]
        for kind, at in (("raw", ""), ("scaled", " at it")):
            ends = (row[f"slope_{kind}"], row[f"slope_low_{kind}"], row[f"slope_high_{kind}"])
            assert cells[f"Slope{at}"] == within(*ends)
            assert cells[f"ECE{at}"] == text(row[f"ece_{kind}"])
        assert (cells["Brier"], cells["Temperature"]) == (text(row["brier_raw"]), "1.500")
    assert "more than two classes the predicted class is judged" in whole_page


def test_without_temperatures_nothing_is_scaled(made, page_of):
    page = page_of(made.predictions, **conclusions.conclude(made.predictions, SITES, temperature=None))
    assert {row["Slope at it"] for row in rows_about(page, "Calibration of all models")} == {"–"}
    assert "at its temperature</li>" not in page
    assert "Probabilities as they are." in page
    assert 'id="curves"' not in page  # one share makes no curve


def test_several_protocols_and_few_shots(made, page_of):
    few = made.predictions.assign(protocol="lp-4shot")
    scores = [name for name in few.columns if name.startswith("score_")]
    few[scores] = (few[scores] + 0.5).div((few[scores] + 0.5).sum(axis=1), axis=0)
    predictions = pd.concat([made.predictions, few, few.assign(protocol="knn")], ignore_index=True)
    tables = conclusions.conclude(predictions, SITES)
    page = page_of(predictions, **tables)
    for what, rows in (("Calibration of all models", 9), ("in each group of patients", 9)):
        captions = [table["caption"] for table in tables_of(page) if what in table["caption"]]
        assert len(captions) == 3
        for protocol in ("linear probe;", "linear probe, 4 patients of each class", "nearest neighbours"):
            wanted = protocol if what.startswith("Calibration") else protocol.rstrip(";")
            assert any(wanted in caption for caption in captions)
        assert len(rows_about(page, captions[0])) == rows
    assert "<summary>Linear probe, 4 patients of each class</summary>" in page
    svg, height = figure(page, "predicted probability", TITLES["mr_acl"])
    first = tables["reliability"].query(
        "task == 'mr_acl' and protocol == 'lp' and model == 'pretrained' and not scaled"
    )
    assert np.allclose(data_of(marks(svg, "m0"), height)[:, 0], first["predicted"], atol=6e-4)
