"""
A seeded generator of realistic receipts, for tests and benches; `python tests/ops/receipt_samples.py 1000` prints some.

A day has office hours, documents arrive with popular and unique pages, a first sight of a page misses and later ones
hit until the answer ages out, some requests are bypassed, some fail. Lambda's own lines stand between the receipts and
a share of the lines comes twice, as log extraction does.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import math
import random
import re
import sys
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

START_MS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
FUNCTIONS = ("GENAIIDP-cache-mistral", "GENAIIDP-cache-bedrock")
LEAN_COUNTS = ("Requests", "MemoryHits", "TableHits", "Collapsed", "Misses", "Bypasses", "Failures")
LEAN_UNITS = ("InputTokens", "OutputTokens", "Pages", "SavedInputTokens", "SavedOutputTokens", "SavedPages")
MONEY = ("Cost", "SavedCost", "OwnCost")
TIMES = ("Latency", "BackendLatency", "LookupLatency")
HITS = ("hit_memory", "hit_table", "collapsed")
COUNTED_AS = {
    "hit_memory": "MemoryHits",
    "hit_table": "TableHits",
    "collapsed": "Collapsed",
    "bypass": "Bypasses",
    "failed": "Failures",
}
BYPASS_REASONS = ("sampling", "inline_image", "image_unreadable", "table_down", "reference")
REFUSALS = ("not_json", "stop_reason", "blank_text")
STEPS = ("OCR", "OCR", "OCR", "Classification", "Extraction", "Assessment", "Summarization")
PRICES = {"inputTokens": 8e-7, "outputTokens": 3.2e-6, "pages": 0.004}
UNIT_METRICS = {"inputTokens": "InputTokens", "outputTokens": "OutputTokens", "pages": "Pages"}


def receipt(outcome: str = "miss", **changes: Any) -> dict[str, Any]:
    """One receipt as the runtime writes it; `changes` replace members or metric values."""
    step, function = changes.pop("context", "OCR"), changes.pop("function", FUNCTIONS[0])
    spent, saved = changes.pop("units_spent", {}), changes.pop("units_saved", {})
    metrics: dict[str, float] = dict.fromkeys((*LEAN_COUNTS, *LEAN_UNITS, *MONEY, *TIMES), 0)
    metrics["Requests"] = metrics[COUNTED_AS.get(outcome, "Misses")] = 1
    for unit, name in UNIT_METRICS.items():
        metrics[name] = spent.get(unit, 0)
        metrics[f"Saved{name}"] = saved.get(unit, 0)
    names = (*metrics, "TableErrors", "ImageErrors", "Refusals", "LeaseLost", "CorruptEntries", "Unpriced")
    metrics |= {name: changes.pop(name) for name in names if name in changes}
    if outcome in HITS and not metrics["BackendLatency"]:
        del metrics["BackendLatency"]  # as the runtime has it: only where the backend was asked
    units = {name: "Milliseconds" if name in TIMES else "None" if name in MONEY else "Count" for name in metrics}
    members: dict[str, Any] = {
        "schema": 1,
        "outcome": outcome,
        "reason": "absent" if outcome == "miss" else "",
        "refusal": "",
        "context": step,
        "function": function,
        "request_id": "00000000-0000-4000-8000-000000000001",
        "key_id": "0123456789abcdef",
        "age_seconds": None,
        "entry_bytes": 0,
        "backend_version": "7",
        "mode": "on",
        "units_spent": spent,
        "units_saved": saved,
        "unpriced_units": {},
        "images": 1,
        "image_bytes": 180_000,
        "cold_start": False,
        "own_units": {
            "lambda_gb_seconds": 0.02,
            "lambda_requests": 1,
            "table_read_units": 0.5,
            "table_write_units": 0,
            "s3_requests": 1,
        },
        "error_type": "",
    }
    timestamp = changes.pop("time_ms", START_MS)
    definition = {
        "Namespace": "GenAIIDP/HookCache",
        "Dimensions": [["MeteringKey"], ["Service"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }
    return {
        "_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [definition]},
        "MeteringKey": f"{step}/lambda_hook/{function}",
        "Service": "hookcache",
        **members,
        **changes,
        **{name: [float(value)] for name, value in metrics.items()},
    }


def receipts(count: int, *, seed: int = 7, days: float = 30) -> Iterator[dict[str, Any]]:
    """`count` receipts in rough order of time over `days`, the same for the same arguments."""
    chance = random.Random(seed)
    variety = max(20, count // 3)
    known: dict[tuple[str, int], tuple[int, dict[str, float]]] = {}
    step_ms = days * DAY_MS / count
    for number in range(count):
        even = START_MS + number * step_ms
        time_ms = int(even + (math.sin(even / DAY_MS * 2 * math.pi) * 3_600_000 * min(1.0, days)))
        yield _one(chance, known, max(START_MS, time_ms), variety)


def _one(
    chance: random.Random, known: dict[tuple[str, int], tuple[int, dict[str, float]]], time_ms: int, variety: int
) -> dict[str, Any]:
    step = chance.choice(STEPS)
    page = min(int(chance.paretovariate(0.6)) - 1, variety) if chance.random() < 0.7 else chance.randrange(variety)
    function = FUNCTIONS[0] if step == "OCR" else FUNCTIONS[1]
    request_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    facts = {"context": step, "function": function, "request_id": request_id, "time_ms": time_ms}
    facts["key_id"] = hashlib.sha256(f"{step}{page}".encode()).hexdigest()[:16]
    roll, own = chance.random(), 2.5e-6 + chance.random() * 1e-6
    if roll < 0.03:
        units, facts["key_id"] = _units(chance, step), ""
        return receipt("bypass", reason=chance.choice(BYPASS_REASONS), **facts, **_spent(chance, units, own))
    if roll < 0.04:
        facts["BackendLatency"] = facts["Latency"] = 900 + chance.random() * 4000
        return receipt("failed", reason="backend_failed", error_type="ThrottlingException", OwnCost=own, **facts)
    entry = known.get((step, page))
    if entry is None or time_ms - entry[0] > 7 * DAY_MS:
        units = _units(chance, step)
        if roll < 0.06:
            return receipt(
                "miss",
                reason="absent",
                refusal=chance.choice(REFUSALS),
                Refusals=1,
                **facts,
                **_spent(chance, units, own),
            )
        known[step, page] = (time_ms, units)
        reason = "absent" if entry is None else "expired"
        return receipt("miss", reason=reason, **facts, **_spent(chance, units, own))
    return _hit(chance, entry, facts, own)


def _hit(
    chance: random.Random, entry: tuple[int, dict[str, float]], facts: dict[str, Any], own: float
) -> dict[str, Any]:
    stored_ms, units = entry
    outcome = chance.choices(("hit_memory", "hit_table", "collapsed"), (5, 4, 1))[0]
    latency = {"hit_memory": 0.4, "hit_table": 6.0, "collapsed": 900.0}[outcome] * chance.lognormvariate(0, 0.4)
    return receipt(
        outcome,
        units_saved=units,
        SavedCost=_price(units),
        unpriced_units={unit: amount for unit, amount in units.items() if unit not in PRICES},
        OwnCost=own,
        Latency=latency,
        LookupLatency=latency * 0.8,
        age_seconds=(facts["time_ms"] - stored_ms) / 1000,
        entry_bytes=4_200,
        **facts,
    )


def _spent(chance: random.Random, units: dict[str, float], own: float) -> dict[str, Any]:
    backend = 2_500 * chance.lognormvariate(0, 0.5)
    unpriced = {unit: amount for unit, amount in units.items() if unit not in PRICES}
    facts: dict[str, Any] = {
        "units_spent": units,
        "Cost": _price(units),
        "OwnCost": own + 1e-6,
        "unpriced_units": unpriced,
    }
    facts |= {"BackendLatency": backend, "LookupLatency": 9 + chance.random() * 5, "Latency": backend + 18}
    if unpriced:
        facts["Unpriced"] = 1
    return facts


def _units(chance: random.Random, step: str) -> dict[str, float]:
    if step == "OCR":
        return {"pages": 1}
    units: dict[str, float] = {"inputTokens": chance.randrange(600, 9_000), "outputTokens": chance.randrange(20, 1_500)}
    if step == "Summarization":
        units["cacheReadInputTokens"] = chance.randrange(100, 900)  # no row has a price for it
    return units


def _price(units: dict[str, float]) -> float:
    return round(sum(PRICES.get(unit, 0) * amount for unit, amount in units.items()), 12)


# How receipts reach a reader ----------------------------------------------------------------------------------------


def lines(
    many: Iterable[dict[str, Any]], *, seed: int = 7, duplicates: float = 0.0, noise: bool = True
) -> Iterator[str]:
    """The log of a function: receipts between Lambda's own lines, a share of them twice."""
    chance = random.Random(seed)
    held: list[str] = []
    for one in many:
        line = json.dumps(one, separators=(",", ":"))
        if noise:
            yield f"START RequestId: {one['request_id']} Version: $LATEST"
        yield line
        if noise:
            yield f"END RequestId: {one['request_id']}"
            yield f"REPORT RequestId: {one['request_id']}\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB"
        if duplicates and chance.random() < duplicates:
            held.append(line)
        if held and chance.random() < 0.2:
            yield held.pop(0)
    yield from held


