"""Reading receipts: every form they are found in, once each, whatever stands between them."""

from __future__ import annotations

import gzip
import io
import json
import re
import time
from decimal import Decimal

import pytest

from hookcache.clock import SystemClock
from hookcache.metering import Meter
from hookcache.outcome import Outcome
from hookcache.prices import Prices
from hookcache.spending import Spending
from hookcache_ops.cli import main
from hookcache_ops.ledger.forms import records_in
from hookcache_ops.ledger.seen import SeenRequests
from hookcache_ops.receipts import Period, Reading, SourceError, read_receipts
from ops import receipt_samples as samples

COUNT = 120
MANY = list(samples.receipts(COUNT, seed=3))
IDS = sorted(one["request_id"] for one in MANY)
PLAIN = [json.dumps(one, separators=(",", ":")) for one in MANY]


def read(*sources: object, reading: Reading | None = None, **options):
    reading = reading or Reading()
    return list(read_receipts([str(source) for source in sources], reading, **options)), reading


def as_text(lines) -> bytes:
    return ("\n".join(lines) + "\n").encode()


FORMS = {
    "json_lines": lambda: as_text(PLAIN),
    "spaced_json": lambda: as_text(json.dumps(one) for one in MANY),
    "sorted_members": lambda: as_text(json.dumps(one, sort_keys=True) for one in MANY),
    "lambda_log": lambda: as_text(samples.lines(MANY)),
    "export_to_s3": lambda: as_text(samples.as_export(samples.lines(MANY))),
    "logs_tail": lambda: as_text(samples.as_tail(PLAIN)),
    "filter_log_events": lambda: samples.as_filter_log_events(samples.lines(MANY)).encode(),
    "filter_log_events_one_line": lambda: samples.as_filter_log_events(samples.lines(MANY), indent=None).encode(),
    "insights": lambda: samples.as_insights(PLAIN).encode(),
    "insights_one_line": lambda: samples.as_insights(PLAIN, indent=None).encode(),
    "insights_console_json": lambda: samples.as_insights_console(PLAIN).encode(),
    "insights_csv": lambda: samples.as_insights_csv(PLAIN).encode(),
    "lambda_json_log": lambda: as_text(samples.as_lambda_json(samples.lines(MANY))),
    "lambda_json_log_exported": lambda: as_text(samples.as_export(samples.as_lambda_json(PLAIN))),
    "insights_over_lambda_json_log": lambda: samples.as_insights(samples.as_lambda_json(PLAIN)).encode(),
    "subscription": lambda: samples.as_subscription(samples.lines(MANY)),
    "gzip": lambda: gzip.compress(as_text(PLAIN)),
    "windows_line_ends": lambda: as_text(line + "\r" for line in PLAIN),
    "byte_order_mark": lambda: b"\xef\xbb\xbf" + as_text(PLAIN),
    "last_line_unended": lambda: as_text(PLAIN)[:-1],
    "run_together": lambda: "".join(PLAIN).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_export_gives_the_same_receipts(form, tmp_path):
    """P31: the receipts are the record; how they were fetched changes nothing."""
    file = tmp_path / "log"
    file.write_bytes(FORMS[form]())

    found, reading = read(file)

    assert sorted(receipt.request_id for receipt in found) == IDS
    assert sum(one["Cost"][0] for one in MANY) == pytest.approx(
        sum(receipt.metrics["Cost"] for receipt in found), abs=1e-12
    )
    assert {one["_aws"]["Timestamp"] for one in MANY} == {receipt.time_ms for receipt in found}
    assert reading.damaged == 0


def test_a_large_pretty_printed_document_is_read_by_lines(tmp_path, monkeypatch):
    """P31: beyond the size that is parsed whole, a reply of filter-log-events still gives every receipt."""
    file = tmp_path / "events.json"
    file.write_text(samples.as_filter_log_events(PLAIN))
    monkeypatch.setattr("hookcache_ops.ledger.lines.DOCUMENT_BYTES", 1000)

    found, _ = read(file)

    assert sorted(receipt.request_id for receipt in found) == IDS


def test_standard_input_and_folders_are_sources(tmp_path):
    """P31: an export arrives as a tree of files, or through a pipe."""
    for number in range(3):
        part = tmp_path / "export" / f"stream-{number}"
        part.mkdir(parents=True)
        (part / "000000.gz").write_bytes(gzip.compress(as_text(PLAIN[number::3])))

    from_folder, _ = read(tmp_path / "export")
    from_pipe, _ = read("-", stdin=io.BytesIO(gzip.compress(as_text(PLAIN))))

    assert sorted(receipt.request_id for receipt in from_folder) == IDS
    assert sorted(receipt.request_id for receipt in from_pipe) == IDS


def test_a_line_delivered_twice_counts_once(tmp_path):
    """P31: log extraction is at-least-once; a request id counts once, across files too."""
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_bytes(as_text(PLAIN[:80]))
    second.write_bytes(as_text(samples.as_export(PLAIN[60:])))

    found, reading = read(first, second)

    assert sorted(receipt.request_id for receipt in found) == IDS
    assert reading.duplicates == 20
    assert reading.de_duplication == "exact by request id, in memory"


@pytest.mark.parametrize("memory_ids", [10_000, 50, 1], ids=["memory", "spilled", "spilled_at_once"])
def test_duplicates_are_found_exactly_beyond_the_ids_kept_in_memory(memory_ids):
    """P31: bounded memory costs no accuracy."""
    names = [f"id-{number}" for number in range(500)] + [one["request_id"] for one in MANY]
    with SeenRequests(memory_ids=memory_ids) as seen:
        first = [seen.first_time(name) for name in names]
        again = [seen.first_time(name) for name in reversed(names)]

        assert ("memory" in seen.describe()) == (memory_ids == 10_000)
    assert first == [True] * len(names)
    assert again == [False] * len(names)


def test_lines_that_are_no_receipt_are_counted_and_skipped(tmp_path):
    """P31: Lambda's own lines, other embedded metrics and broken lines change no total."""
    other_metrics = '{"_aws":{"Timestamp":1790812800000,"CloudWatchMetrics":[]},"MyMetric":[1.0],"Service":"backend"}'
    cut = PLAIN[0][:700]
    negative = json.dumps(samples.receipt("miss", Cost=-1))
    text = json.dumps(samples.receipt("miss") | {"Cost": ["much"]})
    not_a_number = PLAIN[1].replace('"Cost":[', '"Cost":[NaN,')
    newer = json.dumps(samples.receipt("miss") | {"schema": 2})
    deep = '{"_aws":' + "[" * 100_000
    noise = [other_metrics, "plain text", '{"level":"INFO"}', "", '"_aws"', samples.as_kinesis_record(PLAIN[:1])]
    file = tmp_path / "log"
    file.write_bytes(as_text([*noise, cut, negative, text, not_a_number, newer, deep, PLAIN[0]]))

    found, reading = read(file)

    assert [receipt.request_id for receipt in found] == [MANY[0]["request_id"]]
    assert (reading.receipts, reading.newer_schema) == (1, 1)
    assert reading.damaged == 6  # cut, negative, text, NaN, deep, and the lone mark
    assert reading.other_lines == 5


@pytest.mark.parametrize("line", [b'1,"{""_aws"":{},""x"":""' + b"y" * 140_000 + b'""}"', b'1,a\rb,"{""_aws"":{}}"'])
def test_a_csv_line_that_cannot_be_read_is_damage(line, tmp_path):
    file = tmp_path / "log.csv"
    file.write_bytes(line + b"\n" + as_text(PLAIN[:2]))
    found, reading = read(file)

    assert (2, 1) == (len(found), reading.damaged)


def test_a_long_text_without_an_end_is_stepped_over_at_once():
    """T10: as long as a log event may be. Control: a pattern that looks again from each quote takes longer for a 32nd of it."""
    again_and_again = re.compile(r'"(?:[^"\\]|\\.)*"')
    began = time.process_time()
    found = list(records_in('x"_aws' + 128_000 * '\\"'))
    stepped = time.process_time()
    list(again_and_again.finditer('x"_aws' + 4_000 * '\\"'))

    assert found == []
    assert stepped - began < time.process_time() - stepped


@pytest.mark.parametrize("time", ["Infinity", "1e30", "-1", "NaN"])
def test_a_time_that_is_none_is_damage(time, tmp_path, capsys):
    """P31: counted as a damaged line, and the others are reported."""
    good, bad = (json.dumps(samples.receipt(request_id=name)) for name in ("good", "bad"))
    (tmp_path / "log").write_text(good + "\n" + bad.replace(str(samples.START_MS), time, 1) + "\n")

    assert 0 == main(["report", str(tmp_path / "log"), "--json"])
    reading = json.loads(capsys.readouterr().out)["reading"]
    assert (1, 1) == (reading["receipts"], reading["damaged_lines"])


@pytest.mark.parametrize(
    "command", [["explain"], ["simulate"], ["dashboard", "-o", "{}/page.html"], ["report"], ["review"]]
)
@pytest.mark.parametrize(
    "odd",
    [
        *(
            {name: value}
            for name in ("outcome", "reason", "refusal", "environment", "mode", "key_id")
            for value in ({}, [1])
        ),
        *(
            {name: value}
            for name in ("entry_bytes", "age_seconds")
            for value in ("many", [1], {"a": 1}, float("inf"), -1, 10**400)
        ),
        {"own_units": {"lambda_gb_seconds": 10**400}},
    ],
    ids=lambda odd: str(odd)[:40],
)
def test_a_member_of_another_kind_ends_no_command(odd, command, tmp_path, capsys):
    """A log may hold any line: what is no word or no number there is as none."""
    first = samples.receipt("miss", request_id="first", Latency=9)
    second = first | {"request_id": "odd", "key_id": "fedcba9876543210"} | odd
    third = samples.receipt("hit_table", request_id="third", key_id="fedcba9876543210")
    (tmp_path / "log").write_text("".join(f"{json.dumps(each)}\n" for each in (first, second, third)))
    status = main([command[0], str(tmp_path / "log"), *(word.format(tmp_path) for word in command[1:])])

    assert status in {0, 1}


@pytest.mark.parametrize(
    "odd",
    [
        {"key_id": "\ud83d"},
        {"key_id": "", "request_id": "\ud83d"},
        {"backend_version": "\ud83d", "function": "\ud83d"},
        {"components": {"images": ["\ud83d"], "identity": "\ud83d"}},
    ],
    ids=lambda odd: " ".join(odd),
)
def test_half_a_character_ends_no_simulation(odd, tmp_path, capsys):
    """A log may hold any line: the words of one that is not ours are taken as they are spelt."""
    (tmp_path / "log").write_text(json.dumps(samples.receipt("miss", context="\ud83d") | odd) + "\n")

    assert 0 == main(["simulate", str(tmp_path / "log"), "--json"])


def test_numbers_may_be_plain_or_lists(tmp_path):
    """P31: embedded metrics write one-element lists; readers take plain numbers, and sum longer lists."""
    plain = samples.receipt("miss", request_id="a") | {"Cost": 0.5}
    several = samples.receipt("miss", request_id="b") | {"Cost": [0.25, 0.5]}
    file = tmp_path / "log"
    file.write_text(f"{json.dumps(plain)}\n{json.dumps(several)}\n")

    found, _ = read(file)

    assert [receipt.metrics["Cost"] for receipt in found] == [0.5, 0.75]


def test_a_period_is_half_open(tmp_path):
    """P31: neighbouring periods share no receipt and lose none."""
    file = tmp_path / "log"
    file.write_bytes(as_text(PLAIN))
    middle = MANY[COUNT // 2]["_aws"]["Timestamp"]

    before, _ = read(file, period=Period(until_ms=middle))
    after, reading = read(file, period=Period(since_ms=middle))

    assert len(before) + len(after) == COUNT
    assert reading.out_of_range == len(before) > 0


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (gzip.compress(as_text(PLAIN))[:-200], "fetch the file again"),
        (b"\x1f\x8b" + b"\x08" * 30, "fetch the file again"),
        (b"\x00\x01\x02PNG\n" * 10, "give JSON lines"),
    ],
    ids=["gzip_cut", "gzip_damaged", "binary"],
)
def test_a_source_that_cannot_be_read_is_named_with_the_remedy(content, remedy, tmp_path):
    """P31: a file that is only half there is an error, not a smaller total."""
    file = tmp_path / "half.log"
    file.write_bytes(content)

    with pytest.raises(SourceError) as raised:
        read(file)

    assert "half.log" in str(raised.value)
    assert remedy in str(raised.value)


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder; give log exports"):
        read(tmp_path / "nothing")


