"""What the page says equals what the predictions say, computed here by other means."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata
from tests.report.pages import table_about, tables_of

from orthoray.report import build_report
from orthoray.report.load import load_study
from orthoray.report.words import verdicts

NAMES = {"pretrained": "Pretrained", "untrained": "Untrained", "pixels": "Raw pixels"}


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    return build_report(made.study, str(out)).read_text(encoding="utf-8")


def area(part):
    """AUROC by the Mann-Whitney statistic."""
    ranks, label = rankdata(part["score_1"]), part["label"].to_numpy()
    positive, negative = (label == 1).sum(), (label == 0).sum()
    return (ranks[label == 1].sum() - positive * (positive + 1) / 2) / (positive * negative)


def hits(part, classes):
    """Share of rows whose largest score is that of their label."""
    scores = part[[f"score_{k}" for k in range(classes)]].to_numpy()
    return float(np.mean(scores.argmax(1) == part["label"].to_numpy()))


def shown(values):
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def rows_of(made, task, model):
    table = made.predictions
    return table[(table["task"] == task) & (table["model"] == model)]


@pytest.mark.parametrize(("model", "name"), NAMES.items())
def test_result_tables_show_mean_sd_and_pooled_values(made, page, model, name):
    for task in ("mr_acl", "xr_tkr"):
        part = rows_of(made, task, model)
        cell = table_about(page, f"({task})")[name]["AUROCheadline"]
        assert shown([area(fold) for _, fold in part.groupby("fold")]) in cell
        assert cell.endswith(f"pooled {area(part):.3f}")
    part = rows_of(made, "xr_kl", model)
    cell = table_about(page, "(xr_kl)")[name]["Accuracyheadline"]
    assert shown([hits(fold, 5) for _, fold in part.groupby("fold")]) in cell


def test_best_is_said_in_text_and_belongs_to_the_best_mean(page):
    checked = 0
    for task in ("xr_kl", "mr_acl", "xr_tkr"):
        rows = table_about(page, f"({task})")
        for column in list(next(iter(rows.values())))[1:]:
            means = {name: float(re.search(r"\d\.\d{3}", row[column])[0]) for name, row in rows.items()}
            marked = {name for name, row in rows.items() if row[column].startswith("best ")}
            best = min if column.startswith(("Brier", "Mean error")) else max
            assert marked == {name for name, mean in means.items() if mean == best(means.values())}
            checked += 1
    assert checked == 8 + 7 + 7


def test_differences_are_those_of_the_fold_means_with_intervals_and_adjusted_p_values(made, page):
    (table,) = [table for table in tables_of(page) if "minus each comparison" in table["caption"]]
    rows = [row[-9:] for row in table["rows"][1:]]  # the first of a task's rows has the task before it
    assert [row[0] for row in rows] == 3 * ["Raw pixels", "Untrained"]
    for _, _, _, p, by_holm, by_fdr, _, _, _ in rows:
        p, by_holm, by_fdr = (float(text.removeprefix("< ")) for text in (p, by_holm, by_fdr))
        assert p <= by_fdr <= by_holm
    bold = set(re.findall(r"<td class=.num.><strong>([< ]*0\.\d{3})</strong></td>", page.replace("&lt;", "<")))
    assert bold == {row[4] for row in rows if float(row[4].removeprefix("< ")) < 0.05}
    titles = [row[0] for row in table["rows"][1:] if len(row) == 10]
    at = 2 * next(k for k, title in enumerate(titles) if title.startswith("Anterior"))
    ours, other = (rows_of(made, "mr_acl", name).groupby("fold") for name in ("pretrained", "pixels"))
    gain = np.mean([area(a) - area(b) for (_, a), (_, b) in zip(ours, other, strict=True)])
    assert rows[at][1] == f"{gain:+.3f}"
    low, high = (float(end.replace("−", "-")) for end in rows[at][2].split(" to "))
    assert 0 < low < gain < high
    assert f"over Raw pixels {gain:+.3f}, {rows[at][2]}" in page  # the figure in words


def test_gains_on_joints_never_seen_are_told_apart(made, fresh, save, page, tmp_path):
    assert "Cross-joint" not in page  # an older study, which does not say what was seen
    for seen, expected in ((["hip", "whole_body"], 0), (None, 0), (["hip", "wrist"], 1)):
        models = [model | {"pretrained_body_parts": seen} for model in fresh.facts["models"]]
        save(fresh.study, fresh.facts | {"models": models}, made.predictions)
        again = build_report(fresh.study, str(tmp_path / "out")).read_text(encoding="utf-8")
        assert again.count("<h3>Cross-joint: pretrained saw hip and wrist images only in pretraining</h3>") == expected
    everything, across = (table for table in tables_of(again) if "minus each comparison" in table["caption"])
    assert "joints never seen" in across["caption"]
    assert [row[-3:-1] for row in across["rows"][1:]] == [row[-8:-6] for row in everything["rows"][1:]]
    assert [row[1] for row in across["rows"][1::2]] == 3 * ["knee"]


def test_a_study_names_its_candidate(made, fresh, save):
    save(fresh.study, fresh.facts | {"candidate": "untrained"}, made.predictions)
    assert load_study(fresh.study).ranked[0] == "untrained"


def test_counts_of_samples_and_patients(page):
    captions = [table["caption"] for table in tables_of(page)]
    assert any("(mr_acl): 60 studies of 60 patients, 5 folds, 1 seed." in caption for caption in captions)


def test_roc_caption_and_confusion_matrix_count_every_case(made, page):
    for task in ("mr_acl", "xr_tkr"):
        values = [f"{area(rows_of(made, task, model)):.3f}" for model in ("pretrained", "pixels", "untrained")]
        text = "AUROC, pooled: Pretrained {}, Raw pixels {}, Untrained {} (30 positive of 60)".format(*values)
        assert text in page
    rows = table_about(page, "Pretrained: ")
    part = rows_of(made, "xr_kl", "pretrained")
    guess = part[[f"score_{k}" for k in range(5)]].to_numpy().argmax(1)
    wanted = pd.crosstab(part["label"], guess).reindex(index=range(5), columns=range(5), fill_value=0).to_numpy()
    found = [[int(cell.split(" | ")[0]) for cell in list(row.values())[1:]] for row in rows.values()]
    assert np.array_equal(found, wanted)
    assert np.sum(found) == 60


def test_summary_follows_the_numbers(made, page):
    calls = {row["title"]: row["call"] for row in verdicts(load_study(made.study))}
    assert calls["Kellgren-Lawrence grade"] == "clearly better"
    assert calls["Anterior cruciate ligament tear"] == "clearly better"
    assert calls["Total knee replacement"] != "clearly better"
    assert "On 2 of 3 tasks, the pretrained network gave better predictions" in page


def test_summary_admits_defeat(made, fresh, save):
    swapped = made.predictions.replace({"model": {"pretrained": "pixels", "pixels": "pretrained"}})
    save(fresh.study, fresh.facts, swapped)
    page = build_report(fresh.study).read_text()
    assert "On none of 3 tasks" in page
    assert "It was not better than the best comparison on " in page
    assert page.count('class="pill yes"') == 0


def test_data_section_counts(page):
    funnel = table_about(page, "From files to images")
    assert [row["Count"] for row in funnel.values()] == ["363", "361", "360"]
    assert table_about(page, "Why items were excluded")["read"] == {
        "Stage": "read",
        "Reason": "no pixels",
        "Count": "2",
    }
    cohort = table_about(page, "Who and what is in the dataset")
    assert cohort["MR knee (phantom)"]["Images"] == "300"
    assert cohort["All"]["Patients"] == "60"
    assert cohort["All"]["Studies"] == "120"


def test_page_is_self_contained_small_and_says_what_it_is_not(page):
    assert not re.findall(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?(?!#|data:)[a-z]*:?//""", page)
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert set(re.findall(r'src="([^,;"]*)', page)) == {"data:image/jpeg"}
    assert len(page) < 3_000_000
    assert "For research use only" in page
    assert "Not a diagnostic device" in page
    for image in re.findall(r"<img[^>]*>", page):
        assert re.search(r'alt="[^"]+', image)