def as_export(text: Iterable[str]) -> Iterator[str]:
    """CloudWatch's export to S3: each line behind its time."""
    for line in text:
        yield f"2026-10-02T03:04:05.678Z {line}"


def as_tail(text: Iterable[str]) -> Iterator[str]:
    """`aws logs tail`: time and stream before each line."""
    for line in text:
        yield f"2026-10-02T03:04:05.678000+00:00 2026/10/02/[$LATEST]0a1b2c {line}"


def as_filter_log_events(text: Iterable[str], *, indent: int | None = 4) -> str:
    """The reply of `aws logs filter-log-events`, pretty-printed as the command prints it."""
    events = [
        {"logStreamName": "2026/10/02/[$LATEST]0a", "timestamp": START_MS, "message": f"{line}\n", "eventId": "3"}
        for line in text
    ]
    return json.dumps({"events": events, "searchedLogStreams": []}, indent=indent)


def as_insights(text: Iterable[str], *, indent: int | None = 4) -> str:
    """The reply of `aws logs get-query-results`."""
    results = [
        [{"field": "@timestamp", "value": "2026-10-02 03:04:05.678"}, {"field": "@message", "value": line}]
        for line in text
    ]
    return json.dumps({"results": results, "status": "Complete"}, indent=indent)


def as_insights_console(text: Iterable[str]) -> str:
    """The console's JSON download of a query: messages that are JSON come as objects, their members sorted."""
    rows = [{"@timestamp": "2026-10-02 03:04:05.678", "@message": json.loads(line)} for line in text]
    return json.dumps(rows, indent=2, sort_keys=True)


