"""The page in a real browser: phone width, dark mode, print, no network, nothing on the console."""

from __future__ import annotations

import base64
import json
import shutil

import pytest

from orthoray.report import build_report

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    return build_report(made.study, str(tmp_path_factory.mktemp("page")))


def show(browser, page, width, scheme="light"):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


def luminance(css):
    """Relative luminance (WCAG 2) of an ``rgb(r, g, b)`` colour."""
    parts = [float(part) / 255 for part in css[css.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_wider_than_the_window_and_all_images_there(browser, page, width):
    show(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    loaded = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert len(loaded) > 12
    assert all(loaded)


def test_nothing_is_fetched_and_the_console_is_silent(browser, page):
    browser.get_log("performance")
    browser.get_log("browser")
    show(browser, page, 1280)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in sent
    assert [url for url in sent if not url.startswith("data:") and url != page.as_uri()] == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(browser, page, scheme):
    show(browser, page, 1280, scheme)
    back = luminance(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert back < 0.05 if scheme == "dark" else back > 0.9
    script = """return [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(
        n => n.nodeType == 3 && n.textContent.trim())).map(e => {
        const s = getComputedStyle(e); return e.closest('svg') ? s.fill : s.color})"""
    colours = set(browser.execute_script(script))
    assert len(colours) >= 3
    for colour in colours:
        light, dark = sorted([luminance(colour), back], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, colour)


def test_prints_on_white_paper(browser, page):
    show(browser, page, 1280, "dark")
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert luminance(back) > 0.99
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    document = base64.b64decode(printed["data"])
    assert document.startswith(b"%PDF")
    assert 2 <= document.count(b"/Type /Page\n") + document.count(b"/Type /Page ") <= 15
