"""The dashboard page in a real browser, offline: it draws, filters change its numbers, and its totals are the report's."""

from __future__ import annotations

import json
import os
import shutil
import time

import boto3
import pytest

from hookcache_ops.cli import main
from ops import receipt_samples as samples
from ops import simulate_logs
from ops.test_metrics_source import StubCloudWatch

try:
    from playwright.sync_api import Error, expect, sync_playwright
except ImportError:
    sync_playwright = None

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = (
    "Chromium is not installed"
    if CHROMIUM is None
    else "the package playwright is not installed"
    if sync_playwright is None
    else ""
)
WAYS = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "tablet": {"viewport": {"width": 820, "height": 1100}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True},
}
PATIENCE_MS = 100_000
QUIET_CARDS = ("Tokens per Minute", "Pages per Minute", "Cost with and without the cache", "Latency of invocations")
MANY = list(samples.receipts(4_000, seed=5, days=5))
PAINTED = "plot => { const c = plot.querySelector('canvas'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return d.some(v => v) }"

pytestmark = pytest.mark.skipif(
    bool(MISSING) and os.environ.get("HOOKCACHE_REQUIRE_BROWSER") != "1", reason=f"needs a browser: {MISSING}"
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "function.log").write_text("\n".join(samples.lines(MANY, duplicates=0.05)) + "\n")
    assert main(["dashboard", str(folder / "function.log"), "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser():
    if MISSING:
        pytest.fail(f"HOOKCACHE_REQUIRE_BROWSER=1, and {MISSING}")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS, timeout=PATIENCE_MS)
        yield running
        running.close()


@pytest.fixture
def opened(browser, page_file):
    """Opens the page one way; afterwards nothing may have been complained about or asked of the network."""
    complaints: list[str] = []
    contexts = []

    def open_page(way: str = "light"):
        context = browser.new_context(offline=True, **WAYS[way])
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: complaints.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        page.goto(page_file.as_uri())
        page.wait_for_function("window.hookcache !== undefined")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def reported(page_file, capsys, *arguments: str) -> dict:
    capsys.readouterr()
    main(["report", str(page_file.with_name("function.log")), "--json", *arguments])
    return json.loads(capsys.readouterr().out)


def same(shown: dict, wanted: dict) -> None:
    """Counts and units to the unit, money to a billionth."""
    for name in ("receipts", "requests", "hits", "units_spent", "units_saved", "unpriced_units"):
        assert shown[name] == wanted[name], name
    for name in ("cost", "saved_cost", "own_cost", "net_savings", "cost_with_cache", "cost_without_cache"):
        assert shown[name] == pytest.approx(wanted[name], abs=1e-9), name
    assert shown["hit_ratio"] == pytest.approx(wanted["hit_ratio"], abs=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_the_page_draws_every_widget(way, opened):
    """Both themes and all widths: every chart is painted, nothing overflows, nothing is complained about."""
    page = opened(way)

    assert page.locator(".card.chart").count() == 12
    assert page.locator(".card.table").count() == 6
    assert page.locator(".card.tile").count() == 5
    assert all(plot.evaluate(PAINTED) for plot in page.locator(".plot").all())
    assert page.evaluate("document.documentElement.scrollWidth") <= WAYS[way]["viewport"]["width"]
    assert page.evaluate("document.documentElement.dataset.theme") == WAYS[way]["color_scheme"]


def test_totals_are_the_reports(opened, page_file, capsys):
    """Page totals = report totals = sum over receipts."""
    page = opened()

    same(page.evaluate("window.hookcache.totals()"), reported(page_file, capsys)["totals"])
    assert page.locator("#totals").get_by_text("4,000", exact=True).count() == 1


def test_the_first_screen_says_what_was_saved(opened, page_file, capsys):
    """One sentence above the charts, for whoever reads no further; it follows the filters."""
    page = opened("phone")
    told = reported(page_file, capsys)["totals"]
    sentence = page.locator("#headline").inner_text()

    assert sentence.startswith(f"{told['hits']:,} of 4,000 invocations were answered from the cache.")
    assert f"net savings ${told['net_savings']:,.2f}, " in sentence
    after = told["net_savings"] - told["custom_metrics"]["cost"]
    assert f"${abs(after):,.2f} after CloudWatch's charge for the metrics (estimate)." in sentence
    page.select_option("#step", "OCR")
    of_step = page.locator("#headline").inner_text()
    assert sentence != of_step
    assert "charge" not in of_step  # it is known for the whole period only


def test_a_page_of_metrics_says_what_it_cannot_show(browser, tmp_path, monkeypatch):
    """Drawn from GetMetricData: charts and totals are there, each table of requests names the remedy."""
    stub = StubCloudWatch(MANY)
    monkeypatch.setattr(boto3, "client", lambda service: stub)
    arguments = ("--since", "2026-10-01", "--until", "2026-10-08", "-o", str(tmp_path / "page.html"))
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: (samples.START_MS + 30 * samples.DAY_MS) / 1000)
        assert main(["dashboard", "metrics:GenAIIDP/HookCache", *arguments]) == 0
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto((tmp_path / "page.html").as_uri())
    totals = page.evaluate("window.hookcache.totals()")
    unknown = page.locator(".card.table").get_by_text("this table needs receipts").count()
    shown = page.locator(".card.tile .value").all_inner_texts()
    told = page.locator("#reading").inner_text()
    page.close()

    assert "went quiet before is missing from this period. Found: " in told
    assert (4_000, 6) == (totals["requests"], unknown)
    assert "–" not in shown


def test_without_any_price_no_amount_is_shown_as_nothing(browser, tmp_path):
    """P55: sentence, tiles, charts, tables and totals say that there is no price; the cache's own cost is known."""
    unpriced = {"Unpriced": 1, "OwnCost": 0.000031, "unpriced_units": {"pages": 2}, "context": "OCR"}
    many = [
        samples.receipt("miss", request_id="a", units_spent={"pages": 2}, **unpriced),
        samples.receipt("hit_table", request_id="b", units_saved={"pages": 2}, **unpriced),
        samples.receipt("miss", request_id="c", context="Extraction", Cost=0.5, OwnCost=0.000031),
    ]
    (tmp_path / "function.log").write_text("\n".join(json.dumps(one) for one in many) + "\n")
    assert main(["dashboard", str(tmp_path / "function.log"), "-o", str(tmp_path / "page.html")]) == 0
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto((tmp_path / "page.html").as_uri())
    mixed = page.get_by_text("no price").count()
    page.select_option("#step", "OCR")
    sentence = page.locator("#headline").inner_text()
    unknown = page.locator("#totals").get_by_text("no price", exact=True).count()
    shown = {title: card_of(page, title).inner_text() for title in MONEY_CARDS}
    drawn = {widget["title"]: widget["now"] for widget in page.evaluate("window.hookcache.widgets()")}
    spoken = card_of(page, "Money saved").locator(".plot").get_attribute("aria-label")
    page.close()

    assert mixed == 0  # something has a price: its amounts are told, and what is missing is counted as such
    assert "set PriceAs and PricesObject" in sentence
    assert "$0.00" not in sentence
    assert 5 == unknown
    assert {title: text.count("no price") for title, text in shown.items()} == MONEY_CARDS
    assert [title for title, text in shown.items() if "$" in text] == ["Money saved"]
    assert "Own cost so far $0.000062" in " ".join(shown["Money saved"].split())
    assert "Net savings so far no price, Own cost so far $0.000062" in spoken
    assert set(drawn["Money saved"]["Net savings so far"]["values"]) == {None}
    assert "No price for the units of this selection" in shown["Cost with and without the cache"]


MONEY_CARDS = {
    "Net savings": 1,
    "Money saved": 1,
    "Cost with and without the cache": 2,
    "Pages asked for most often": 1,
    "Why requests missed": 1,
}
"""How often each card that shows money says `no price`, of one page and one miss without a price."""


def card_of(page, title):
    return page.locator(".card").filter(has=page.get_by_role("heading", name=title, exact=True))


def test_the_step_filter_changes_the_numbers_to_that_step(opened, page_file, capsys):
    """A filter recomputes every tile, chart and table from the rows of its choice."""
    page = opened()
    before = page.locator(".card.tile .value").all_inner_texts()
    page.select_option("#step", "OCR")
    groups = {group["group"]: group for group in reported(page_file, capsys, "--by", "step")["groups"]}

    same(page.evaluate("window.hookcache.totals()"), groups["OCR"])
    assert before != page.locator(".card.tile .value").all_inner_texts()
    steps = page.evaluate(
        "window.hookcache.widgets().find(w => w.title === 'Pages asked for most often').now.map(row => row[1])"
    )
    assert set(steps) == {"OCR"}


def test_the_function_filter_and_reset(opened, page_file, capsys):
    page = opened()
    page.select_option("#function", samples.FUNCTIONS[1])
    groups = {group["group"]: group for group in reported(page_file, capsys, "--by", "function")["groups"]}
    same(page.evaluate("window.hookcache.totals()"), groups[samples.FUNCTIONS[1]])

    page.click("#reset")

    same(page.evaluate("window.hookcache.totals()"), reported(page_file, capsys)["totals"])


def test_the_time_range_chooses_days(opened, page_file, capsys):
    """From and to are UTC, as the report's --since and --until."""
    page = opened()
    page.fill("#from", "2026-10-02T00:00")
    page.dispatch_event("#from", "change")
    page.fill("#to", "2026-10-04T00:00")
    page.dispatch_event("#to", "change")

    same(
        page.evaluate("window.hookcache.totals()"),
        reported(page_file, capsys, "--since", "2026-10-02", "--until", "2026-10-04")["totals"],
    )
    assert page.input_value("#range") == "own"


def test_dragging_over_a_chart_zooms_all(opened):
    page = opened()
    plot = page.locator(".card.chart .u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 30, steps=5)
    page.mouse.up()

    page.wait_for_function("window.hookcache.totals().requests < 4000")
    assert 0 < page.evaluate("window.hookcache.totals().requests")
    page.click("#reset")
    assert page.evaluate("window.hookcache.totals().requests") == 4_000


def test_charts_agree_with_the_totals(opened):
    """What a chart says of the whole selection is what the totals say."""
    page = opened()
    totals = page.evaluate("window.hookcache.totals()")
    shown = {widget["title"]: widget["now"] for widget in page.evaluate("window.hookcache.widgets()")}

    assert shown["Net savings"]["Saved minus own cost (USD)"] == pytest.approx(totals["net_savings"], abs=1e-9)
    assert shown["Hit ratio"]["Hits of all invocations (%)"] == pytest.approx(100 * totals["hit_ratio"], abs=1e-9)
    assert shown["Money saved"]["Net savings so far"]["values"][-1] == pytest.approx(totals["net_savings"], abs=1e-9)
    cost = [
        value for value in shown["Cost with and without the cache"]["Without the cache"]["values"] if value is not None
    ]
    assert sum(cost) == pytest.approx(totals["cost_without_cache"], abs=1e-9)
    assert sum(row[1] for row in shown["Latency of hits and misses"]) == totals["requests"]


def test_hovering_shows_values_at_that_time(opened):
    page = opened()
    card = page.locator(".card.chart").nth(1)
    card.scroll_into_view_if_needed()

    assert card.locator(".when").inner_text() == "whole selection"
    card.locator(".u-over").hover()
    expect(card.locator(".when")).not_to_have_text("whole selection", timeout=PATIENCE_MS)


def test_the_keyboard_reads_a_chart(opened):
    """Arrow keys step through time and say the values; charts have names, tables and focus."""
    page = opened()
    plot = page.locator(".plot").first
    plot.focus()
    page.keyboard.press("End")
    said = page.locator("#said").inner_text()

    assert said.startswith("Hit ratio by step, ")
    assert "OCR" in said
    assert "Arrow keys" in plot.get_attribute("aria-label")
    page.locator(".card.chart details summary").first.click()
    rows = page.locator(".card.chart").first.locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() > 10


def test_theme_button_changes_colours(opened):
    page = opened("light")
    page.click("#theme")
    page.click("#theme")

    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert "dark" in page.get_attribute("#theme", "aria-label")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_can_be_read(theme, opened):
    """Contrast of every text colour against its card: at least 4.5 to 1 (WCAG AA)."""
    page = opened(theme)
    script = """() => {
      const rgb = text => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = text; c.fillRect(0,0,1,1); return [...c.getImageData(0,0,1,1).data].slice(0,3); };
      const light = text => { const [r,g,b] = rgb(text).map(v => { v /= 255; return v <= 0.03928 ? v/12.92 : ((v+0.055)/1.055)**2.4; }); return 0.2126*r+0.7152*g+0.0722*b; };
      const css = getComputedStyle(document.documentElement);
      const ratio = (a,b) => { const [x,y] = [light(a),light(b)].sort((p,q) => q-p); return (x+0.05)/(y+0.05); };
      const of = name => css.getPropertyValue(name).trim();
      return ['--ink','--soft','--accent'].flatMap(ink => ['--card','--paper'].map(paper => ratio(of(ink), of(paper))));
    }"""

    assert min(page.evaluate(script)) >= 4.5


@pytest.mark.parametrize("way", WAYS)
def test_no_table_hides_a_value_at_its_side(way, opened):
    """On a phone too: what must be scrolled sideways is not seen, and a total least of all. Lines that may not wrap are the control."""
    page = opened(way)
    script = "[...document.querySelectorAll('#sums .wide, .table .wide')].filter(e => e.scrollWidth > e.clientWidth + 1).length"

    assert page.evaluate(script) == 0
    page.add_style_tag(content="#totals th, #totals td { white-space: nowrap; padding-left: 60vw }")
    assert page.evaluate(script) == 1


def test_every_control_has_a_name(opened):
    page = opened()
    names = page.evaluate(
        "[...document.querySelectorAll('select, input, button, [role=img], [role=region]')].map(e => e.labels?.[0]?.textContent || e.getAttribute('aria-label') || document.getElementById(e.getAttribute('aria-labelledby') || '')?.textContent || e.textContent)"
    )

    assert len(names) > 20
    assert all(name and name.strip() for name in names)


def test_an_empty_selection_says_so(opened):
    """A step of one function and the other function: nothing, and no error."""
    page = opened()
    page.select_option("#step", "OCR")
    page.select_option("#function", samples.FUNCTIONS[1])

    assert page.evaluate("window.hookcache.totals().requests") == 0
    assert page.locator(".plot .none").count() == 12


def test_the_browser_check_can_fail(browser):
    """Negative control: a page with an error is noticed by what the other tests listen to."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    with page.expect_event("pageerror") as complaint:
        page.set_content("<script>nothing.here()</script>")

    assert "nothing" in str(complaint.value)
    with pytest.raises(Error):
        page.evaluate("window.hookcache.totals()")
    page.close()


@pytest.mark.parametrize("few", [60, 4_000], ids=["promise", "control: no gaps"])
def test_a_value_with_none_beside_it_is_drawn(few, browser, tmp_path):
    """A function that is called twice a day: its values stand alone, no line shows one, and most charts were empty."""
    (tmp_path / "quiet.log").write_text("\n".join(samples.lines(samples.receipts(few, days=30))) + "\n")
    main(["dashboard", str(tmp_path / "quiet.log"), "-o", str(tmp_path / "quiet.html")])
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto((tmp_path / "quiet.html").as_uri())
    coloured = """plot => { const c = plot.querySelector('canvas'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i + 3] > 200 && Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 90; return n; }"""
    painted = {title: card_of(page, title).locator(".plot").evaluate(coloured) for title in QUIET_CARDS}
    page.close()

    assert [] == [title for title, points in painted.items() if points < 300], painted


@pytest.mark.parametrize("command", ["dashboard", "simulate", "report"])
def test_paper_shows_the_whole_of_every_table(command, browser, tmp_path):
    """Nobody scrolls it: `net savings`, the latencies, and every row from the eleventh on were not printed."""
    log, target = tmp_path / "function.log", tmp_path / "page.html"
    log.write_text("\n".join(samples.lines(MANY)) + "\n")
    assert main([command, str(log), *(["--format", "html"] if command == "report" else []), "-o", str(target)]) == 0
    page = browser.new_page(viewport={"width": 740, "height": 1_000})  # a sheet of Letter within Chromium's margins
    page.set_default_timeout(PATIENCE_MS)
    page.goto(target.as_uri())
    page.emulate_media(media="print")
    cut = page.evaluate(
        "[...document.querySelectorAll('.wide')].filter(e => e.checkVisibility() && (getComputedStyle(e).overflow !== 'visible' || e.querySelector('table').getBoundingClientRect().right > 740)).length"
    )
    tables = page.locator(".wide:visible").count()
    page.close()

    assert (0, True) == (cut, tables > 0)


def test_a_long_word_is_broken_on_a_phone(browser, tmp_path):
    """The setting that simulate recommends ran out of the page at its side."""
    log, target = tmp_path / "function.log", tmp_path / "page.html"
    log.write_text("\n".join(json.dumps(line) for line in simulate_logs.freshness(400)) + "\n")
    assert main(["simulate", str(log), "-o", str(target)]) == 0
    page = browser.new_page(viewport={"width": 320, "height": 800})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(target.as_uri())
    told = page.locator("#headline").inner_text()
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()

    assert "HOOKCACHE_FRESH_SECONDS=" in told
    assert wide <= 320


def test_a_log_of_seconds_is_a_chart_too(browser, tmp_path):
    """A demo's few receipts are drawn as a course of time, not as one point; rates stay per minute."""
    (tmp_path / "short.log").write_text("\n".join(samples.lines(samples.receipts(60, days=90 / 86_400))) + "\n")
    main(["dashboard", str(tmp_path / "short.log"), "-o", str(tmp_path / "short.html")])
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto((tmp_path / "short.html").as_uri())
    shown = {widget["title"]: widget["now"] for widget in page.evaluate("window.hookcache.widgets()")}
    times = shown["Money saved"]["Net savings so far"]["times"]
    rates = [line["values"] for line in shown["Invocations per Minute by outcome"].values()]
    page.close()

    assert 10 <= len(times) <= 31
    assert sum(value or 0 for line in rates for value in line) * (times[1] - times[0]) / 60 == pytest.approx(60)