def test_a_log_group_of_the_account_is_a_source(monkeypatch):
    """P31: `logs:GROUP` reads what FilterLogEvents returns, page by page, and asks for no more than the period."""
    asked: list[dict] = []

    class Pages:
        def paginate(self, **arguments):
            asked.append(arguments)
            for at in range(0, COUNT, 50):
                yield {"events": [{"message": line} for line in PLAIN[at : at + 50]]}

    class Logs:
        def get_paginator(self, name):
            assert name == "filter_log_events"
            return Pages()

    import boto3

    monkeypatch.setattr(boto3, "client", lambda name: Logs())

    found, _ = read("logs:/aws/lambda/GENAIIDP-cache-x")
    read("logs:/aws/lambda/GENAIIDP-cache-x", period=Period(since_ms=samples.START_MS))

    assert sorted(receipt.request_id for receipt in found) == IDS
    wanted = {"logGroupName": "/aws/lambda/GENAIIDP-cache-x", "filterPattern": '"_aws"'}
    assert asked == [wanted, wanted | {"startTime": samples.START_MS - 900_000}]


@pytest.mark.parametrize(
    ("source", "remedy"), [("logs:", "give the stack"), ("logs:/no/such/group", "check the network and AWS_REGION")]
)
def test_a_log_group_that_cannot_be_read_is_named_with_the_remedy(source, remedy, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    with pytest.raises(SourceError, match=f"logs:.*{remedy}"):
        read(source)


def test_progress_is_shown_on_long_reads(monkeypatch, tmp_path):
    monkeypatch.setattr("hookcache_ops.receipts.PROGRESS_LINES", 50)
    file = tmp_path / "log"
    file.write_bytes(as_text(PLAIN))
    shown: list[tuple[int, bool]] = []

    read(file, progress=lambda reading: shown.append((reading.lines, reading.done)))

    assert shown[:2] == [(50, False), (100, False)]
    assert [done for _, done in shown[2:]] == [True]


def test_the_line_that_the_runtime_writes_is_read(capsys, tmp_path):
    """P31: writer and reader are held together by the line itself, not by a sample of it."""
    meter = Meter(SystemClock(), Spending(), Prices(), {"AWS_LAMBDA_FUNCTION_NAME": "GENAIIDP-cache-x"})
    receipt = meter.open("OCR", None)
    receipt.end(Outcome.HIT_TABLE)
    receipt.units_saved, receipt.saved_cost = {"pages": 2}, Decimal("0.008")
    meter.close(receipt)
    file = tmp_path / "log"
    file.write_text(capsys.readouterr().out)

    (found,), reading = read(file)

    assert (found.step, found.function, found.outcome) == ("OCR", "GENAIIDP-cache-x", "hit_table")
    assert (found.metrics["SavedCost"], found.metrics["SavedPages"], found.metrics["TableHits"]) == (0.008, 2, 1)
    assert found.request_id == receipt.request_id
    assert (reading.lines, reading.receipts) == (1, 1)
