"""`hookcache dashboard`: a page of bounded size whose numbers are the report's, and bad input answered in one line."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from hookcache_ops import dashboard
from hookcache_ops.cli import main
from hookcache_ops.dashboard import log_query, tables
from hookcache_ops.dashboard.body import default_path, load
from hookcache_ops.dashboard.data import Collector
from hookcache_ops.dashboard.log_query import QueryError
from hookcache_ops.dashboard.tables import Table
from hookcache_ops.ledger.book import Ledger, fill
from hookcache_ops.ledger.summary import amounts, summarise
from hookcache_ops.receipts import Reading, read_receipts
from ops import receipt_samples as samples

ASSETS = Path(dashboard.__file__).with_name("assets")
MANY = list(samples.receipts(3_000, seed=13, days=6))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    file = tmp_path_factory.mktemp("logs") / "function.log"
    file.write_text("\n".join(samples.lines(MANY, duplicates=0.05)) + "\n")
    return str(file)


@pytest.fixture(scope="module")
def receipts(log):
    return list(read_receipts([log], Reading()))


def run(command: str, capsys, *arguments: str) -> tuple[int, str, str]:
    status = main([command, *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def page_data(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_totals_of_the_page_are_the_reports(log, capsys, tmp_path):
    """Dashboard totals = report totals = sum over receipts, to the last digit."""
    target = tmp_path / "page.html"
    status, out, _ = run("dashboard", capsys, log, "-o", str(target), "--json")
    _, reported, _ = run("report", capsys, log, "--json")
    told, wanted = json.loads(out), json.loads(reported)["totals"]
    rows = page_data(target.read_text())["rows"]

    assert status == 0
    assert told["totals"] == wanted
    assert sum(row[4] for row in rows) == len(MANY) == wanted["receipts"]


@pytest.mark.parametrize("row_limit", [10_000, 400, 40])
def test_wider_buckets_change_no_total(row_limit, receipts):
    """However far rows are merged to keep the page small, the sums stay."""
    collector = Collector([], row_limit)
    for receipt in receipts:
        collector.add(receipt)

    assert len(collector.ledger.rows) <= row_limit
    assert amounts(collector.ledger.totals()) == amounts(fill(Ledger(), receipts).totals())


def test_the_page_does_not_grow_with_the_number_of_receipts():
    """A page of millions of receipts stays a file one can mail: rows and table groups are bounded."""
    sizes = []
    for count in (4_000, 12_000):
        collector = Collector(load(default_path()), row_limit=200)
        for receipt in read_lines(samples.copies(count, duplicates=0)):
            collector.add(receipt)
        sizes.append(len(json.dumps(collector.page_data(summarise(collector.ledger, Reading(), "step")))))

    assert sizes[1] < sizes[0] * 1.6


def test_times_of_checked_hits_are_in_the_charts():
    """What CloudWatch's own charts show, and the page's table: a hit whose answer a truth check compared has its time too."""
    hits = [samples.receipt("hit_table", request_id=f"hit-{n}", Latency=5.0) for n in range(9)]
    checked = {"check": {"result": "agrees", "fields": 3, "differing": 0, "paths": []}}
    hits.append(samples.receipt("hit_table", request_id="checked", Latency=4_000.0, BackendLatency=3_990.0, **checked))
    alone = samples.receipt("hit_memory", request_id="alone", Latency=2_000.0, **checked)
    reading, collector = Reading(), Collector([])
    for receipt in read_lines(json.dumps(one) for one in [*hits, alone]):
        collector.add(receipt)
    data = collector.page_data(summarise(collector.ledger, reading, "step"))
    at = {name: number for number, (name, _) in enumerate(data["metrics"])}
    times = {data["outcomes"][row[3]]: row[6] for row in data["rows"]}

    assert times["hit_table"][at["Latency"]][:4] == [10, 4_045.0, 5.0, 4_000.0]
    assert times["hit_table"][at["BackendLatency"]][:4] == [1, 3_990.0, 3_990.0, 3_990.0]
    assert times["hit_memory"][at["Latency"]][:4] == [1, 2_000.0, 2_000.0, 2_000.0]


def read_lines(lines):
    import io

    return read_receipts(["-"], Reading(), stdin=io.BytesIO("\n".join(lines).encode()))


def test_a_table_is_what_its_query_says(receipts):
    """Logs Insights' grouping, filtering and aggregates, over the same receipts."""
    query = 'filter outcome = "bypass" or outcome = "failed" | stats count(*) as n, sum(Cost.0) as c, avg(Latency.0) as a by reason, context'
    table = Table(log_query.parse(query))
    for receipt in receipts:
        table.add(receipt)
    found = {
        group: [sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)]
        for group, cells in grouped(table).items()
    }
    wanted: dict[tuple[str, str], list[float]] = {}
    for one in MANY:
        if one["outcome"] in {"bypass", "failed"}:
            entry = wanted.setdefault((one["reason"], one["context"]), [0, 0.0])
            entry[0] += 1
            entry[1] += one["Cost"][0]

    assert found == {group: [count, pytest.approx(cost)] for group, (count, cost) in wanted.items()}


