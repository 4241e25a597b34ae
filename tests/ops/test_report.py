"""`hookcache report`: sums that add up, answers a person can use, and bad input answered in one line."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import shutil
import subprocess
import tracemalloc
from html.parser import HTMLParser

import pytest
from bench import report_check

from hookcache_ops.cli import main
from hookcache_ops.ledger import render, render_html
from hookcache_ops.ledger.book import NAMES, Ledger, fill
from hookcache_ops.ledger.histogram import Histogram
from hookcache_ops.ledger.seen import SeenRequests
from hookcache_ops.ledger.summary import BY, summarise
from hookcache_ops.receipts import Reading, read_receipts
from missing import missing
from ops import receipt_samples as samples

MANY = list(samples.receipts(2_000, seed=11))


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(["report", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    file = tmp_path_factory.mktemp("logs") / "function.log"
    file.write_text("\n".join(samples.lines(MANY, duplicates=0.05)) + "\n")
    return str(file)


def metric(name: str, many=MANY) -> float:
    return math.fsum(one.get(name, [0])[0] for one in many)


def units(member: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in MANY:
        for unit, amount in one[member].items():
            found[unit] = found.get(unit, 0) + amount
    return {unit: amount for unit, amount in sorted(found.items()) if amount}


def test_totals_are_the_sums_over_receipts(log, capsys):
    """P31, P32: nothing is lost or counted twice on the way into a report."""
    status, out, _ = run(capsys, log, "--json")
    totals = json.loads(out)["totals"]

    assert status == 0
    assert totals["requests"] == len(MANY) == totals["receipts"]
    assert totals["counts_agree"] is True
    assert totals["metrics"] == {name: metric(name) for name in totals["metrics"]}
    assert [totals["cost"], totals["saved_cost"], totals["own_cost"]] == pytest.approx(
        [metric("Cost"), metric("SavedCost"), metric("OwnCost")], abs=1e-9
    )
    assert totals["units_spent"] == units("units_spent")
    assert totals["units_saved"] == units("units_saved")
    assert totals["unpriced_units"] == units("unpriced_units") != {}


@pytest.mark.parametrize("by", BY)
def test_groups_sum_to_the_totals(by, log, capsys):
    """P31: by day, step, function or outcome, the rows are the whole."""
    _, out, _ = run(capsys, log, "--json", "--by", by)
    told = json.loads(out)

    for key in ("requests", "hits", "receipts"):
        assert sum(group[key] for group in told["groups"]) == told["totals"][key]
    for key in ("cost", "saved_cost", "own_cost", "net_savings"):
        assert math.fsum(group[key] for group in told["groups"]) == pytest.approx(told["totals"][key], abs=1e-11)
    assert len(told["groups"]) > 1


def test_what_the_period_would_have_cost_without_the_cache():
    """P56: without = spent + saved; with = spent + own; net = the difference."""
    many = [
        samples.receipt("miss", request_id="a", Cost=0.5, OwnCost=0.01, units_spent={"pages": 5}),
        samples.receipt("hit_table", request_id="b", SavedCost=0.5, OwnCost=0.02, units_saved={"pages": 5}),
        samples.receipt(
            "hit_memory", request_id="c", SavedCost=0.5, OwnCost=0.01, units_saved={"pages": 5}, replay=True
        ),
    ]
    told = summary(many)

    assert told.totals["cost_without_cache"] == pytest.approx(1.5)
    assert told.totals["cost_with_cache"] == pytest.approx(0.54)
    assert told.totals["net_savings"] == pytest.approx(0.96)
    assert told.totals["known_retries"] == {"receipts": 1, "saved_cost": 0.5}
    sentence = render.headline(told)
    assert "would have cost $1.50; with it, it cost $0.54: net savings $0.96, " in sentence
    charge = told.totals["custom_metrics"]["cost"]
    assert sentence.endswith(f", {render.money(0.96 - charge)} after CloudWatch's charge for the metrics (estimate).")


def test_what_was_refused_used_and_passed_over_is_told(tmp_path, capsys):
    """P14, P31, P32, P56: each figure beside the money, and whether the receipts add up."""
    first = {"time_ms": samples.START_MS, "refusal": "truncated"}
    many = [
        samples.receipt("miss", request_id="a", cold_start=True, **first),
        samples.receipt("miss", request_id="b", **first),
        samples.receipt("hit_table", request_id="c", units_charged={"pages": 3}),
        samples.receipt("miss", request_id="d", schema=99),
        samples.receipt("miss", request_id="e", time_ms=samples.START_MS + 86_400_000),
    ]
    (tmp_path / "function.log").write_text("\n".join(map(json.dumps, many)))
    _, out, _ = run(capsys, str(tmp_path / "function.log"), "--until", "2026-10-02", "--json")
    told = json.loads(out)
    totals, reading = told["totals"], told["reading"]

    assert (3, 1, {"truncated": 2}, {"pages": 3}, 3) == (
        totals["receipts"],
        totals["cold_starts"],
        totals["refusals"],
        totals["units_charged"],
        totals["own_units"]["lambda_requests"],
    )
    assert (1, 1, True) == (reading["newer_schema"], reading["outside_the_period"], totals["counts_agree"])
    broken = samples.receipt("miss", request_id="a") | {"Misses": [0.0]}
    assert not summary([broken]).totals["counts_agree"]


def test_observe_says_what_serving_would_have_saved():
    """P50, P57: of calls with an answer at hand, their cost; no savings are booked, and answers that differ are counted."""
    seen = {"mode": "observe", "Cost": 0.5}
    told = summary(
        [
            samples.receipt("observe", reason="absent", request_id="a", **seen),
            samples.receipt("observe", request_id="b", would_hit=True, agrees=True, **seen),
            samples.receipt("observe", request_id="c", would_hit=True, agrees=False, **seen),
            samples.receipt("miss", request_id="d", Cost=0.5),
        ]
    )

    assert told.totals["observed"] == {"receipts": 3, "would_hit": 2, "would_save": 1.0, "answers_that_differ": 1}
    assert told.totals["saved_cost"] == 0
    assert (
        "$1.00: 2 of 3 calls (66.7 %) had an answer at hand; 1 of those differ"
        in dict(render.facts(told))["Observed, and would have saved"]
    )


def test_without_observe_nothing_is_said_of_it():
    """P50: one row less."""
    assert "Observed, and would have saved" not in dict(render.facts(summary([samples.receipt("miss")])))


def test_a_cache_that_costs_more_than_it_saves_says_so():
    """P56: net savings may be negative and are shown so."""
    told = summary([samples.receipt("miss", OwnCost=0.25)])

    assert "net savings -$0.25" in render.headline(told)


def test_the_hit_ratio_has_all_invocations_below_the_line():
    """P57: bypasses and failures count; stale, refresh and observe are no hits."""
    outcomes = [
        "hit_memory",
        "hit_table",
        "collapsed",
        "miss",
        "stale",
        "refresh",
        "observe",
        "bypass",
        "failed",
        "failed",
    ]
    told = summary([samples.receipt(outcome, request_id=str(at)) for at, outcome in enumerate(outcomes)])

    assert (told.totals["hits"], told.totals["requests"], told.totals["hit_ratio"]) == (3, 10, 0.3)
    assert told.totals["outcomes"]["Misses"] == 4


def test_a_unit_without_a_price_is_counted_by_name_and_never_priced():
    """P55: unpriced is neither 0 nor a neighbour's price."""
    told = summary(
        [
            samples.receipt(
                "miss", units_spent={"pages": 1, "figures": 3}, unpriced_units={"figures": 3}, Unpriced=1, Cost=0.004
            )
        ]
    )

    assert told.totals["unpriced_units"] == {"figures": 3}
    assert told.totals["cost"] == 0.004
    assert "3 figures: not in the money above" in render.text(told)


