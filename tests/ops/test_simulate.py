"""`hookcache simulate` as a person uses it: what it recommends, what it refuses, what it reads and writes."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fakes import event_of, image_block, ocr_event
from figures import record
from hookcache.outcome import Outcome
from hookcache_ops import cli
from hookcache_ops.receipts import Reading, read_receipts
from hookcache_ops.simulate import render
from hookcache_ops.simulate.environments import Environments
from hookcache_ops.simulate.progress import ReplayProgress
from hookcache_ops.simulate.sampling import SPAN, Sample, error_95
from hookcache_ops.simulate.scenario import scenario_of
from hookcache_ops.simulate.tally import Tally
from hookcache_ops.simulate.trace import ReceiptReader, function_gigabytes, place_of
from hookcache_ops.simulate.verdict import Measure, Told, _best
from ops.receipt_samples import START_MS, receipt
from ops.simulate_logs import LOGS
from ops.simulate_traffic import write_log

Capture = pytest.CaptureFixture[str]


def simulate(capsys: Capture, *arguments: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert status == cli.main(["simulate", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def refused(capsys: Capture, *arguments: str) -> str:
    """What it says to bad input: one line on standard error, status 2."""
    capsys.readouterr()
    try:
        status = cli.main(["simulate", *arguments])
    except SystemExit as refusal:
        status = refusal.code
    assert 2 == status
    said = capsys.readouterr()
    assert "" == said.out
    return said.err.strip().splitlines()[-1]


def by_name(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {scenario["name"]: scenario for scenario in told["scenarios"]}


# ------------------------------------------------------------ what it recommends


@pytest.mark.parametrize(
    ("cause", "wins"), [("freshness", "fresh 7 d"), ("memory", "memory x4"), ("prompts", "images-only OCR")]
)
def test_the_planted_cause_is_the_first_recommendation(tmp_path, capsys, cause, wins):
    """P56, P58: of a log with one thing wrong the scenario that mends it is named, and nothing had to be told."""
    told = simulate(capsys, str(write_log(list(LOGS[cause](1_500)), tmp_path / "log")))

    assert wins == told["recommended"]["name"]
    assert told["deployed"]["disagreement"] == 0


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("cause", "wins"), [("freshness", "fresh 7 d"), ("memory", "memory x4")])
def test_the_planted_cause_is_found_in_fifty_thousand_receipts(tmp_path, capsys, cause, wins):
    """P56, P58: as above at length."""
    told = simulate(capsys, str(write_log(list(LOGS[cause](50_000)), tmp_path / "log")))
    found = told["recommended"]["name"]
    gain = by_name(told)[found]["gain"]["value"]
    record("F1", f"planted cause: {cause} too small", wins, found, met=found == wins, note=f"gain {gain:.4g}")

    assert wins == found


def test_less_own_cost_does_not_outweigh_calls_that_are_paid_for(tmp_path, capsys):
    """P56: a step switched off saves table units, and is no advice where its few hits saved more."""
    log = [_miss(at, f"{at:016x}", OwnCost=3e-5) for at in range(998)]
    log += [receipt("hit_table", **_facts(1_000, f"{0:016x}"), age_seconds=60, SavedCost=0.004, OwnCost=1e-6)]
    log += [receipt("bypass", **_facts(2_000, ""), reason="sampling", BackendLatency=9, Latency=9, OwnCost=2.8e-5)]
    scenarios = tmp_path / "s.yaml"
    scenarios.write_text("scenarios: [{name: switched off, mode: 'off'}]")
    found = simulate(capsys, str(write_log(log, tmp_path / "log")), "--scenario", str(scenarios))
    deployed, off = found["scenarios"]
    money = [each["cost"]["value"] + each["own_cost"]["value"] for each in (deployed, off)]

    assert off["own_cost"]["value"] < deployed["own_cost"]["value"] * 0.95
    assert money[0] < money[1]
    assert found["recommended"] is None


def test_a_log_with_nothing_wrong_is_left_alone(tmp_path, capsys):
    """P56: no advice where nothing gains; the control of the recommendations above."""
    chance = random.Random(1)
    log = [_miss(at, f"{chance.getrandbits(60):016x}") for at in range(400)]
    told = simulate(capsys, str(write_log(log, tmp_path / "log")))

    assert told["recommended"] is None
    assert {0} == {scenario["hits"]["value"] for scenario in told["scenarios"]}


def test_a_tier_that_needs_a_larger_function_pays_for_it(tmp_path, capsys):
    """P56: memory beyond the function's own is charged by the second, so more is not always better."""
    log = str(write_log(list(LOGS["memory"](1_200)), tmp_path / "log"))
    told = by_name(simulate(capsys, log, "--memory-bytes", f"{256 * 2**20},{4 * 2**30}"))
    small, large = told["memory 256 MiB"], told["memory 4,096 MiB"]

    assert small["hits"] == large["hits"]
    assert large["own_cost"]["value"] > small["own_cost"]["value"] * 2