def grouped(table: Table) -> dict:
    found: dict = {}
    for group, _, values in table.rows():
        found.setdefault(group, []).append(values)
    return found


def test_the_most_repeated_pages_survive_any_number_of_unique_ones(monkeypatch):
    """Bounded memory for tables: the rarest groups make room, and the bound of the error is stated."""
    monkeypatch.setattr(tables, "GROUPS", 50)
    many = [samples.receipt("hit_table", request_id=f"u{n}", key_id=f"{n:016x}") for n in range(1_000)]
    popular = [samples.receipt("hit_table", request_id=f"p{n}", key_id="f" * 16) for n in range(200)]
    mixed = [one for pair in zip(many[:200], popular, strict=True) for one in pair] + many[200:]
    table = Table(log_query.parse('filter key_id != "" | stats count(*) as n by key_id | sort n desc | limit 5'))
    for receipt in read_lines(json.dumps(one) for one in mixed):
        table.add(receipt)
    first_group, _, values = table.rows()[0]

    assert first_group == ("f" * 16,)
    assert 200 - table.uncertain <= values[0] <= 200
    assert len(table._groups) <= 2 * 50


def test_tables_widen_their_buckets_and_keep_their_sums(monkeypatch, receipts):
    monkeypatch.setattr(tables, "CELLS", 60)
    table = Table(log_query.parse("stats count(*) as n, pct(Latency.0, 50) as p, min(Latency.0) as low by outcome"))
    for receipt in receipts:
        table.add(receipt)

    assert table.width_seconds > 300
    assert sum(values[0] for _, _, values in table.rows()) == len(MANY)
    assert sum(values[1].count for _, _, values in table.rows()) == len(MANY)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("parse @message 'x'", "'parse' is not known"),
        ("filter outcome =", "compared with nothing"),
        ("filter outcome ~ 1 | stats count(*) as n", "cannot read"),
        ("filter (outcome = 'x' | stats count(*) as n", "not closed"),
        ("stats median(Latency.0) as m", "'median' is not known"),
        ("stats pct(Latency.0) as m", "a field and a percentage"),
        ("fields @timestamp", "has no stats"),
        ("stats count(*) as n by reason | sort m desc", "sort names 'm'"),
        ("filter outcome = miss | stats count(*) as n", "neither a text in quotes nor a number"),
    ],
)
def test_a_query_outside_the_understood_part_is_named(query, told):
    with pytest.raises(QueryError) as raised:
        log_query.parse(query)

    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('outcome = "miss"', True),
        ('outcome != "miss"', False),
        ('outcome in ["hit_table", "miss"]', True),
        ('outcome in ["hit_table"]', False),
        ("ispresent(Cost.0)", True),
        ("ispresent(nothing)", False),
        ("not ispresent(nothing) and Cost.0 > 0.1", True),
        ('(outcome = "x" or Cost.0 >= 0.5) and units_spent.pages = 3', True),
        ("nothing != 1", False),
        ("outcome > 3", False),
        ("Cost.1 = 0", False),
    ],
)
def test_conditions_of_queries(condition, holds):
    plan = log_query.parse(f"filter {condition} | stats count(*) as n by outcome")

    assert plan.test(samples.receipt("miss", Cost=0.5, units_spent={"pages": 3})) is holds


