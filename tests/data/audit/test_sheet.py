"""The sheet as a file: what is in it, what is not, how large it is."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tests.data.audit.sources import content_of

from orthoray.cli import cli
from orthoray.data.audit import Parameters, write_sheet
from orthoray.data.audit import sheet as sheets
from orthoray.data.audit.sample import make_plan
from orthoray.data.audit.sheet import build_sheet, picture
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError

ALL = Parameters(n=120, rejected=17)


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "sheet.html"
    write_sheet(made, str(path), ALL)
    return path


def test_equal_datasets_give_equal_bytes_and_hold_every_image(made, page, tmp_path):
    write_sheet(made, str(tmp_path / "again.html"), ALL)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    tiles = content_of(page)["tiles"]
    excluded = Dataset(made).excluded()
    shown = set(excluded.loc[excluded["stage"] == "quality", "image_id"])
    assert {tile["id"] for tile in tiles} == set(Dataset(made).index()["image_id"]) | shown


def test_the_page_names_no_address_and_no_pseudonym_but_those_of_images(page):
    text = page.read_text()
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", text) == ["http://www.w3.org"]  # the namespace of SVG
    assert not re.search(r"\bp\d{4}\b", text)
    assert "patient_id" not in text
    assert "study_id" not in text
    assert "<title>Review sheet" in text
    assert "Trial &lt;knees&gt;" in text
    assert "<knees>" not in text


def tiles_of(page):
    return {tile["id"]: tile for tile in content_of(page)["tiles"]}


def test_a_rejected_tile_says_why_and_compares_its_value_with_equal_findings(made, page):
    excluded = Dataset(made).excluded().set_index("image_id")
    same = excluded.loc[excluded["reason"] == "blurred", "value"]
    assert len(same) == 12
    tiles = tiles_of(page)
    for image, value in same.items():
        assert tiles[image]["flag"] == ["quality/blurred", "z of sharpness, limit -3.5"]
        (measure,) = tiles[image]["measures"]
        assert (measure["name"], measure["value"]) == ("z of sharpness", value)
        assert measure["rank"] == pytest.approx((same <= value).mean(), rel=1e-3)
    quantiles = content_of(page)["distributions"][measure["among"]]["quantiles"]["z of sharpness"]
    expected = np.quantile(np.arange(12), [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    assert quantiles == pytest.approx(expected, rel=1e-3)


def test_a_value_that_is_a_measure_of_the_index_is_compared_with_accepted_images(made, page):
    index = Dataset(made).index()
    films = index[(index["modality"] == "XR") & (index["site"] == "north")]
    drawn = np.array([quality["graphics"] for quality in films["quality"]])
    tiles = [tile for tile in tiles_of(page).values() if tile["flag"] and tile["flag"][0] == "quality/graphics"]
    assert len(tiles) == 5
    for tile in tiles:
        (measure,) = tile["measures"]
        assert (measure["name"], measure["among"]) == ("graphics", "accepted XR north")
        assert measure["rank"] == (drawn <= measure["value"]).mean() == 1.0  # 12 … 16, where accepted ones have 0 … 2


def test_measures_of_accepted_images_are_ranked_in_their_stratum(made, page):
    index = Dataset(made).index().set_index("image_id")
    tenengrad = pd.Series({image: quality["tenengrad"] for image, quality in index["quality"].items()})
    tiles = tiles_of(page)
    north = index[(index["plane"] == "sagittal") & (index["site"] == "north")].index
    for image in north:
        measures = {item["name"]: item for item in tiles[image]["measures"]}
        assert measures["tenengrad"]["among"] == "MR sagittal north"
        assert measures["tenengrad"]["rank"] == pytest.approx((tenengrad[north] <= tenengrad[image]).mean(), rel=1e-3)
        assert measures["std"]["rank"] is None  # it is the same everywhere
    lowest = tenengrad[north].idxmin()
    assert tiles[lowest]["measures"][0]["name"] == "tenengrad"  # the most unusual one comes first
    alone = next(tile for tile in tiles.values() if tile["label"] == "MR axial south")
    assert {item["among"] for item in alone["measures"]} == {None}  # one image is no distribution


def test_an_accepted_image_in_doubt_shows_its_flag_and_that_value_first(page):
    flags = {image: tile["flag"] for image, tile in tiles_of(page).items() if tile["arm"] == "accepted"}
    assert [image for image, flag in flags.items() if flag] == ["i0000aa"]
    assert flags["i0000aa"] == ["implant", "share of saturated patches, limit 0.02"]
    first = tiles_of(page)["i0000aa"]["measures"][0]
    assert (first["name"], first["value"]) == ("share of saturated patches", 0.5)


def test_a_blind_sheet_holds_nothing_that_tells_the_arms_apart(made, tmp_path):
    path = tmp_path / "blind.html"
    write_sheet(made, str(path), Parameters(n=120, rejected=17, blind=True))
    content = content_of(path)
    kinds = {frozenset(tile) for tile in content["tiles"]}
    assert kinds == {frozenset({"id", "label", "facts", "second", "image", "width", "height"})}
    assert {name for tile in content["tiles"] for name, _ in tile["facts"]} == {"Modality", "Site", "Joint", "Side"}
    assert max(max(tile["width"], tile["height"]) for tile in content["tiles"]) == 256
    assert content["distributions"] == {}
    for word in ("quality/", "saturated patches", "blurred", "tenengrad"):
        assert word not in path.read_text()


def test_pictures_shrink_until_the_sheet_is_small_enough(made, monkeypatch):
    dataset = Dataset(made)
    plan = make_plan(dataset, Parameters(n=40))
    full = build_sheet(dataset, plan)
    assert full.side == 512
    monkeypatch.setattr(sheets, "BUDGET", 1000)
    small = build_sheet(dataset, plan)
    assert small.side == 256
    assert len(small.html) < len(full.html)


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((1000, 500), (None, None), (512, 256)),
        ((100, 50), (None, None), (100, 50)),
        ((100, 100), (2.0, 1.0), (200, 100)),
        ((100, 100), (0.4, 0.8), (100, 200)),
        ((600, 600), (2.0, 1.0), (512, 256)),
        ((100, 50), (float("nan"), 0.5), (100, 50)),
    ],
)
def test_pictures_keep_proportions_in_millimetres(shape, spacing, expected):
    row = {"row_spacing_mm": spacing[0], "col_spacing_mm": spacing[1]}
    assert picture(np.zeros(shape, np.uint8), row, 512).shape == expected


def run(*arguments):
    return CliRunner().invoke(cli, ["audit", *arguments])


def test_the_command_prints_the_plan_and_what_no_defect_would_mean(made, tmp_path):
    done = run(made, "--out", str(tmp_path / "s.html"), "--n", "60", "--rejected", "10")
    assert done.exit_code == 0, done.output
    assert re.search(r"MR sagittal north +\d+ of 60", done.output)
    assert "accepted: 60 of 120 images, 5 strata" in done.output
    assert "rejected: 10 of 17 images, 2 strata" in done.output
    assert "(no thumbnail, or a duplicate): 7" in done.output
    assert "3/n = 5.00 %, exact 4.87 %" in done.output
    assert re.search(r"\d\.\d MB, 70 pictures", done.output)


def test_more_than_there_is_means_all_and_fewer_than_strata_one_of_each(made, older, tmp_path):
    done = run(older, "--out", str(tmp_path / "s.html"))
    assert "accepted: 120 of 120 images, 5 strata (all; 300 were asked for)" in done.output
    assert "these are all images" in done.output
    assert "rejected: none can be shown" in done.output
    done = run(made, "--out", str(tmp_path / "s.html"), "--n", "2", "--rejected", "0")
    assert "accepted: 5 of 120 images, 5 strata (one of each; 2 were asked for)" in done.output


def test_a_folder_is_no_place_for_the_sheet(made, tmp_path):
    with pytest.raises(InputError, match="this is a folder"):
        write_sheet(made, str(tmp_path), ALL)


def test_a_missing_thumbnail_is_named(fresh):
    dataset = Dataset(fresh)
    plan = make_plan(dataset, ALL)
    from orthoray import storage

    storage.remove_tree(f"{fresh}/rejected")
    with pytest.raises(InputError, match="the thumbnail of x0000 is missing"):
        build_sheet(dataset, plan)