def test_no_identifier_and_no_path_is_shown(made, page):
    for column in ("sample_id", "patient_id"):
        assert not [value for value in made.predictions[column].unique() if value in page]
    assert str(made.root) not in page


def test_same_input_gives_the_same_bytes(made, tmp_path):
    pages = [build_report(made.study, str(tmp_path / name)).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_text_from_files_is_escaped(made, fresh, save):
    hostile = "<script>alert(1)</script>\"'&"
    facts = {**fresh.facts, "name": hostile}
    facts["tasks"]["xr_kl"]["title"] = hostile
    facts["tasks"]["xr_kl"]["classes"][0] = hostile
    facts["overlap"]["text"] = hostile
    save(fresh.study, facts, made.predictions)
    page = build_report(fresh.study).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") > 8


def test_several_seeds_and_fractions(made, fresh, save):
    few = made.predictions.assign(fraction=0.25)
    again = made.predictions.assign(seed=1)
    save(fresh.study, fresh.facts, pd.concat([made.predictions, few, again], ignore_index=True))
    page = build_report(fresh.study).read_text()
    assert "5 folds, 2 seeds" in page
    assert "5 test folds, repeated with 2 seeds" in page
    (table,) = [table for table in tables_of(page) if "by share of the training patients" in table["caption"]]
    assert table["rows"][0] == ["Task", "Model", "25 %", "100 %"]
    start = next(k for k, row in enumerate(table["rows"]) if row[0].startswith("Total knee replacement"))
    full = [area(fold) for _, fold in rows_of(made, "xr_tkr", "pixels").groupby("fold")]
    assert table["rows"][start + 1] == ["Raw pixels", shown(full), shown(full * 2)]
    assert "(30 positive of 60)" in page
    (needed,) = [table for table in tables_of(page) if "matches a comparison that had all" in table["caption"]]
    assert [row[1] for row in needed["rows"][1:]] == 3 * ["Raw pixels", "Untrained"]
    shares = {(row[0], row[1]): row[2] for row in needed["rows"][1:]}
    assert shares["Anterior cruciate ligament tear", "Raw pixels"] == "at most 25 %"  # equal scores, and better ones
