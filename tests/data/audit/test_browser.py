"""The sheet in a real browser: keys, autosave, files, no network, reachable for everybody."""

from __future__ import annotations

import csv
import hashlib
import json
import time

import pytest
from tests.data.audit.sources import content_of, export_of

from orthoray.data.audit import Parameters, import_decisions, write_sheet
from orthoray.data.audit.decisions import REASONS, read_export

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ALL = {"n": 120, "rejected": 17}
CODES = list(REASONS)


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "sheet.html"
    write_sheet(made, str(path), Parameters(**ALL))
    return path


@pytest.fixture(scope="module")
def blind(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "blind.html"
    write_sheet(made, str(path), Parameters(**ALL, blind=True))
    return path


class Desk:
    """A reader at the sheet."""

    def __init__(self, browser):
        self.driver, self.downloads = browser.driver, browser.downloads

    def open(self, page, reader="ab", scope="all", clean=True, scheme="light"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(page.as_uri())
        if clean:
            self.js("localStorage.clear()")
            self.driver.refresh()
        if self.js("return document.getElementById('start').open"):
            self.sign(reader, scope)

    def sign(self, reader, scope="all"):
        field = self.find("#initials")
        field.clear()
        self.find(f"input[value={scope}]").click()
        field.send_keys(reader)
        self.find("#start-button").click()

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).innerText", selector)

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def marks(self, reader="AB"):
        """Picture → answer, as saved in the browser."""
        script = "return JSON.parse(localStorage.getItem(Object.keys(localStorage)[0])).readers[arguments[0]].decisions"
        return {image: item["reason"] or item["verdict"] for image, item in self.js(script, reader).items()}

    def current(self):
        return int(self.js("return document.querySelector('.tile[aria-current]').dataset.place"))

    def export(self, kind="json"):
        before = set(self.downloads.iterdir())
        self.find(f"#export-{kind}").click()
        for _ in range(100):
            new = [file for file in set(self.downloads.iterdir()) - before if file.suffix == f".{kind}"]
            if new:
                return new[0]
            time.sleep(0.05)
        raise AssertionError("nothing was downloaded")

    def give(self, *files):
        self.find("#import-file").send_keys("\n".join(map(str, files)))
        for _ in range(100):
            if self.js("return document.getElementById('import-file').value === ''"):
                return
            time.sleep(0.05)


@pytest.fixture
def desk(browser):
    return Desk(browser)


@pytest.fixture
def keys():
    from selenium.webdriver.common.keys import Keys

    return Keys


def test_keys_mark_pictures_and_go_on(desk, page, keys):
    desk.open(page)
    ids = [tile["id"] for tile in content_of(page)["tiles"]]
    desk.press("a", keys.ENTER, *"123456")
    assert desk.marks() == dict(zip(ids, ["accept", "accept", *CODES], strict=False))
    assert desk.current() == 8
    assert "8 of 137 decided, 6 rejected" in desk.text("#count")
    assert desk.js("return document.getElementById('progress').value") == 8
    desk.press("k", "k", "3")  # the seventh picture gets another answer
    assert desk.marks()[ids[6]] == CODES[2]
    label = desk.js("return document.querySelectorAll('.tile')[6].getAttribute('aria-label')")
    assert label.startswith("Picture 7 of 137")
    assert label.endswith(f"rejected: {REASONS[CODES[2]]}")


def test_undo_takes_back_one_step_after_the_other(desk, page):
    desk.open(page)
    first, second = (tile["id"] for tile in content_of(page)["tiles"][:2])
    desk.press("a", "2", "k", "k", "4", "u")
    assert desk.marks() == {first: "accept", second: "blur"}
    assert desk.current() == 0
    desk.press("u", "u")
    assert desk.marks() == {}
    assert desk.text("#count") == "0 of 137 decided, 0 rejected"
    desk.press("u")
    assert desk.text("#status") == "Nothing to undo."


def test_reload_keeps_decisions_and_goes_on_where_the_reader_stopped(desk, page):
    desk.open(page)
    desk.press(*"aa2")
    marks = desk.marks()
    desk.open(page, clean=False)
    assert desk.marks() == marks
    assert desk.current() == 3
    assert desk.text("#reader-name") == "AB"
    desk.press("u")
    assert len(desk.marks()) == 2


def test_readers_at_one_machine_do_not_see_each_other(desk, page):
    desk.open(page)
    desk.press(*"aa2")
    desk.find("#reader").click()
    desk.sign("cd", "second")
    assert desk.text("#count").startswith("0 of 21 decided")
    assert desk.js("return document.querySelectorAll('.tile:not([data-answer=open])').length") == 0
    desk.press("5")
    second = [tile["id"] for tile in content_of(page)["tiles"] if tile["second"]]
    assert len(second) == 18 + 3
    assert desk.marks("CD") == {second[0]: "graphics"}
    assert sorted(desk.marks("AB").values()) == ["accept", "accept", "blur"]


def test_movement_by_keys_over_rows_and_pages(desk, page, keys):
    desk.open(page)
    columns = desk.js("return columns()")
    assert columns > 3
    desk.press(keys.ARROW_RIGHT, keys.ARROW_DOWN, "j")
    assert desk.current() == columns + 2
    desk.press(keys.ARROW_UP, keys.ARROW_LEFT, "k", "k", "k")
    assert desk.current() == 0
    desk.press(keys.END)
    assert desk.current() == 47
    desk.press("a")  # the last of a page leads to the next page
    assert desk.current() == 48
    assert desk.text("#page-text") == "Page 2 of 3"
    assert desk.js("return document.activeElement.dataset.place") == "48"
    desk.press(keys.PAGE_DOWN, keys.END)
    assert desk.current() == 136
    desk.press("j", keys.PAGE_UP, keys.PAGE_UP, keys.HOME)
    assert desk.current() == 0


def test_hovering_shows_a_picture_but_keys_mark_the_framed_one(desk, page):
    from selenium.webdriver import ActionChains

    desk.open(page)
    tiles = content_of(page)["tiles"]
    other = desk.find(".tile[data-place='9']")
    ActionChains(desk.driver).move_to_element(other).perform()
    assert desk.js("return document.getElementById('full-picture').src") == tiles[9]["image"]
    assert desk.text("#preview") == "Preview. Keys mark picture 1."
    desk.press("2")
    assert desk.marks() == {tiles[0]["id"]: "blur"}
    assert desk.js("return document.getElementById('full-picture').src") == tiles[1]["image"]
    ActionChains(desk.driver).move_to_element(desk.find("h1")).perform()


def test_w_cycles_windows_of_every_picture(desk, page):
    desk.open(page)
    seen = []
    for _ in range(8):
        styles = desk.js("return [...document.querySelectorAll('.picture')].map(i => getComputedStyle(i).filter)")
        assert len(set(styles)) == 1
        seen.append((styles[0], desk.text("#window-name")))
        desk.press("w")
    assert seen[0] == seen[7] == ("none", "as stored")
    assert len(set(seen)) == 7
    assert [style for style, _ in seen[1:7]] == [f'url("#window-{number}")' for number in range(1, 7)]
    slope = desk.js("return document.querySelector('#window-6 feFuncG').getAttribute('slope')")
    intercept = desk.js("return document.querySelector('#window-6 feFuncG').getAttribute('intercept')")
    assert (slope, intercept) == ("-1", "1")  # inverted


def test_full_size_and_help_open_and_close_by_key(desk, page, keys):
    desk.open(page)
    desk.press("?")
    assert desk.js("return document.getElementById('help-dialog').open")
    desk.press("a")  # no marks while a dialog is open
    desk.press(keys.ESCAPE, "f")
    assert desk.js("return document.getElementById('full').open")
    desk.press("f")
    assert not desk.js("return document.querySelector('dialog[open]')")
    desk.press("a")
    assert len(desk.marks()) == 1


def test_a_sheet_says_why_and_a_blind_one_does_not(desk, page, blind):
    desk.open(page)
    place = next(i for i, tile in enumerate(content_of(page)["tiles"]) if tile["arm"] == "rejected")
    desk.js("goTo(arguments[0])", place)
    assert "Excluded: quality/" in desk.text("#flag")
    assert "median" in desk.text("#measures")
    assert desk.js("return document.querySelectorAll('.arm').length") > 0
    place = next(i for i, tile in enumerate(content_of(page)["tiles"]) if tile["id"] == "i0000aa")
    desk.js("goTo(arguments[0])", place)
    assert desk.text("#flag").startswith("Kept, for review: implant")
    desk.open(blind)
    for place in range(0, 137, 17):
        desk.js("goTo(arguments[0])", place)
        assert desk.text("#flag") == desk.text("#measures") == ""
        assert desk.js("return document.querySelectorAll('.arm').length") == 0
    assert not {"Excluded", "Accepted", "quality"} & set(desk.text("body").replace("/", " ").replace(":", " ").split())


def test_export_validates_and_its_import_gives_findings(desk, page, fresh):
    desk.open(page)
    tiles = content_of(page)["tiles"]
    for tile in tiles:
        desk.press("a" if tile["arm"] == "accepted" else "2")
    assert desk.text("#count") == "137 of 137 decided, 17 rejected"
    file = desk.export()
    assert file.name.endswith("-AB.json")
    export = read_export(str(file))
    assert export.reviewer == "AB"
    assert len(export.decisions) == 137
    found = import_decisions(fresh, [str(file)])
    assert found["accepted"]["total"]["found"] == found["rejected"]["total"]["found"] == 0
    assert found["advice"]["action"] == "accept"
    rows = list(csv.DictReader(desk.export("csv").open()))
    assert {row["image_id"]: row["verdict"] for row in rows} == {d.image_id: d.verdict for d in export.decisions}
    assert {row["sheet"] for row in rows} == {export.sheet}


def test_import_into_the_sheet_restores_decisions(desk, page):
    desk.open(page)
    desk.press(*"a2a3")
    marks, file = desk.marks(), desk.export()
    desk.open(page)
    assert desk.text("#count").startswith("0 of")
    desk.give(file)
    assert desk.marks() == marks
    assert "4 new decisions of AB" in desk.text("#status")
    assert desk.js("return document.querySelectorAll('.tile[data-answer=reject]').length") == 2
    desk.give(file)
    assert "0 new decisions of AB, 0 differences" in desk.text("#status")


def test_conflicts_of_readers_are_listed_and_lead_to_their_picture(desk, page, made, tmp_path):
    theirs = tmp_path / "cd.json"
    marked = content_of(page)["tiles"][60]["id"]
    theirs.write_text(
        export_of(made, lambda t: "blur" if t.image_id == marked else "accept", "CD", **ALL).model_dump_json()
    )
    desk.open(page)
    desk.press("2")
    desk.give(theirs)
    desk.js("document.getElementById('conflicts').open = true")
    assert "1 conflict" in desk.text("#conflicts")
    assert "AB rejected: severe blur or motion; CD accepted" in desk.text("#conflicts")
    desk.press("j", "j")
    desk.find(".jump").click()
    assert desk.current() == 0
    desk.press("a")
    assert desk.js("return document.getElementById('conflicts').hidden")


def test_the_newer_answer_of_one_reader_stays(desk, page, made, tmp_path):
    older = tmp_path / "old.json"
    older.write_text(export_of(made, lambda tile: "accept", "AB", **ALL).model_dump_json())
    desk.open(page)
    desk.press("2")  # later than the export, which is of 2026-03-01
    first = content_of(page)["tiles"][0]["id"]
    desk.js("store.readers.AB.decisions[arguments[0]].decided_at = '2026-04-01T00:00:00.000Z'", first)
    desk.give(older)
    assert desk.marks()[first] == "blur"
    assert len(desk.marks()) == 137
    assert "136 new decisions of AB, 1 difference" in desk.text("#status")
    assert "kept rejected: severe blur or motion, not accepted" in desk.js(
        "return document.getElementById('conflicts').textContent"
    )


def test_damaged_and_foreign_exports_change_nothing(desk, page, made, other, tmp_path):
    good = json.loads(export_of(made, lambda tile: "accept", **ALL).model_dump_json())
    good["decisions"][0] |= {"verdict": "reject", "reason": "blur"}
    files = {
        "changed": json.dumps(good),
        "foreign": export_of(other, lambda tile: "accept", **ALL).model_dump_json(),
        "cut": json.dumps(good)[:-30],
        "number": "3",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.json").write_text(text)
    desk.open(page)
    desk.press("a")
    for name, message in {
        "changed": "the digest does not fit",
        "foreign": "an export of another dataset",
        "cut": "not JSON",
        "number": "not an export",
    }.items():
        desk.give(tmp_path / f"{name}.json")
        assert message in desk.text("#alert")
        assert len(desk.marks()) == 1


def test_decisions_of_a_smaller_sheet_are_taken_over(desk, page, made, tmp_path):
    small = tmp_path / "small.json"
    small.write_text(export_of(made, lambda tile: "accept", n=30, rejected=5).model_dump_json())
    desk.open(page)
    desk.give(small)
    assert len(desk.marks()) == 35


@pytest.mark.parametrize("text", ["", "a", "x" * 55, "x" * 56, "x" * 63, "x" * 64, "ä€😀\n" * 50, "7" * 4000])
def test_the_digest_is_sha256(desk, page, text):
    if desk.driver.current_url != page.as_uri():
        desk.open(page)
    assert desk.js("return sha256(arguments[0])", text) == hashlib.sha256(text.encode()).hexdigest()


def test_a_browser_that_keeps_nothing_warns(desk, page):
    desk.open(page)
    desk.js("Storage.prototype.setItem = () => { throw new Error('full'); }")
    desk.press("a")
    assert "does not keep the marks" in desk.text("#alert")
    desk.js("saved = true")  # lets the next test leave the page


def test_nothing_is_fetched_and_the_policy_would_stop_it(desk, page):
    desk.open(page)
    desk.driver.get_log("performance")
    desk.driver.get_log("browser")
    desk.open(page, clean=False)
    desk.press("a", "w", "?")
    desk.js("document.querySelector('dialog[open]').close()")
    events = [json.loads(entry["message"])["message"] for entry in desk.driver.get_log("performance")]
    sent = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in sent if not url.startswith("data:")} == {page.as_uri()}
    assert desk.js("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))") == []
    assert desk.driver.get_log("browser") == []
    stopped = desk.driver.execute_async_script(
        """const done = arguments[0], seen = [];
        document.addEventListener('securitypolicyviolation', e => seen.push(e.effectiveDirective));
        const image = new Image(); image.src = 'https://example.invalid/a.png';
        const script = document.createElement('script'); script.textContent = 'window.ran = 1';
        document.body.append(script);
        fetch('https://example.invalid/').catch(() => setTimeout(() => done([seen.sort(), window.ran ?? 0]), 100));"""
    )
    assert stopped == [["connect-src", "img-src", "script-src-elem"], 0]


def test_every_picture_can_be_reached_and_tab_leads_through_and_out(desk, page, keys):
    desk.open(page)
    reached = desk.js(
        """return [...document.querySelectorAll('.tile')].map(t => { t.focus(); return document.activeElement === t &&
        t.getAttribute('aria-label').startsWith('Picture ') && t.tabIndex === 0; })"""
    )
    assert len(reached) == 48
    assert all(reached)
    desk.press("a")
    seen, outlines = [], set()
    for _ in range(40):
        desk.press(keys.TAB)
        seen.append(desk.js("return document.activeElement.id || document.activeElement.className"))
        if desk.js("return document.activeElement !== document.body"):
            outlines.add(desk.js("return getComputedStyle(document.activeElement).outline"))
    assert len(outlines) == 1
    assert "solid 3px" in outlines.pop()
    assert seen.count("tile") <= 3  # one stop for all pictures, not 48
    assert {"filter", "window", "undo", "reader", "import", "export-csv", "export-json", "help"} <= set(seen)
    unnamed = desk.js(
        """return [...document.querySelectorAll('button, select, input, img, progress, dialog')].filter(e =>
        !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() ||
          e.labels?.length || e.hasAttribute('alt'))).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []


def test_buttons_work_by_keyboard_without_marking_pictures(desk, page, keys):
    desk.open(page)
    desk.js("document.querySelector('#verdicts button:nth-child(3)').focus()")
    desk.press(keys.ENTER)
    assert list(desk.marks().values()) == ["blur"]
    desk.js("document.getElementById('window').focus()")
    desk.press(keys.SPACE)
    assert desk.text("#window-name") == "shadows lifted"
    assert len(desk.marks()) == 1


def luminance(colour):
    """Relative luminance (WCAG 2.2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(desk, page, scheme):
    desk.open(page, scheme=scheme)
    desk.press(*"a2")
    place = next(i for i, tile in enumerate(content_of(page)["tiles"]) if tile["arm"] == "rejected")
    desk.js("goTo(arguments[0])", place)
    pairs = desk.js(
        """const numbers = c => c.match(/[\\d.]+/g).map(Number);
        const ground = e => { for (; e; e = e.parentElement) {
            const c = numbers(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] > 0.5) return c.slice(0, 3); }
            return [255, 255, 255]; };
        return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('svg') &&
            !e.matches(':disabled') && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
            .map(e => [e.className || e.tagName, numbers(getComputedStyle(e).color).slice(0, 3), ground(e)])"""
    )
    assert len(pairs) > 60
    for name, colour, ground in pairs:
        dark, light = sorted([luminance(colour), luminance(ground)])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colour, ground)


@pytest.mark.parametrize("width", [420, 1366])
def test_nothing_is_wider_than_the_window(desk, page, width):
    size = {"width": width, "height": 768, "deviceScaleFactor": 1, "mobile": False}
    desk.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    desk.open(page)
    assert desk.js("return document.documentElement.scrollWidth") <= width
    desk.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_print_holds_the_pictures_of_the_page_and_no_tools(desk, page):
    desk.open(page)
    desk.press("a")
    desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = desk.js("return ['.tools', '#panel', '#page-after'].map(s => document.querySelector(s).checkVisibility())")
    shown = desk.js("return [...document.querySelectorAll('.tile')].every(t => t.checkVisibility())")
    desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden == [False, False, False]
    assert shown