UNPRICED = [
    samples.receipt(
        "miss",
        request_id="a",
        OwnCost=0.000031,
        Unpriced=1,
        units_spent={"pages": 2},
        unpriced_units={"pages": 2},
    ),
    samples.receipt(
        "hit_table",
        request_id="b",
        Unpriced=1,
        replay=True,
        units_saved={"pages": 2},
        unpriced_units={"pages": 2},
    ),
    samples.receipt(
        "observe",
        request_id="c",
        mode="observe",
        would_hit=True,
        Unpriced=1,
        units_spent={"pages": 1},
        unpriced_units={"pages": 1},
    ),
]


def test_without_any_price_no_amount_is_told_but_the_own_cost():
    """P55: the sentence at the top says how much has no price and what to set; no form has a 0 for it."""
    told = summary(UNPRICED)
    sentence = render.headline(told)
    rows = dict(render.facts(told))

    assert "not known: 5 pages without a price. Set PriceAs and PricesObject" in sentence
    assert sentence.endswith("own cost was $0.000031 (estimate).")
    for form in (render.text(told), render_html.to_html(told)):
        assert "$0.00 " not in form
        assert "$0.00<" not in form
    assert {render.UNKNOWN} == {rows[each] for each in ("Spent on the backend", "Saved by hits", "Net savings")}
    assert rows["Observed, and would have saved"].startswith(f"{render.UNKNOWN}: 1 of 1 calls")
    assert [True, True] == [each["cost_unknown"] for each in (told.to_json()["totals"], told.to_json()["groups"][0])]