def as_insights_csv(text: Iterable[str]) -> str:
    rows = (f'2026-10-02 03:04:05.678,"{line.replace(chr(34), chr(34) * 2)}"' for line in text)
    return "\n".join(["@timestamp,@message", *rows]) + "\n"


def as_lambda_json(text: Iterable[str]) -> Iterator[str]:
    """Lambda's JSON log format, where a printed line is the text of a record."""
    for line in text:
        yield json.dumps({"timestamp": "2026-10-02T03:04:05Z", "level": "INFO", "message": line, "requestId": "r"})


def as_subscription(text: Iterable[str], *, batch: int = 50) -> bytes:
    """What a subscription filter delivers through a stream into S3: gzip members of JSON documents, end to end."""
    events = [{"id": "3", "timestamp": START_MS, "message": line} for line in text]
    documents = (
        {"messageType": "DATA_MESSAGE", "logGroup": "g", "logStream": "s", "logEvents": events[at : at + batch]}
        for at in range(0, len(events), batch)
    )
    return b"".join(gzip.compress(json.dumps(document).encode()) for document in documents)


def as_kinesis_record(text: Iterable[str]) -> str:
    """Not a form we read: base64 inside JSON. Readers must skip it without a crash."""
    return json.dumps({"data": base64.b64encode("\n".join(text).encode()).decode()})


def copies(
    count: int, *, seed: int = 7, days: float = 30, duplicates: float = 0.01, kinds: int = 20_000
) -> Iterator[str]:
    """`count` distinct receipts as lines, fast: so many `kinds` of them under ever new ids and times, some twice."""
    chance = random.Random(seed)
    cut = []
    for one in receipts(min(count, kinds), seed=seed):
        identity, time_ms = one["request_id"], str(one["_aws"]["Timestamp"])
        cut.append(re.split(f"{identity}|{time_ms}", json.dumps(one, separators=(",", ":"))))
    for number in range(count):
        before, between, after = cut[number % len(cut)]
        identity = f"{chance.getrandbits(128):032x}"
        identity = f"{identity[:8]}-{identity[8:12]}-4{identity[13:16]}-a{identity[17:20]}-{identity[20:]}"
        line = f"{before}{START_MS + int(number * days * DAY_MS / count)}{between}{identity}{after}"
        yield line
        if chance.random() < duplicates:
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(description="Print generated receipts, one JSON line each.")
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--duplicates", type=float, default=0.0)
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--fast", action="store_true", help="repeat some receipts under new ids and times")
    parser.add_argument("--kinds", type=int, default=20_000, help="how many different ones, with --fast")
    arguments = parser.parse_args()
    if arguments.fast:
        given = {name: getattr(arguments, name) for name in ("seed", "days", "duplicates", "kinds")}
        for line in copies(arguments.count, **given):
            sys.stdout.write(line + "\n")
        return
    many = receipts(arguments.count, seed=arguments.seed, days=arguments.days)
    for line in lines(many, seed=arguments.seed, duplicates=arguments.duplicates, noise=arguments.noise):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