def test_net_savings_are_savings_less_own_cost(tmp_path, capsys):
    """P56, P57: the figures of one line fit one another, and the actual ones are those of the report."""
    log = str(write_log(list(LOGS["freshness"](800)), tmp_path / "log"))
    told = simulate(capsys, log)
    for scenario in told["scenarios"]:
        saved, own, net = (scenario[name]["value"] for name in ("saved_cost", "own_cost", "net_savings"))
        assert net == pytest.approx(saved - own, abs=1e-8)
        assert scenario["requests"] == round(sum(count["value"] for count in scenario["outcomes"].values()))
    capsys.readouterr()
    assert 0 == cli.main(["report", log, "--json"])
    report = json.loads(capsys.readouterr().out)["totals"]
    actual = told["actual"]

    assert (report["saved_cost"], report["own_cost"]) == (
        pytest.approx(actual["saved_cost"]),
        pytest.approx(actual["own_cost"]),
    )
    assert report["hits"] == round(actual["hit_ratio"] * told["log"]["requests"])


def test_savings_at_prices_that_nobody_set_are_no_price(tmp_path, capsys):
    """P55: never 0 less the own cost, which would tell of a loss; the same log with prices is told in money."""
    log = list(LOGS["freshness"](200))
    bare = {"Cost": [0], "SavedCost": [0], "unpriced_units": {"pages": 1}}
    for unpriced, told_as in ((True, "no price"), (False, "$")):
        receipts = [{**each, **(bare if unpriced else {})} for each in log]
        path = str(write_log(receipts, tmp_path / told_as))
        assert unpriced == simulate(capsys, path)["log"]["cost_unknown"]
        page = tmp_path / "page.html"
        assert 0 == cli.main(["simulate", path, "-o", str(page)])
        lines = capsys.readouterr().out.splitlines()
        rows = [line for line in lines if line.startswith(("actual", "deployed", "fresh", "memory x"))]

        assert len(rows) >= 4
        assert all((told_as in row) and ("-$" in row) <= (not unpriced) for row in rows)
        assert unpriced == any("set HOOKCACHE_PRICES and HOOKCACHE_PRICE_AS" in line for line in lines)
        assert unpriced == ("<td>no price</td>" in page.read_text())


def test_checked_hits_are_paid_for_in_every_scenario(tmp_path, capsys):
    """P57, P59: a hit that also asked the backend spent and saved nothing, in the log and in its replay alike."""
    key, log = "a" * 16, [_miss(0, "a" * 16, OwnCost=1e-6)]
    for at in range(1, 11):
        facts = {"age_seconds": at * 60, "OwnCost": 1e-6, **_facts(at, key)}
        paid = {"Cost": 0.004, "units_spent": {"pages": 1}, "BackendLatency": 1_990, "Latency": 2_000}
        free = {"SavedCost": 0.004, "units_saved": {"pages": 1}, "Latency": 5}
        checked = {"check": {"result": "agrees"}, **paid} if at % 2 else free
        log.append(receipt("hit_table", **facts | checked))
    path = str(write_log(log, tmp_path / "log"))
    told = simulate(capsys, path, "--fresh-seconds", "60")
    capsys.readouterr()
    assert 0 == cli.main(["report", path, "--json"])
    report = json.loads(capsys.readouterr().out)["totals"]
    deployed, short = told["scenarios"][0], told["scenarios"][1]
    figures = ("cost", "saved_cost", "own_cost", "net_savings")

    assert [report[name] for name in figures] == pytest.approx([deployed[name]["value"] for name in figures])
    assert [report[name] for name in figures if name in told["actual"]] == pytest.approx(
        [told["actual"][name] for name in figures if name in told["actual"]]
    )
    assert (6, 10) == (deployed["backend_calls"]["value"], deployed["hits"]["value"])
    assert (11, 0.044) == (short["backend_calls"]["value"], pytest.approx(short["cost"]["value"]))  # what a miss costs


# ------------------------------------------------------------ scenarios


def _miss(at: int, key: str, **facts: Any) -> dict[str, Any]:
    base = {"time_ms": START_MS + at * 60_000, "request_id": f"r{at}", "key_id": key, "entry_bytes": 3_000}
    return receipt("miss", Latency=2_000, BackendLatency=1_990, Cost=0.004, units_spent={"pages": 1}, **base | facts)


def test_namespaces_merge_where_the_components_agree(tmp_path, capsys):
    """P7, P58: two wrappers that asked for the same under keys of their own; split again, they share nothing."""
    traced = {"texts": ["a"], "images": ["b"], "identity": "i", "generation": "g"}
    log = [
        _miss(
            at,
            f"{team}{page:015x}",
            function=f"GENAIIDP-{team}",
            components=traced | {"texts": [str(page)], "namespace": str(team)},
        )
        for at, (team, page) in enumerate((team, page) for page in range(20) for team in (1, 2))
    ]
    scenarios = tmp_path / "scenarios.yaml"
    scenarios.write_text(
        "scenarios:\n  - {name: one, merge_namespaces: true}\n  - {name: apart, merge_namespaces: true, split: function}\n"
    )
    told = by_name(simulate(capsys, str(write_log(log, tmp_path / "log")), "--scenario", str(scenarios)))

    assert [0, 20, 0] == [told[name]["hits"]["value"] for name in ("deployed", "one", "apart")]


