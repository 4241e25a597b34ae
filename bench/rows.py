"""The measurements, one function per group. Before hits are timed, all sides must give the same answer, the backend unasked."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from bench import libraries
from bench.cold_rows import ColdStarts
from bench.events import Context, answer, event, free, prose
from bench.measure import Figure, Row, Step, row, turns
from bench.ours import SETTINGS, Ours
from bench.output import receipts_go_out
from bench.plain import Idempotent, Plain, emit, plain_key
from bench.report_rows import report_rows
from bench.servers import object_bytes
from bench.stage import IDEMPOTENCY_TABLE, TABLE, Stage
from hookcache.canonical import canonical_pieces
from hookcache.key import form_digest
from hookcache.request import parse

CONTEXT = Context()
MICRO, MILLI = 1e6, 1e3


class Bench:
    """The contenders on one stage. `rounds` is how often each has its turn, `receipts` how many the report reads."""

    def __init__(self, stage: Stage, rounds: int, receipts: int) -> None:
        self.stage, self.rounds, self.receipts = stage, rounds, receipts
        self.given = answer(2_000)
        self.backend_calls = 0
        self._lock = threading.Lock()
        self.ours = Ours(TABLE, self._backend, stage.environ)
        self.plain = Plain(TABLE, self._backend)
        self.idempotent = Idempotent(IDEMPOTENCY_TABLE, self._backend)
        self.uncached = Idempotent(IDEMPOTENCY_TABLE, self._backend, local_cache=False)

    def _backend(self, _: Any) -> dict[str, Any]:
        with self._lock:
            self.backend_calls += 1
        return self.given

    @contextmanager
    def _answering(self, size_bytes: int, seed: int) -> Iterator[None]:
        """What the backend answers meanwhile."""
        before, self.given = self.given, answer(size_bytes, seed)
        try:
            yield
        finally:
            self.given = before

    def _checked(self, steps: Mapping[str, Callable[[], Any]]) -> None:
        """Every contender answers alike, and without the backend."""
        for step in steps.values():
            step()
        before = self.backend_calls
        for name, step in steps.items():
            if step() != free(self.given):
                raise AssertionError(f"{name} gave another answer than the backend did")
        if self.backend_calls != before:
            raise AssertionError("a hit asked the backend")

    # ------------------------------------------------------------------------------------------ keys

    def keys(self) -> Iterator[Row]:
        keyer = self.ours.cache._keyer
        sizes = (
            ("2 KB of text", 2_000, 200),
            ("50 KB of text", 50_000, 60),
            ("4 MB of text", 4_000_000, 2),
            ("50 KB of text with umlauts", 50_000, 60),
        )
        for label, size, repeat in sizes:
            asked = event(prose(size, umlauts="umlauts" in label))
            raw = asked["messages"][0]["content"][0]["text"].encode()
            steps: dict[str, Step] = {
                "ours": lambda e=asked: keyer.key_of_digest(_form(e), b"identity", "0"),
                "plain": lambda e=asked: plain_key(e, []),
                "litellm": lambda e=asked: libraries.litellm_key(e),
                "langchain": lambda e=asked: libraries.langchain_key(e),
                "limit": lambda r=raw: hashlib.sha256(r).digest(),
            }
            if size > 100_000:
                del steps["langchain"]
            taken = turns(steps, self.rounds, repeat, time.process_time)
            yield row(f"key, {label}", taken, "µs CPU", MICRO, "limit: SHA-256 of the text alone")

    # ------------------------------------------------------------------------------------------ memory hits

    def memory_hits(self) -> Iterator[Row]:
        for label, size in (("2 KB", 2_000), ("50 KB", 50_000)):
            asked = event(prose(size, seed=size))
            stored = json.dumps(self.given)
            raw = asked["messages"][0]["content"][0]["text"].encode()
            handlers: dict[str, Step] = {
                "ours": lambda e=asked: self.ours(e, CONTEXT),
                "plain": lambda e=asked: self.plain(e, CONTEXT),
                "idempotency": lambda e=asked: self.idempotent(e, CONTEXT),
            }
            with receipts_go_out():
                self._checked(handlers)
                caches = {
                    "litellm (no record)": libraries.litellm_hit(asked, self.given),
                    "langchain (no record)": libraries.langchain_hit(asked, self.given),
                }
                limit: dict[str, Step] = {"limit": lambda r=raw, s=stored: (hashlib.sha256(r).digest(), json.loads(s))}
                taken = turns({**handlers, **caches, **limit}, self.rounds, 40, time.process_time)
            note = "whole handler with its record; limit: SHA-256 and one JSON parse"
            yield row(f"memory hit, {label} prompt", taken, "µs CPU", MICRO, note)

    def image_hits(self) -> Iterator[Row]:
        for count in (1, 20):
            text = prose(2_000, seed=count)

            def asked(text: str = text, count: int = count) -> dict[str, Any]:
                """Fresh random names for the same pages, as the host gives them."""
                names = [f"{page:02x}{uuid.uuid4().hex[2:]}" for page in range(count)]
                return event(text, [f"s3://pages/temp/lambdahook/{name}.jpeg" for name in names])

            handlers: dict[str, Step] = {
                "ours": lambda make=asked: self.ours(make(), CONTEXT),
                "plain": lambda make=asked: self.plain(make(), CONTEXT),
            }
            pages = [object_bytes(f"{page:02x}") for page in range(count)]
            with receipts_go_out():
                self._checked(handlers)
                limit: dict[str, Step] = {"limit": lambda p=pages: _first_byte_and_hash(p)}
                taken = turns({**handlers, **limit}, max(5, self.rounds // 2), 1, time.perf_counter)
            note = "150 KB each, 20 ms to the first byte; limit: that wait once, and SHA-256 of all bytes"
            yield row(f"memory hit, {count} image{'s'[: count > 1]}", taken, "ms", MILLI, note)

    # ------------------------------------------------------------------------------------------ table

    def table_hits(self) -> Iterator[Row]:
        for label, size, repeat in (("1 KB", 1_000, 12), ("20 KB", 20_000, 12), ("300 KB", 300_000, 4)):
            asked = event(prose(2_000, seed=size + 1))

            def ours(e: Any = asked) -> Any:
                self.ours.forget()
                return self.ours(e, CONTEXT)

            def plain(e: Any = asked) -> Any:
                self.plain.memory.clear()
                return self.plain(e, CONTEXT)

            handlers: dict[str, Step] = {"ours": ours, "plain": plain}
            handlers["idempotency"] = lambda e=asked: self.uncached(e, CONTEXT)
            with self._answering(size, seed=size), receipts_go_out():
                self._checked(handlers)
                limit: dict[str, Step] = {"limit": self._bare_round_trip(json.dumps(self.given))}
                for clock, unit in ((time.process_time, "µs CPU"), (time.perf_counter, "µs")):
                    taken = turns({**handlers, **limit}, self.rounds, repeat, clock)
                    note = "whole handler; limit: one bare socket round trip and one JSON parse"
                    yield row(f"table hit, {label} answer", taken, unit, MICRO, note)

    def misses(self) -> Iterator[Row]:
        number = iter(range(10**9))

        def fresh() -> Any:
            return event(f"{next(number)} {uuid.uuid4().hex} {_TEXT}")

        steps: dict[str, Step] = {
            "ours": lambda: self.ours(fresh(), CONTEXT),
            "plain": lambda: self.plain(fresh(), CONTEXT),
            "idempotency": lambda: self.idempotent(fresh(), CONTEXT),
        }
        with self._answering(20_000, seed=2), receipts_go_out():
            taken = turns(steps, self.rounds, 8, time.process_time)
        note = "20 KB answer, backend that answers at once; ours leases, indexes and seals as well: 6 calls to the table, not 2"
        yield row("miss, all but the backend", taken, "µs CPU", MICRO, note)

    def _bare_round_trip(self, stored: str) -> Step:
        """GetItem of something small over a socket that is open already, unsigned but for a header that looks like it."""
        parts = urlsplit(self.stage.plain_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        body = json.dumps({"TableName": TABLE, "Key": {"pk": {"B": "AA=="}, "kind": {"S": "NONE"}}})
        scope = "benchbench/20260101/us-east-1/dynamodb/aws4_request"
        headers = {
            "X-Amz-Target": "DynamoDB_20120810.GetItem",
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00",
        }

        def step() -> object:
            connection.request("POST", "/", body, headers)
            connection.getresponse().read()
            return json.loads(stored)

        return step

    def connections(self) -> Iterator[Row]:
        import boto3
        from botocore.config import Config

        from hookcache.clients import Clients

        key = {"pk": {"B": b"none"}, "kind": {"S": "NONE"}}
        environ = self.stage.tls_environ
        slim = Clients(environ, slim=SETTINGS["HOOKCACHE_CLIENT"] == "slim").dynamodb()
        plain = boto3.client("dynamodb", endpoint_url=self.stage.tls_url, config=Config(max_pool_connections=16))

        def connect(client: Any) -> None:
            client.close()
            with ThreadPoolExecutor(16) as threads:
                together = threading.Barrier(16)

                def ask(_: int) -> None:
                    together.wait()
                    client.get_item(TableName=TABLE, Key=key)

                list(threads.map(ask, range(16)))

        steps: dict[str, Step] = {"ours": lambda: connect(slim), "plain": lambda: connect(plain)}
        taken = turns(steps, max(5, self.rounds // 2), 1, time.process_time)
        yield row("16 fresh HTTPS connections at once", taken, "ms CPU", MILLI, "one GetItem over each")

    # ------------------------------------------------------------------------------------------ records and bills

    def records(self) -> Iterator[Row]:
        from aws_lambda_powertools import Metrics

        from hookcache.receipt import Receipt

        receipt = Receipt("OCR", Context.function_name, CONTEXT.aws_request_id)
        meter = self.ours._hook._meter
        metrics, asked = Metrics(namespace="Bench", service="record"), event("x")
        started = time.perf_counter()
        parsed = json.loads(meter.record(receipt))
        count = len(parsed["_aws"]["CloudWatchMetrics"][0]["Metrics"])
        others = len(parsed) - 1 - count
        steps: dict[str, Step] = {
            "ours": lambda: meter.close(receipt),
            "plain": lambda: emit(metrics, asked, CONTEXT, "hit", started),
            "limit": lambda: json.dumps(parsed),
        }
        with receipts_go_out():
            taken = turns(steps, self.rounds, 100, time.process_time)
        yield row(
            "record of one invocation",
            taken,
            "µs CPU",
            MICRO,
            f"{count} metrics, {others} members; limit: one json.dumps of it",
        )

    def bills(self) -> Iterator[Row]:
        """
        Units of the table per hit, at 20 KB.

        Idempotency writes first, and the failed condition is charged for the item that stood in the way: 1 unit per KB.
        Source: Amazon DynamoDB Developer Guide, "Condition expressions" and "Capacity unit consumption".
        """
        asked = event(prose(2_000, seed=99))
        with self._answering(20_000, seed=9), receipts_go_out():
            for handler in (self.ours, self.plain, self.uncached):
                handler(asked, CONTEXT)
            self.ours.forget()
            self.ours.assembly.spending.take()
            self.ours(asked, CONTEXT)
            found = self.plain.dynamodb.get_item(
                TableName=TABLE,
                Key={"pk": {"B": self.plain.key_of(asked).encode()}, "kind": {"S": "ENTRY"}},
                ReturnConsumedCapacity="TOTAL",
            )
            self.ours.forget()
            self.ours.assembly.spending.take()
            self.ours.cache._table.get(self._key_of(asked))
            mine = self.ours.assembly.spending.take()["table_read_units"]
        scanned = self.plain.dynamodb.scan(TableName=IDEMPOTENCY_TABLE)["Items"]
        # Other groups keep larger answers in the same table.
        size = min(_item_bytes(item) for item in scanned if len(item.get("data", {}).get("S", "")) > 19_000)
        theirs = {"plain": found["ConsumedCapacity"]["CapacityUnits"], "idempotency": float(-(-size // 1024))}
        million = {name: Figure(units * 1e6, 0.0) for name, units in theirs.items()}
        ratios = {name: units / mine for name, units in theirs.items()}
        note = "read units for ours and plain, write units (5 times dearer) for idempotency; memory hits use none"
        yield Row(
            "table units of a million hits, 20 KB answer", "units", Figure(mine * 1e6, 0.0), million, ratios, note
        )

    def _key_of(self, asked: Any) -> Any:
        cache = self.ours.cache
        identity = cache.control.now().identity.digest
        return cache._keyer.key_of_digest(_form(asked), identity, "0")

    # ------------------------------------------------------------------------------------------ many at once

    def herd(self) -> Iterator[Row]:
        """200 callers, one key nobody has, a backend of 0.3 s: how often is it asked, and when are all served?"""
        calls: dict[str, int] = {}
        seconds: dict[str, float] = {}
        lock = threading.Lock()

        def backend_for(name: str) -> Callable[[Any], dict[str, Any]]:
            def backend(_: Any) -> dict[str, Any]:
                with lock:
                    calls[name] = calls.get(name, 0) + 1
                time.sleep(0.3)
                return self.given

            return backend

        contenders = {
            "ours": Ours(TABLE, backend_for("ours"), self.stage.environ),
            "plain": Plain(TABLE, backend_for("plain")),
        }
        text = uuid.uuid4().hex
        with receipts_go_out():
            for name, handler in contenders.items():
                started = time.perf_counter()
                with ThreadPoolExecutor(200) as callers:
                    answers = list(callers.map(lambda _, h=handler: h(event(text), CONTEXT), range(200)))
                seconds[name] = time.perf_counter() - started
                assert all(each["output"] == self.given["output"] for each in answers)
        theirs, mine = calls["plain"], calls["ours"]
        note = "idempotency raises for all but one caller while the first is at work"
        yield Row(
            "herd of 200, backend calls",
            "calls",
            Figure(mine, 0),
            {"plain": Figure(theirs, 0)},
            {"plain": theirs / mine},
            note,
        )
        yield Row(
            "herd of 200, until all are served",
            "ms",
            Figure(seconds["ours"] * 1000, 0),
            {"plain": Figure(seconds["plain"] * 1000, 0), "limit": Figure(300, 0)},
            {"plain": seconds["plain"] / seconds["ours"], "limit": 0.3 / seconds["ours"]},
            "limit: the backend's own 300 ms",
        )

    def throughput(self) -> Iterator[Row]:
        asked = event(prose(20_000, seed=5))
        handlers = {"ours": self.ours, "plain": self.plain, "idempotency": self.idempotent}
        steps: dict[str, Step] = {name: (lambda h=handler: h(asked, CONTEXT)) for name, handler in handlers.items()}
        with receipts_go_out():
            self._checked(steps)
            taken = turns(steps, self.rounds, 60, time.perf_counter)
        rates = {name: Figure.of([1 / value for value in values]) for name, values in taken.items()}
        ours = rates.pop("ours")
        ratios = {name: ours.median / rate.median for name, rate in rates.items()}
        yield Row(
            "throughput of one process, memory hits, 20 KB prompt",
            "hits/s",
            ours,
            rates,
            ratios,
            "one thread",
        )

    # ------------------------------------------------------------------------------------------ cold start

    def cold_starts(self) -> Iterator[Row]:
        asked = event(prose(2_000, seed=77))
        with self._answering(20_000, seed=7):
            with receipts_go_out():
                self._checked({"ours": lambda: self.ours(asked, CONTEXT), "plain": lambda: self.plain(asked, CONTEXT)})
            yield from ColdStarts(self.stage, asked, free(self.given)).rows(max(7, self.rounds // 2))

    def all(self) -> Mapping[str, Callable[[], Iterator[Row]]]:
        """Every group by the name under which `--only` takes it."""
        return {
            "cold": self.cold_starts,
            "keys": self.keys,
            "memory": self.memory_hits,
            "images": self.image_hits,
            "table": self.table_hits,
            "miss": self.misses,
            "connections": self.connections,
            "record": self.records,
            "bill": self.bills,
            "herd": self.herd,
            "throughput": self.throughput,
            "report": lambda: report_rows(self.receipts),
        }


_TEXT = prose(2_000, seed=3)


def _form(asked: Any) -> bytes:
    """The digest that an event without images is keyed by."""
    return form_digest(canonical_pieces(parse(asked), ()))


def _first_byte_and_hash(pages: list[bytes]) -> None:
    time.sleep(0.02)
    for page in pages:
        hashlib.sha256(page).digest()


def _item_bytes(item: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(len(name) + len(str(next(iter(value.values()))).encode()) for name, value in item.items())