def test_the_page_is_one_file_that_loads_nothing(log, capsys, tmp_path):
    """Opens offline: everything inline, and a policy that forbids the rest."""
    target = tmp_path / "page.html"
    run("dashboard", capsys, log, "-o", str(target))
    page = target.read_text()
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]*)"', page)

    assert loaded == ["data:,"]
    assert "default-src 'none'" in page
    assert "Leon Sorokin" in page  # the licence of the chart library travels with it
    assert not re.search(r"/\*\{\w+\}\*/", page)


def test_names_in_a_log_cannot_leave_the_data(capsys, tmp_path):
    """A function called </script> stays data."""
    file, target = tmp_path / "log", tmp_path / "page.html"
    file.write_text(json.dumps(samples.receipt("miss", function="</script><script>alert(1)//")) + "\n")
    run("dashboard", capsys, str(file), "-o", str(target))

    assert "<script>alert" not in target.read_text()
    assert page_data(target.read_text())["functions"] == ["</script><script>alert(1)//"]


def test_names_in_a_log_do_not_turn_the_page_around(capsys, tmp_path):
    """T11: the character that turns the direction of writing turned the names beside it in the page's title."""
    file, target = tmp_path / "log", tmp_path / "page.html"
    file.write_text(json.dumps(samples.receipt("miss", function="f\u202ernp", context="OCR\x1b")) + "\n")
    run("dashboard", capsys, str(file), "-o", str(target))

    assert page_data(target.read_text())["functions"] == ["f\\u202ernp"]
    assert "\\u001b" not in json.dumps(page_data(target.read_text())).replace("\\\\u001b", "")


def test_the_vendored_library_is_the_published_one():
    """assets/VENDORED.md names version, licence and digest; the file is untouched."""
    told = (ASSETS / "VENDORED.md").read_text()

    for name in ("uPlot.iife.min.js", "uPlot.LICENSE"):
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() in told


def test_another_body_is_drawn(log, capsys, tmp_path):
    """An operator's own dashboard, as exported from the console."""
    body = tmp_path / "mine.json"
    metric = [
        "GenAIIDP/HookCache",
        "Pages",
        "MeteringKey",
        "OCR/lambda_hook/GENAIIDP-cache-mistral",
        {"id": "m1", "stat": "Sum", "label": "Pages"},
    ]
    widget = {
        "type": "metric",
        "x": 0,
        "y": 0,
        "width": 24,
        "height": 6,
        "properties": {"title": "Mine", "metrics": [metric]},
    }
    body.write_text(json.dumps({"widgets": [widget]}))
    status, out, _ = run("dashboard", capsys, log, "-o", str(tmp_path / "p.html"), "--body", str(body), "--json")

    assert (status, json.loads(out)["widgets"]) == (0, ["Mine"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.log"], "missing.log: no such file"),
        (["{log}", "-o", "/nowhere/page.html"], "choose a folder that exists"),
        (["{log}", "--body", "/nowhere/body.json"], "give the body's JSON with --body"),
        (["{log}", "--body", "{log}"], "no JSON"),
        (["{log}", "--body", "{empty}"], "no list of widgets"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy_and_status_2(arguments, told, log, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    status, _, err = run("dashboard", capsys, *(argument.format(log=log, empty=empty) for argument in arguments))

    assert status == 2
    assert err.count("\n") == 1
    assert told in err


def test_no_receipts_is_said_and_is_status_1(tmp_path, capsys):
    """Nothing to draw is no page: one that was drawn before stays, and none is left that looks like a quiet period."""
    file, page, kept = tmp_path / "empty.log", tmp_path / "p.html", tmp_path / "kept.html"
    file.write_text("START RequestId: x\n")
    kept.write_text("yesterday's")
    status, out, err = run("dashboard", capsys, str(file), "-o", str(page))
    again, told, _ = run("dashboard", capsys, str(file), "-o", str(kept), "--json")

    assert (1, "", 1) == (status, out, again)
    assert "no receipts found, so no page was written; give the log" in err
    assert (False, "yesterday's") == (page.exists(), kept.read_text())
    assert (None, 0) == (json.loads(told)["page"], json.loads(told)["totals"]["receipts"])