def test_a_scenario_file_speaks_as_the_policy_does(tmp_path, capsys):
    """P52: steps have freshness and mode of their own, and `deployed` says what the log was made under."""
    log = [_miss(at, f"{page:016x}", context=step) for at, (page, step) in enumerate(_thrice())]
    scenarios = tmp_path / "scenarios.yaml"
    scenarios.write_text(
        "deployed: {fresh_seconds: 60, memory_seconds: 60}\n"
        "scenarios:\n"
        "  - {name: OCR for a day, policy: {OCR: {fresh_seconds: 86400}}}\n"
        "  - {name: all for a day, fresh_seconds: 86400}\n"
        "  - {name: no Extraction, fresh_seconds: 86400, policy: {Extraction: {mode: 'off'}}}\n"
        "  - {name: observed, fresh_seconds: 86400, mode: observe}\n"
    )
    told = by_name(simulate(capsys, str(write_log(log, tmp_path / "log")), "--scenario", str(scenarios)))
    found = {
        name: {outcome: count["value"] for outcome, count in each["outcomes"].items()} for name, each in told.items()
    }

    assert {
        "deployed": {"miss": 60},
        "OCR for a day": {"miss": 40, "hit_table": 20},
        "all for a day": {"miss": 20, "hit_table": 40},
        "no Extraction": {"miss": 10, "hit_table": 20, "bypass": 30},
        "observed": {"observe": 60},
    } == found


def _thrice() -> Iterable[tuple[int, str]]:
    return [
        (page * 2 + at, step) for _ in range(3) for page in range(10) for at, step in enumerate(("OCR", "Extraction"))
    ]


def test_a_refresh_that_is_observed_counts_as_observed(tmp_path, capsys):
    """P31, P50: as the hook itself counts it: in that mode every call is `observe`."""
    log = [receipt("refresh", **_facts(0, "a" * 16), reason="not_looked_up", BackendLatency=900, Latency=910)]
    scenarios = tmp_path / "s.yaml"
    scenarios.write_text("scenarios: [{name: observed, mode: observe}]")
    told = simulate(capsys, str(write_log(log, tmp_path / "log")), "--scenario", str(scenarios))["scenarios"]

    assert [{"refresh": 1}, {"observe": 1}] == [_outcomes(each) for each in told]


def test_an_observed_log_tells_what_being_on_would_bring(tmp_path, capsys):
    """P50: observe first; the what-if says what it would have saved, and how an order for the mode is taken back."""
    log = [
        receipt(
            "observe", **_facts(at, f"{at % 10:016x}"), mode="observe", Cost=0.004, BackendLatency=1_990, Latency=2_000
        )
        for at in range(50)
    ]
    told = simulate(capsys, str(write_log(log, tmp_path / "log")))

    assert ("mode on", 40) == (told["recommended"]["name"], by_name(told)["mode on"]["hits"]["value"])
    assert by_name(told)["mode on"]["saved_cost"]["value"] == pytest.approx(40 * 0.004)
    assert "hookcache mode --clear" in told["recommended"]["advice"]


def _facts(at: int, key: str) -> dict[str, Any]:
    return {"time_ms": START_MS + at * 60_000, "request_id": f"r{at}", "key_id": key, "entry_bytes": 3_000}


def test_a_failed_call_fails_whether_it_is_bypassed_or_not(tmp_path, capsys):
    """P31: of a sampling request too, which has no key; and where a scenario switches the cache off."""
    facts = {"reason": "backend_failed", "BackendLatency": 900, "Latency": 910}
    log = [
        receipt("failed", **_facts(0, ""), **facts),
        receipt("failed", **_facts(1, "a" * 16), **facts),
        _miss(2, "b" * 16),
    ]
    scenarios = tmp_path / "s.yaml"
    scenarios.write_text("scenarios: [{name: switched off, mode: 'off'}]")
    deployed, off = simulate(capsys, str(write_log(log, tmp_path / "log")), "--scenario", str(scenarios))["scenarios"]

    assert [{"failed": 2, "miss": 1}, {"failed": 2, "bypass": 1}] == [_outcomes(deployed), _outcomes(off)]
    assert [3, 3] == [each["backend_calls"]["value"] for each in (deployed, off)]


def test_a_step_that_a_policy_cannot_name_has_a_freshness_too(tmp_path, capsys):
    """P10, P35: an unknown word of the host is metered as `Other`; what the log betrays of it is no mistake of the caller."""
    log = [
        _miss(0, "a" * 16, context="Other"),
        _miss(30, "a" * 16, context="Other", reason="expired"),
        _miss(31, "b" * 16),
    ]
    found = simulate(capsys, str(write_log(log, tmp_path / "log")))

    assert {"OCR": 7 * 86_400, "Other": 1_800} == found["deployed"]["fresh_seconds"]
    assert {"miss": 3} == _outcomes(found["scenarios"][0])
    assert "fresh 7 d" == found["recommended"]["name"]


@pytest.mark.parametrize(
    "told", [f"memory_bytes={4 * 2**30}", 'policy={"Summarization": {"fresh_seconds": 600}}', "memory_seconds=30"]
)
def test_what_is_tried_unasked_is_within_what_the_settings_take(tmp_path, capsys, told):
    """P52: four times a large tier, an hour in memory beside a step of ten minutes, and a tier for all of a large log."""
    log = [_miss(at, f"{at:016x}", entry_bytes=int(5.8e6)) for at in range(2_200)]
    found = simulate(capsys, str(write_log(log, tmp_path / "log")), "--deployed", told)

    assert max(point["size_bytes"] for point in found["curve"]) == 10 * 2**30
    assert found["scenarios"]


def test_entries_made_before_the_log_begins_are_in_the_table(tmp_path, capsys):
    """P10: a log that begins in the middle; the first hit says how old its entry is, and it expires in time."""
    old = {"age_seconds": 3_000, "Latency": 5, "SavedCost": 0.004, "units_saved": {"pages": 1}}
    log = [receipt("hit_table", **_facts(0, "a" * 16), **old), _miss(30, "a" * 16, reason="expired")]
    found = simulate(capsys, str(write_log(log, tmp_path / "log")), "--deployed", "fresh_seconds=3600")

    assert {"hit_table": 1, "miss": 1} == {
        name: count["value"] for name, count in found["scenarios"][0]["outcomes"].items()
    }