def test_where_some_units_have_no_price_the_sentence_says_which():
    """P55: the amounts are right as far as they go, and end there."""
    told = summary([*UNPRICED, samples.receipt("miss", request_id="d", Cost=0.5, units_spent={"pages": 1})])

    assert "would have cost $0.50; with it, it cost $0.50" in render.headline(told)
    assert render.headline(told).endswith(
        "In none of these amounts: 5 pages without a price. Add what is missing to the price table."
    )
    assert told.totals["cost_unknown"] is False


def test_with_every_price_nothing_is_said_of_prices():
    """Negative control of the two above; a call that used nothing needs none."""
    told = summary(
        [samples.receipt("miss", Cost=0.5, units_spent={"pages": 1}), samples.receipt("failed", request_id="e")]
    )

    assert "price" not in render.headline(told)
    assert told.totals["cost_unknown"] is False


def test_metrics_that_name_no_unit_tell_how_many_invocations_have_no_price():
    """P55: CloudWatch's own metrics know `Unpriced`, and no unit by name."""
    told = summary([{**each, "unpriced_units": {}} for each in UNPRICED])

    assert "not known: the units of 3 invocations, which have no price. Set" in render.headline(told)


def test_totals_do_not_depend_on_the_order_of_receipts():
    """P31: money is summed in whole picounits, so that two exports of one period agree to the last digit."""
    shuffled = MANY.copy()
    random.Random(1).shuffle(shuffled)

    assert summary(shuffled).totals == summary(MANY).totals


def test_duplicates_dropped_are_stated_with_how(log, capsys):
    """P31: a reader sees what was dropped and how surely."""
    _, out, _ = run(capsys, log)
    _, as_json, _ = run(capsys, log, "--json")
    reading = json.loads(as_json)["reading"]

    assert reading["duplicates_dropped"] > 50
    assert reading["de_duplication"] == "exact by request id, in memory"
    assert f"{reading['duplicates_dropped']} duplicate lines dropped (exact by request id, in memory)" in out


