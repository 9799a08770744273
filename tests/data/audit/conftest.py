"""Datasets to audit, exports of their sheets, a browser."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from tests.data.audit.sources import export_of, write_dataset


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The URI of a dataset that tests read but do not change."""
    return write_dataset(str(tmp_path_factory.mktemp("audit") / "dataset"))


@pytest.fixture
def fresh(made, tmp_path):
    """A copy of the dataset that a test may write to."""
    return str(shutil.copytree(made, tmp_path / "dataset"))


@pytest.fixture
def older(tmp_path):
    """A dataset without thumbnails, values and severities."""
    return write_dataset(str(tmp_path / "older"), thumbnails=False)


@pytest.fixture
def other(tmp_path):
    """Another dataset of the same images but one."""
    return write_dataset(str(tmp_path / "other"), seed=1)


@pytest.fixture
def save(tmp_path):
    """(name, dataset, answers, …) → path of an export file."""

    def write(name, uri, answers, **options):
        path = tmp_path / f"{name}.json"
        path.write_text(export_of(uri, answers, **options).model_dump_json())
        return str(path)

    return write


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium with its folder of downloads."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium with chromedriver on this machine")
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1366,768")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield SimpleNamespace(driver=session, downloads=downloads)
    session.quit()