def test_callers_who_overlap_share_a_flight_and_no_environment(tmp_path, capsys):
    """P23: three at once, one call to the backend; what was invalidated meanwhile is not served."""
    log = [_miss(0, "a" * 16)] + [
        receipt("collapsed", **_facts(0, "a" * 16) | {"request_id": f"c{at}"}, Latency=1_000 + at, SavedCost=0.004)
        for at in range(2)
    ]
    log.append(_miss(5, "a" * 16, reason="invalidated"))
    told = simulate(capsys, str(write_log(log, tmp_path / "log")))

    assert {"miss": 2, "collapsed": 2} == {name: c["value"] for name, c in told["scenarios"][0]["outcomes"].items()}
    assert 3 == told["log"]["environments"]


def test_a_fetch_without_a_lease_is_good_for_those_who_wait_beside_it(tmp_path, capsys):
    """P54: with the table down a caller of the same environment still shares the flight, and nobody later does."""
    down = {"reason": "table_down", "Latency": 2_000, "BackendLatency": 1_990, "environment": "one"}
    log = [
        receipt("bypass", **_facts(0, "a" * 16), **down),
        receipt("collapsed", **_facts(0, "a" * 16) | {"request_id": "c"}, Latency=1_500, environment="one"),
        _miss(1, "a" * 16, environment="one"),
    ]
    told = simulate(capsys, str(write_log(log, tmp_path / "log")))

    assert {"bypass": 1, "collapsed": 1, "miss": 1} == _outcomes(told["scenarios"][0])


# ------------------------------------------------------------ payloads of the host


def test_payloads_of_the_host_are_keyed_by_content(tmp_path, capsys):
    """P4, P16: images count by their bytes, whatever their name; sampling requests wait for a ceiling."""
    pages = tmp_path / "pages"
    pages.mkdir()
    lines = []
    for at in range(12):
        name = f"{at:032x}.jpeg"
        (pages / name).write_bytes(b"page %d" % (at % 3))
        event = ocr_event(f"s3://bucket/temp/lambdahook/{name}")
        answer = {"output": {"message": {"content": [{"text": "read"}]}}, "usage": {"pages": 1}}
        lines.append({"time": f"2026-11-01T08:{at:02}:00Z", "event": event, "answer": answer, "latency_ms": 3_000})
    lines += [
        {"time": 1_793_523_600 + at, "event": event_of("Summarization", ["sum up"], temperature=0.5)} for at in range(4)
    ]
    digest = hashlib.sha256(b"page 1").hexdigest()
    told_digest = {
        "time": "2026-11-01T09:30:00",
        "event": event_of(
            "OCR",
            ["Write down what is printed on this page. Kanarienvogel", image_block("s3://gone/x.jpeg")],
            topP=0.1,
            topK=5,
        ),
        "images": [digest],
    }
    log = tmp_path / "payloads.jsonl"
    log.write_text("START RequestId: 1\n" + "".join(json.dumps(line) + "\n" for line in [*lines, told_digest]))
    prices = tmp_path / "prices.yaml"
    prices.write_text('pricing: [{name: ocr, units: [{name: pages, price: "0.004"}]}]')
    scenarios = tmp_path / "s.yaml"
    scenarios.write_text("scenarios: [{name: sampled too, policy: {Summarization: {temperature_ceiling: null}}}]")
    told = simulate(
        capsys,
        str(log),
        *("--images", str(pages), "--prices", str(prices), "--price-as", "ocr"),
        "--scenario",
        str(scenarios),
    )
    deployed, sampled = told["scenarios"]

    assert (None, 17) == (told["actual"], told["log"]["requests"])
    assert {"bypass": 4, "miss": 3, "hit_memory": 6, "hit_table": 4} == _outcomes(deployed)
    assert {"miss": 4, "collapsed": 2, "hit_memory": 7, "hit_table": 4} == _outcomes(sampled)
    assert deployed["saved_cost"]["value"] == pytest.approx(10 * 0.004)
    assert not told["log"]["cost_unknown"]


@pytest.mark.parametrize(
    "odd",
    ['"time": Infinity', '"time": 1e300', '"time": -1', '"time": 1e15', '"latency_ms": 1e999', '"latency_ms": -1'],
)
def test_a_payload_line_with_an_odd_number_ends_no_command(tmp_path, capsys, odd):
    """P30: it is passed over, or its number is, and the page of the rest can be written."""
    event = json.dumps(event_of("OCR", ["read"]))
    log = tmp_path / "payloads.jsonl"
    log.write_text(f'{{"time": 1793523600, "event": {event}}}\n{{"time": 1793523600, "event": {event}, {odd}}}\n')
    found = simulate(capsys, str(log), "-o", str(tmp_path / "page.html"))

    assert (1 if "time" in odd else 2) == found["log"]["requests"]