def test_hits_that_were_checked_are_timed_apart(tmp_path, capsys):
    """P57, P59: a check's own call takes seconds; a hit without one does not, and is told as quick as it was."""
    hits = [samples.receipt("hit_memory", request_id=f"hit-{number}", Latency=5.0) for number in range(9)]
    checked = samples.receipt(
        "hit_table",
        request_id="checked",
        Latency=4_000.0,
        BackendLatency=3_990.0,
        check={"result": "agrees", "fields": 3, "differing": 0, "paths": []},
    )
    log = tmp_path / "function.log"
    log.write_text("\n".join(json.dumps(one) for one in [*hits, checked]) + "\n")
    told = json.loads(run(capsys, str(log), "--json")[1])

    for part in (told["totals"], told["groups"][0]):
        latency = part["latency_ms"]
        assert ({"hit", "checked_hit"}, 9, 5.0) == (set(latency), latency["hit"]["count"], latency["hit"]["maximum"])
        assert (1, 4_000.0) == (latency["checked_hit"]["count"], latency["checked_hit"]["maximum"])
    page = run(capsys, str(log))[1]
    assert "Latency of hits" in page
    assert "Latency of checked hits" in page


def test_percentiles_are_within_two_percent():
    """G19 is published from these: the stated accuracy of the histogram holds."""
    chance = random.Random(5)
    values = sorted(chance.lognormvariate(3, 2) for _ in range(5_000))
    whole, halves = Histogram(), (Histogram(), Histogram())
    for at, value in enumerate(values):
        whole.add(value)
        halves[at % 2].add(value)
    halves[0].merge(halves[1])

    for percent in (1, 50, 90, 99, 100):
        exact = values[max(0, math.ceil(len(values) * percent / 100) - 1)]
        assert whole.percentile(percent) == pytest.approx(exact, rel=0.02)
        assert halves[0].percentile(percent) == whole.percentile(percent)
    assert (whole.count, whole.largest, whole.smallest) == (5_000, values[-1], values[0])


@pytest.mark.parametrize(("memory_ids", "bounded"), [(100, True), (1_000_000, False)], ids=["promise", "control"])
def test_memory_does_not_grow_with_the_number_of_receipts(memory_ids, bounded):
    """Rows are days, steps, functions and outcomes, and ids go to a file beyond a bound; without that bound it grows."""

    def peak(count: int) -> int:
        text = "\n".join(samples.copies(count, duplicates=0, kinds=300, days=1)).encode()
        ledger = Ledger()
        tracemalloc.start()
        receipts = read_receipts(["-"], Reading(), stdin=io.BytesIO(text), seen=SeenRequests(memory_ids))
        fill(ledger, receipts)
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return grown

    few, many = peak(1_000), peak(4_000)

    assert (many - few < 200_000) is bounded


def test_names_from_a_broken_log_cannot_grow_a_report():
    """P35: steps, functions and reasons are small sets; the rest is one row, and nothing is lost."""
    told = summary(
        [
            samples.receipt("bypass", request_id=str(n), context=f"step-{n}", reason=f"why-{n}")
            for n in range(NAMES + 50)
        ],
        by="step",
    )

    assert len(told.groups) == NAMES + 1
    assert sum(group["requests"] for group in told.groups) == NAMES + 50
    assert told.totals["reasons"]["(other)"] == 50