@pytest.mark.parametrize(("unit", "unpriced"), [("pages", 0), ("inputTokens", 2)])
def test_payloads_whose_units_have_no_price_say_so(tmp_path, capsys, unit, unpriced):
    """P55: a table without their units is as good as none; those outside of the period are not counted."""
    answer = {"output": {"message": {"content": [{"text": "read"}]}}, "usage": {"pages": 1}}
    line = {"event": event_of("OCR", ["read"]), "answer": answer}
    log, prices = tmp_path / "payloads.jsonl", tmp_path / "prices.yaml"
    days = ("2026-10-01", "2026-11-01", "2026-11-02")
    log.write_text("".join(json.dumps(line | {"time": day}) + "\n" for day in days))
    prices.write_text(f'pricing: [{{name: ocr, units: [{{name: {unit}, price: "0.004"}}]}}]')
    told = simulate(
        capsys, str(log), "--prices", str(prices), "--price-as", "ocr", "--since", "2026-10-15", "--until", "2026-12-01"
    )

    assert (2, bool(unpriced)) == (told["log"]["requests"], told["log"]["cost_unknown"])
    assert bool(unpriced) == any(note.startswith(f"{unpriced} requests have units without") for note in told["notes"])


@pytest.mark.parametrize("answers", [[False, False, False], [True, True, False]])
def test_what_no_answer_tells_is_not_told_as_free(tmp_path, capsys, answers):
    """P55: with a price table and without the answers nobody knows what the calls cost, and the note says what is missing."""
    answer = {"output": {"message": {"content": [{"text": "read"}]}}, "usage": {"pages": 1}}
    log, prices = tmp_path / "payloads.jsonl", tmp_path / "prices.yaml"
    lines = [
        {"time": "2026-11-01", "event": event_of("OCR", [f"read {number}"])} | ({"answer": answer} if there else {})
        for number, there in enumerate(answers)
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    prices.write_text('pricing: [{name: ocr, units: [{name: pages, price: "0.004"}]}]')
    told = simulate(capsys, str(log), "--prices", str(prices), "--price-as", "ocr")

    assert (not any(answers)) is told["log"]["cost_unknown"]
    (note,) = [note for note in told["notes"] if "price" in note]
    assert f"{answers.count(False)} request" in note
    assert "answer" in note


def _outcomes(scenario: dict[str, Any]) -> dict[str, float]:
    return {name: count["value"] for name, count in scenario["outcomes"].items()}


def test_payloads_without_their_images_say_what_is_missing(tmp_path, capsys):
    """P42: no key is made of a URI."""
    log = tmp_path / "payloads.jsonl"
    log.write_text(json.dumps({"time": "2026-11-01", "event": ocr_event("s3://bucket/page.jpeg")}) + "\n")
    told = simulate(capsys, str(log))

    assert {"bypass": 1} == _outcomes(told["scenarios"][0])
    assert any("--images" in note for note in told["notes"])
    assert told["log"]["cost_unknown"]
    assert any("set --prices and --price-as" in note for note in told["notes"])


def test_a_stale_answer_is_a_call_that_failed(tmp_path, capsys):
    """P45: the replay fails it again: a stale answer where that is allowed, an error where it is not; nothing new is kept."""
    asked = {"context": "OCR", "BackendLatency": 900, "Latency": 1_000}
    lines = [
        receipt("miss", request_id="a", time_ms=START_MS, Cost=0.004, entry_bytes=500, **asked),
        receipt("stale", request_id="b", time_ms=START_MS + 120_000, reason="expired", age_seconds=119.0, **asked),
        receipt("miss", request_id="c", time_ms=START_MS + 180_000, reason="expired", Cost=0.004, **asked),
    ]
    log = tmp_path / "function.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    lifetimes = {"fresh_seconds": 60, "hard_seconds": 600}
    told = [
        simulate(
            capsys, str(log), "--deployed", "memory_seconds=60", "--deployed", f"policy={json.dumps({'OCR': rules})}"
        )
        for rules in (lifetimes | {"stale_if_error": True}, lifetimes)
    ]

    assert [{"miss": 2, "stale": 1}, {"miss": 2, "failed": 1}] == [_outcomes(each["scenarios"][0]) for each in told]
    assert [0.008] * 2 == [each["scenarios"][0]["cost"]["value"] for each in told]


def test_who_failed_without_a_call_makes_none_in_the_replay(tmp_path, capsys):
    """P57: no time was left for one, or it was another's; a call that was made and failed is made again, and fails."""
    failed = {"context": "OCR", "key_id": "", "reason": "deadline", "Latency": 500}
    lines = [
        receipt("failed", request_id="a", **failed),
        receipt("failed", request_id="b", BackendLatency=400, **failed),
        receipt("bypass", request_id="c", BackendLatency=400, **failed | {"reason": "reference"}),
    ]
    log = tmp_path / "function.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = simulate(capsys, str(log))["scenarios"][0]

    assert ({"failed": 2, "bypass": 1}, 2) == (_outcomes(told), told["backend_calls"]["value"])


def test_what_is_only_read_is_not_kept(tmp_path, capsys):
    """P50: a log made in read_only replays as it went; in mode on the first answer would have served the others."""
    asked = {"mode": "read_only", "Cost": 0.004, "BackendLatency": 900, "Latency": 1_000}
    lines = [receipt("miss", request_id=f"{at}", time_ms=START_MS + at * 60_000, **asked) for at in range(3)]
    log = tmp_path / "function.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    deployed, on = simulate(capsys, str(log))["scenarios"][:2]

    assert ({"miss": 3}, "mode on", 2.0) == (_outcomes(deployed), on["name"], on["hits"]["value"])


def test_a_checked_hit_costs_what_its_check_cost(tmp_path, capsys):
    """P57, P59: the call that was made for it, whatever the answer had cost that it was given; and it saves nothing."""
    lines = [
        receipt("miss", request_id="a", Cost=0.004, BackendLatency=900, Latency=1_000, entry_bytes=500),
        receipt(
            "hit_memory",
            request_id="b",
            time_ms=START_MS + 60_000,
            Cost=0.007,
            BackendLatency=900,
            Latency=1_000,
            age_seconds=60.0,
            entry_bytes=500,
            check={"result": "agrees"},
        ),
    ]
    log = tmp_path / "function.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = simulate(capsys, str(log))["scenarios"][0]

    assert (1.0, 0.011, 0.0) == tuple(told[name]["value"] for name in ("hits", "cost", "saved_cost"))


@pytest.mark.parametrize(
    ("gains", "best"),
    [
        ([(5.0, 4.0)], 0),
        ([(5.0, 6.0)], None),  # it may as well be none
        ([(0.5, 0.0)], None),  # too little to change a setting for
        ([(9.9, 0.0), (10.0, 0.0)], 0),  # as good, and the smaller change
        ([(9.0, 0.0), (10.0, 0.0)], 1),
        ([(10.0, 11.0), (5.0, 0.0)], 1),
    ],
)
def test_a_gain_is_advised_only_beyond_its_own_error(gains, best):
    """P30: and beyond the least that counts; of nearly equal ones the first."""
    estimate: Any = None
    told = [Told(scenario_of({"name": f"{at}"}), estimate, *gain) for at, gain in enumerate([(0.0, 0.0), *gains])]
    found = _best(told, Measure("money", lambda sums: sums.spent, lambda _: 1.0))

    assert (None if best is None else told[best + 1]) is found


def test_what_nobody_asked_for_and_nobody_got_earns_nothing():
    """P57: a caller who shares another's failure, or gets a stale answer, has no credit; a hit has, and a call is paid."""
    tally = Tally()
    for outcome, asked in (
        (Outcome.FAILED, False),
        (Outcome.STALE, False),
        (Outcome.HIT_TABLE, False),
        (Outcome.MISS, True),
    ):
        tally.add(0, outcome, asked=asked, cost=1.0, own=0.0, latency_ms=None)

    assert (1.0, 1.0) == (tally.total(lambda sums: sums.saved), tally.total(lambda sums: sums.spent))


# ------------------------------------------------------------ samples


def test_a_sample_holds_all_requests_of_some_keys(tmp_path):
    """P30: bounded; whole keys; the rate is what it says."""
    sample, reader = Sample(most=6_000), ReceiptReader()
    read = list(_requests(10_000, reader, keys=8_000))
    for request in read:
        sample.add(request)
    taken = {request.key for request in sample.requests}

    assert len(sample.requests) <= 6_000
    assert sample.requests == [request for request in read if request.key in taken]
    assert sample.rate == 0.5
    assert abs(len(taken) / len({request.key for request in read}) - sample.rate) < 0.05


def _requests(count: int, reader: ReceiptReader, keys: int = 2_000) -> Iterable[Any]:
    from hookcache_ops.receipts import Reading, read_receipts

    chance = random.Random(2)
    lines = (json.dumps(_miss(at, f"{chance.randrange(keys):016x}")) + "\n" for at in range(count))
    for each in read_receipts(["-"], Reading(), stdin=io.BytesIO("".join(lines).encode())):
        yield reader.request(each, 0)


@pytest.mark.parametrize(("traced_from", "told"), [(0, False), (100, True), (200, False)])
def test_a_sample_of_a_log_that_is_traced_in_part_says_so(tmp_path, capsys, traced_from, told):
    """P30: where the trace was switched on meanwhile, a key's requests lie in two places; whole logs are not concerned."""
    trace = {"images": ["b"], "identity": "i", "generation": "g"}
    log = [
        _miss(at, f"{at % 50:016x}", **({"components": trace | {"texts": [str(at % 50)]}} if at >= traced_from else {}))
        for at in range(200)
    ]
    log += [_miss(at, f"{at:016x}", context="Summarization") for at in range(200, 220)]  # a step that is never traced
    path = str(write_log(log, tmp_path / "log"))

    assert told == any("--sample exact" in note for note in simulate(capsys, path, "--sample", "0.9")["notes"])
    assert not any("--sample exact" in note for note in simulate(capsys, path)["notes"])


def test_a_few_popular_keys_are_not_sampled_away():
    """P30: halving stops before a handful of keys would speak for the log."""
    sample, reader = Sample(most=100), ReceiptReader()
    for request in _requests(2_000, reader):
        sample.add(request)

    assert sample.keys >= 1_000


def test_the_stated_error_covers_what_samples_are_off_by(tmp_path, capsys):
    """P30: over samples of the same log, as many estimates lie within their error as 95 % promises, or nearly."""
    log = str(write_log(list(LOGS["freshness"](1_200)), tmp_path / "log"))
    exact = by_name(simulate(capsys, log, "--fresh-seconds", "3600,86400"))
    within = looked = 0
    for rate in ("0.6", "0.4", "0.25"):
        sampled = simulate(capsys, log, "--fresh-seconds", "3600,86400", "--sample", rate)
        assert not sampled["sample"]["exact"]
        for name, scenario in by_name(sampled).items():
            for figure in ("hits", "backend_calls", "net_savings"):
                off = abs(scenario[figure]["value"] - exact[name][figure]["value"])
                within += off <= scenario[figure]["error_95"] + 1e-9
                looked += 1

    assert within >= 0.85 * looked


def test_the_error_is_none_where_all_is_replayed_and_grows_as_the_sample_shrinks():
    """P30: the arithmetic of the error: t * sqrt(groups * variance * (1 - rate)) / rate."""
    differences = [float(at % 4) for at in range(32)]

    assert 0.0 == error_95(differences, 1.0)
    assert error_95(differences, 0.5) == pytest.approx(2.04 * (32 * (40 / 31) * 0.5) ** 0.5 / 0.5)
    assert error_95(differences, 0.1) > error_95(differences, 0.5)
    assert 0 <= place_of(b"any") < SPAN


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_a_million_receipts_in_bounded_memory(tmp_path):
    """P30: one pass over 2 GB of log, a sample of it replayed, with progress, in memory that does not grow with the log."""
    log = tmp_path / "log"
    _write_many(log, 1_000_000)
    program = (
        "import re, sys; from hookcache_ops import cli; status = cli.main(sys.argv[1:]); "
        # Not ru_maxrss: a child inherits there what its parent once used.
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()); "
        "print(int(peak[1]) // 1024, file=sys.stderr); sys.exit(status)"
    )
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, "simulate", str(log), "--json"], capture_output=True, text=True, check=True
    )
    seconds, mebibytes = time.monotonic() - begun, int(done.stderr.strip().splitlines()[-1])
    told = json.loads(done.stdout)
    note = f"{told['sample']['requests']:,} requests replayed in {len(told['scenarios'])} scenarios and {len(told['curve'])} sizes"
    record("F4", "simulate of a million receipts", "", seconds, "s", note=note)
    record("F4", "its memory", "<= 450 MiB", mebibytes, "MiB", met=mebibytes <= 450, note=note)

    assert 1_000_000 == told["log"]["requests"]
    assert not told["sample"]["exact"]
    assert mebibytes <= 450
    assert re.search(r"hookcache simulate: [\d,]+ lines, [\d,]+ receipts", done.stderr)


@pytest.mark.parametrize(
    ("terminal", "seconds", "told"), [(True, 1, ["25%", "50%"]), (False, 1, []), (False, 11, ["25%", "50%"])]
)
def test_replays_show_how_far_they_are(monkeypatch, terminal, seconds, told):
    """A bar that moves on a terminal; elsewhere a line, and none within ten seconds of another."""
    screen = io.StringIO()
    screen.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", screen)
    clock = iter(range(0, 1_000, seconds))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = ReplayProgress(400)
    progress.on("deployed", 100)
    progress.on("deployed", 100)
    shown = screen.getvalue()
    progress.close()

    assert told == re.findall(r"░ +(\d+%)", shown)
    assert screen.getvalue().endswith("\r\033[K") == terminal


def test_an_interrupted_replay_takes_its_line_away(tmp_path, capsys, monkeypatch):
    """`Interrupted.` stood behind half a bar."""
    taken = []
    monkeypatch.setattr(ReplayProgress, "close", lambda _: taken.append(True))
    monkeypatch.setattr("hookcache_ops.simulate.curve", _interrupted)

    assert 1 == cli.main(["simulate", str(write_log(list(LOGS["memory"](200)), tmp_path / "log"))])
    assert [True] == taken
    assert "Interrupted.\n" == capsys.readouterr().err


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (118, []),
        (80, ["collapsed", "table", "memory", "mean", "p50"]),
        (60, ["collapsed", "table", "memory", "mean", "p50", "p99", "net savings"]),
        (40, [name for name in render.COLUMNS if name not in {"hit ratio", "gain"}]),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_no_broken_line(tmp_path, capsys, monkeypatch, width, missing):
    """As in the report: what counts least is left out, the rest stands whole; hit ratio and gain stand always."""
    monkeypatch.setattr("hookcache_ops.simulate.terminal_width", lambda: width)
    assert 0 == cli.main(["simulate", str(write_log(list(LOGS["freshness"](400)), tmp_path / "log"))])
    lines = capsys.readouterr().out.splitlines()
    heads = next(line for line in lines if line.startswith("scenario"))

    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert [title for title in render.COLUMNS if f" {title}" not in heads] == [
        title for title in render.COLUMNS if title in missing
    ]