def test_csv_holds_the_groups_and_the_total(log, capsys):
    """The same story for a spreadsheet: plain numbers, one row per group."""
    _, out, _ = run(capsys, log, "--by", "step", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    total = rows.pop()

    assert total["step"] == "total"
    assert sum(int(row["Requests"]) for row in rows) == int(total["Requests"]) == len(MANY)
    assert float(total["cost"]) == pytest.approx(metric("Cost"), abs=1e-9)
    assert "e-" not in out.partition("\n")[2].lower().replace("cache-", "")


def test_a_name_cannot_become_a_formula_or_markup():
    """A function's name comes from a log: a spreadsheet must not run it, a page must not interpret it."""
    told = summary(
        [
            samples.receipt("miss", function="=cmd|'/c calc'!A0"),
            samples.receipt("miss", function="<script>x", request_id="2"),
        ],
        by="function",
    )

    assert "\n'=cmd|" in render.to_csv(told)
    assert "<script>" not in render_html.to_html(told)
    assert "&lt;script&gt;x" in render_html.to_html(told)


def test_the_page_is_whole_and_needs_no_network(log, capsys, tmp_path):
    """One file that opens offline."""
    target = tmp_path / "report.html"
    status, out, _ = run(capsys, log, "--format", "html", "-o", str(target))
    page = target.read_text()
    loaded: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            loaded.extend(value for name, value in attrs if name in {"src", "href"})

    Links().feed(page)

    assert (status, out, loaded) == (0, "", [])
    assert "would have cost" in page


@pytest.mark.parametrize("form", ["text", "json", "csv", "html"])
def test_no_receipts_is_said_and_is_status_1(form, tmp_path, capsys):
    """Every form can tell of nothing."""
    file = tmp_path / "empty.log"
    file.write_text("START RequestId: x\n")

    status, out, err = run(capsys, str(file), "--format", form)

    assert status == 1
    assert form != "text" or ["No receipts in this period.", ""] == out.splitlines()[:-1]
    assert "no receipts found" in err


@pytest.mark.parametrize(
    ("lines", "kept"), [([], True), ([samples.receipt()], False)], ids=["promise", "control: receipts"]
)
def test_a_report_of_no_receipts_leaves_an_earlier_file(tmp_path, capsys, lines, kept):
    """An empty report looks like a quiet period; yesterday's stays, and the message says so."""
    log, output = tmp_path / "log", tmp_path / "report.json"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    output.write_text("yesterday's")
    status, _, err = run(capsys, str(log), "--json", "-o", str(output))

    assert (1 if kept else 0) == status
    assert kept == (output.read_text() == "yesterday's")
    assert kept == ("report.json was not written" in err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.log"], "missing.log: no such file"),
        (["{log}", "--since", "yesterday"], "--since 'yesterday' is no time"),
        (["{log}", "--since", "2026-11-02", "--until", "2026-11-01"], "swap them"),
        (["{log}", "-o", "/nowhere/at/all"], "choose a folder that exists"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy_and_status_2(arguments, told, log, capsys):
    status, _, err = run(capsys, *(argument.format(log=log) for argument in arguments))

    assert status == 2
    assert err.count("\n") == 1
    assert told in err


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (118, []),
        (80, ["own cost", "hits"]),
        (60, ["own cost", "hits", "invocations", "with cache"]),
        (40, ["own cost", "hits", "invocations", "with cache", "without cache"]),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_no_broken_line(width, missing):
    """A table whose lines wrap cannot be read: what counts least is left out, and the rest stands whole."""
    told = summary([*MANY, samples.receipt("miss", Cost=123_456.7)], by="step")
    lines = render.text(told, width).splitlines()
    heads = next(line for line in lines if line.startswith("step"))

    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert [title for _, title in render.COLUMNS if f"  {title}" not in heads] == sorted(missing, key=heads_order)
    assert "net savings" in heads
    assert "invocations)" in "\n".join(lines)  # words and amounts beside the labels stand whole as well


def heads_order(title: str) -> int:
    return [name for _, name in render.COLUMNS].index(title)


def test_a_file_or_a_pipe_gets_whole_lines():
    """What is searched with grep is not broken to some width."""
    told = summary(MANY)

    assert next(line for line in render.text(told).splitlines() if "Units spent" in line).count(",") > 3


def test_the_living_line_is_gone_when_the_report_begins(log, capsys, monkeypatch):
    """On a terminal the progress line must not stand in front of the first sentence."""
    monkeypatch.setattr("hookcache_ops.receipts.PROGRESS_LINES", 50)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ticks = iter(range(10**6))
    monkeypatch.setattr("hookcache_ops.sources.time.monotonic", lambda: float(next(ticks)))

    _, _, err = run(capsys, log)

    assert "lines/s" in err
    assert err.endswith("\r\033[K")


def test_since_and_until_choose_days(log, capsys):
    _, out, _ = run(capsys, log, "--json", "--since", "2026-10-03", "--until", "2026-10-05")

    assert [group["group"] for group in json.loads(out)["groups"]] == ["2026-10-03", "2026-10-04"]


def summary(many, by: str = "day"):
    reading = Reading()
    text = "\n".join(json.dumps(one) for one in many).encode()
    for at, one in enumerate(many):
        one.setdefault("request_id", str(at))
    return summarise(fill(Ledger(), read_receipts(["-"], reading, stdin=io.BytesIO(text))), reading, by)


NEEDS_AWK = pytest.mark.usefixtures("awk")
NEEDS_PROC = pytest.mark.skipif(not report_check.STATUS.exists(), reason="needs Linux to read a process's peak memory")


@pytest.fixture
def awk():
    if shutil.which("awk") is None:
        missing("awk, which forms the independent sums, is not installed")


@NEEDS_AWK
@NEEDS_PROC
@pytest.mark.parametrize(
    ("count", "memory_mib"),
    [
        pytest.param(20_000, 80, id="20_thousand"),
        pytest.param(500_000, 150, id="500_thousand", marks=[pytest.mark.prove, pytest.mark.timeout(900)]),
    ],
)
def test_a_large_log_has_the_totals_that_awk_finds_in_bounded_memory(count, memory_mib, record_property):
    """P31: the same sums as a second program over the same lines. `make bench` does it with five million."""
    found = report_check.compare(count, kinds=min(count // 10, 20_000))
    print(
        f"\n{count:,} receipts: {found.lines / found.report.seconds:,.0f} lines/s, "
        f"{found.lines / found.report.cpu_seconds:,.0f} per second of processor, peak {found.report.peak_mib:.0f} MiB"
    )
    record_property("lines_per_cpu_second", found.lines / found.report.cpu_seconds)

    assert found.differences == []
    assert found.lines > count
    assert found.report.peak_mib < memory_mib


@NEEDS_AWK
def test_the_check_by_awk_sees_every_total_that_is_off_by_one(tmp_path, capsys):
    """Negative control: a check that compares a total tells when it is wrong; what it leaves out is named."""
    file = tmp_path / "receipts.log"
    changed = [{**one, "cold_start": at % 7 == 0} for at, one in enumerate(MANY)]
    file.write_text("\n".join(samples.lines(changed, duplicates=0.05, noise=False)) + "\n")
    sums = report_check.sums_in(subprocess.run([*report_check.AWK, str(file)], capture_output=True, text=True).stdout)
    told = json.loads(run(capsys, str(file), "--json")[1])
    compared = {name: value for name, value in leaves(told["totals"]) if not isinstance(value, bool)}

    assert report_check.differences(told, sums) == []
    unseen = set()
    for path in compared:
        wrong = json.loads(json.dumps(told))
        *outer, last = path
        within = wrong["totals"]
        for name in outer:
            within = within[name]
        within[last] += 1
        if not report_check.differences(wrong, sums):
            unseen.add(path)
    assert len(compared) > 60
    assert {path[0] for path in unseen if path[-1][:1] != "p"} == {"custom_metrics", "observed"}
    assert {path[-1] for path in unseen if path[-1][:1] == "p"} == {"p50", "p90", "p99"}


def leaves(value, path=()):
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


@pytest.mark.parametrize(
    ("amount", "told"),
    [(0, "$0.00"), (5.4e-06, "$0.0000054"), (-8.3e-05, "-$0.000083"), (0.000478, "$0.000478"), (1.931, "$1.93")],
)
def test_money_is_told_without_an_exponent(amount, told):
    """What is small is seen not to be nothing, and read by who never met `5.4e-06`."""
    assert told == render.money(amount)