def _write_many(path: Path, count: int) -> None:
    """A log like `LOGS['freshness']`, by the thousand: its lines again under other keys and ids, later."""
    lines = list(LOGS["freshness"](10_000))
    span = lines[-1]["_aws"]["Timestamp"] - START_MS + 60_000
    with path.open("w") as file:
        for again in range(count // len(lines)):
            for line in lines:
                key = line["key_id"] and f"{int(line['key_id'], 16) ^ (again // 3 << 32):016x}"
                when = {**line["_aws"], "Timestamp": line["_aws"]["Timestamp"] + again * span}
                moved = {**line, "_aws": when, "key_id": key, "request_id": f"{line['request_id']}-{again}"}
                file.write(json.dumps(moved, separators=(",", ":")) + "\n")


# ------------------------------------------------------------ environments and observed times


def test_environments_follow_from_overlaps_and_cold_starts():
    """P11: one at a time each; a warm one goes on, a cold start is another, a jump back in time is another file."""
    found = Environments()
    told = [(0, 100, True), (50, 150, True), (160, 200, False), (205, 300, False), (400, 500, True)]

    assert [0, 1, 1, 1, 2] == [found.of(start, end, cold=cold) for start, end, cold in told]
    assert 3 == found.of(500, 600, cold=True)
    assert found.of(0, 10, cold=False, named="a") == found.of(900, 910, cold=True, named="a")


def test_a_time_that_the_log_never_saw_is_that_of_the_nearest_outcome(tmp_path, capsys):
    """P56: a first memory hit is taken to last as long as a look-up does, and the page says so."""
    log = [_miss(at, f"{at % 5:016x}") for at in range(20)]
    told = simulate(
        capsys, str(write_log(log, tmp_path / "log")), "--deployed", "fresh_seconds=59", "--fresh-seconds", "86400"
    )

    assert any("no hit_memory" in note for note in told["notes"])


# ------------------------------------------------------------ what it writes and what it refuses


def test_the_page_is_whole_and_loads_nothing(tmp_path, capsys):
    """Scenarios, curve and notes in one file; names cannot break out of it; nothing half-written is left."""
    scenarios, page = tmp_path / "s.yaml", tmp_path / "page.html"
    scenarios.write_text('scenarios: [{name: "</script><b>/*{uplot}*/", fresh_seconds: 86400}]')
    log = str(write_log(list(LOGS["freshness"](300)), tmp_path / "log"))
    assert 0 == cli.main(["simulate", log, "--scenario", str(scenarios), "-o", str(page)])
    text = page.read_text()

    assert "Recommended: </script>" in capsys.readouterr().out
    assert "<b>" not in text
    assert 1 == text.count("/*! uPlot")
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text)
    assert {"log", "page.html", "s.yaml"} == {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.log"], "no such file"),
        (["LOG", "--fresh-seconds", "soon"], "write 86400"),
        (["LOG", "--sample", "2"], "write auto, exact"),
        (["LOG", "--deployed", "freshness=1"], "write NAME=VALUE"),
        (["LOG", "--deployed", "memory_bytes=none"], "HOOKCACHE_MEMORY_BYTES"),
        (["LOG", "--fresh-seconds", "99999999"], "HOOKCACHE_FRESH_SECONDS"),
        (["LOG", "--deployed", "fresh_seconds=3600", "--memory-seconds", "7200"], "must not pass the freshness"),
        (["LOG", "--images-only", "OCR"], "trace: true"),
        (["LOG", "--merge-namespaces"], "trace: true"),
        (["LOG", "--scenario", "missing.yaml"], "give a scenario file"),
        (["LOG", "--scenario", "BAD"], "fresh_days is unknown; use mode, fresh_seconds"),
        (["LOG", "--scenario", "STEPS"], "of Assessment, Classification, Extraction, OCR"),
        (["LOG", "--prices", "missing.yaml"], "missing.yaml: No such file or directory; give a price table"),
        (["LOG", "--price-as", "ocr"], "give both"),
        (["LOG", "--prices", "PRICES", "--price-as", "ocr"], "are for payloads"),
        (["LOG", "--images", "missing"], "no folder"),
        (["LOG", "-o", "/nowhere/page.html"], "choose a folder"),
        (["LOG", "--since", "2026-11-02", "--until", "2026-11-01"], "swap them"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_with_a_remedy(tmp_path, capsys, arguments, says):
    """One line, status 2, no traceback."""
    log = write_log([_miss(0, "a" * 16)], tmp_path / "log")
    (tmp_path / "bad").write_text("scenarios: [{name: x, fresh_days: 3}]")
    (tmp_path / "steps").write_text("scenarios: [{name: x, images_only: [Ocr]}]")
    (tmp_path / "prices").write_text("pricing: [{name: ocr, units: [{name: pages, price: '0.003'}]}]")
    places = {"LOG": str(log)} | {name.upper(): str(tmp_path / name) for name in ("bad", "steps", "prices")}

    assert says in refused(capsys, *(places.get(argument, argument) for argument in arguments))


@pytest.mark.parametrize(
    ("member", "other"),
    [
        ("entry_bytes", "x"),
        ("age_seconds", "x"),
        ("age_seconds", float("inf")),
        ("components", {"images": 5}),
        ("own_units", {"lambda_gb_seconds": "x"}),
    ],
)
def test_a_member_of_another_kind_is_as_none(member, other):
    spoilt = receipt("hit_table", Latency=5, **{member: other})
    (read,) = read_receipts(["-"], Reading(), stdin=io.BytesIO(json.dumps(spoilt).encode()))
    request = ReceiptReader().request(read, 0)

    assert (0, None, None) == (request.size_bytes, request.created_ms, request.images)
    assert (0 if member == "own_units" else 4) == function_gigabytes(read)


@pytest.mark.parametrize("units", [7, [1]])
def test_units_of_another_kind_are_as_none(units):
    def size(of):
        text = json.dumps(receipt("hit_table", entry_bytes=10) | {"units_saved": of})
        (read,) = read_receipts(["-"], Reading(), stdin=io.BytesIO(text.encode()))
        return ReceiptReader().request(read, 0).size_bytes

    assert size({}) == size(units) > 10


def test_a_log_without_receipts_is_status_1(tmp_path, capsys):
    """Nothing to replay is a finding, not a mistake."""
    (tmp_path / "log").write_text("START RequestId: 1\n")

    assert 1 == cli.main(["simulate", str(tmp_path / "log")])
    assert (
        "no receipts found; give the log of the wrapper function, or a longer period; or JSON"
        in capsys.readouterr().err
    )
