"""
The rig: the real hook on doubles, in one environment or several over one table, with an oracle for the whole.

    with Rig() as rig:
        rig.call(ocr_event(rig.image(b"page 1")))

Leaving it checks what must hold after any run (`check`): receipts partition and balance with the backend's bill, no
flight or lease is left, memory is within its bound, and nothing confidential was written anywhere.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from fakes import (
    BACKEND,
    BUCKET,
    CANARY,
    OVERFLOW_BUCKET,
    REGION,
    SECRET_ARN,
    TABLE,
    WRAPPER,
    FakeClients,
    FakeClock,
    FakeContext,
    FakeDynamoDB,
    FakeLambda,
    FakeS3,
    FakeSecrets,
    client_context,
)
from hookcache.assembly import Assembly
from hookcache.outcome import Outcome
from hookcache.settings import Settings

ENVIRONMENT: Mapping[str, str] = {
    "AWS_LAMBDA_FUNCTION_NAME": WRAPPER,
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_REGION": REGION,
    "HOOKCACHE_BACKEND": BACKEND,
    "HOOKCACHE_TABLE": TABLE,
    "HOOKCACHE_OVERFLOW_BUCKET": OVERFLOW_BUCKET,
    "HOOKCACHE_SECRET_ARN": SECRET_ARN,
    "HOOKCACHE_IMAGE_PREFIXES": f"s3://{BUCKET}/temp/lambdahook",
}

COUNTED = ("MemoryHits", "TableHits", "Collapsed", "Misses", "Bypasses", "Failures")


class Output(io.TextIOBase):
    """What the hook writes to a stream, kept and also passed on to where it would have gone."""

    def __init__(self) -> None:
        self.text = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            self.text += text
        return len(text)

    def flush(self) -> None:
        return


class _Logged(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Environment:
    """One execution environment: a hook built at its cold start, with a memory of its own."""

    def __init__(self, settings: Mapping[str, str], clients: FakeClients, clock: FakeClock) -> None:
        self.clock = clock
        self.assembly = Assembly(Settings.of(settings), settings, clients, clock)
        self.hook = self.assembly.hook(self.assembly.lambda_backend())

    @property
    def cache(self) -> Any:
        """The cache of this environment, None while it has no secret."""
        return self.assembly.cache()

    def close(self) -> None:
        """Give back its threads: left to end when idle, those of a few hundred rigs are thousands at a time."""
        self.assembly.items.close()
        cache = self.assembly._cache
        if cache is not None:
            cache._images.close()
            cache.flights.close()
            if cache._table._overflow is not None:
                cache._table._overflow.close()


class Rig:
    """
    Environments of one wrapper over one table, S3 and backend.

    Args:
        settings: variables that differ from `ENVIRONMENT`; None removes one.

    Attributes:
        invocations: how many calls were made. `answers`: what they returned. `errors`: what they raised.
        table_seconds: the budget of one table operation. A double answers at once or not at all: the product's own second
            would only tell of a machine that stood still.
        charged_hits: True where hits carry their units on purpose, or mode `off` repairs nothing: the bill is not checked.
    """

    table_seconds = 60.0

    def __init__(self, **settings: str | None) -> None:
        merged = {**ENVIRONMENT, **settings}
        self.settings = {name: value for name, value in merged.items() if value is not None}
        self.clock = FakeClock()
        self.dynamodb = FakeDynamoDB(TABLE)
        self.s3 = FakeS3(self.clock)
        self.backend = FakeLambda(self.clock)
        self.secrets = FakeSecrets()
        self.clients = FakeClients(self.clock, self.dynamodb, self.s3, self.backend, self.secrets)
        self.environments: list[Environment] = []
        self.invocations = 0
        self.answers: list[Any] = []
        self.errors: list[BaseException] = []
        self.charged_hits = False
        self.stdout, self.stderr, self._logged = Output(), Output(), _Logged()
        self._lock = threading.Lock()

    # ---------------------------------------------------------------- environments

    @property
    def first(self) -> Environment:
        return self.environments[0] if self.environments else self.cold_start()

    @property
    def second(self) -> Environment:
        while len(self.environments) < 2:
            self.cold_start()
        return self.environments[1]

    def cold_start(self, clock: FakeClock | None = None, **settings: str | None) -> Environment:
        """Another environment over the same table; `settings` differ from the rig's, `clock` may be its own."""
        self.listen()
        merged = {**self.settings, **settings}
        kept = {name: value for name, value in merged.items() if value is not None}
        environment = Environment(kept, self.clients, clock or self.clock)
        environment.assembly.items._budget_seconds = self.table_seconds
        self.environments.append(environment)
        return environment

    # ---------------------------------------------------------------- calls

    def image(self, data: bytes, kind: str = "jpeg", name: str | None = None) -> str:
        """Upload an image as the host does, under a new random name; its URI."""
        key = name or f"temp/lambdahook/{uuid.uuid4().hex}.{kind}"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def call(self, event: Any, environment: Environment | None = None, wishes: Any = None, **context: Any) -> Any:
        """
        One invocation; its answer, parsed from JSON as the host would read it.

        Args:
            wishes: what the caller asks for in the client context (P51).
            context: members of `FakeContext`.
        """
        environment = environment or self.first
        if wishes is not None:
            context["client_context"] = client_context(**wishes)
        told = FakeContext(environment.clock, **context)
        with self._lock:
            self.listen()
            self.invocations += 1
        try:
            reply = environment.hook(event, told)
        except BaseException as error:
            with self._lock:
                self.errors.append(error)
            raise
        received = json.loads(json.dumps(reply))
        with self._lock:
            self.answers.append(received)
        return received

    # ---------------------------------------------------------------- what came of it

    @property
    def receipts(self) -> list[dict[str, Any]]:
        """Every receipt written so far, in order."""
        return [json.loads(line) for line in self.stdout.text.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.receipts[-1]

    @property
    def outcomes(self) -> list[str]:
        return [receipt["outcome"] for receipt in self.receipts]

    @property
    def entries(self) -> list[Any]:
        """The ENTRY items in the table."""
        return self.dynamodb.of_kind("ENTRY")

    # ---------------------------------------------------------------- the oracle

    def check(self) -> None:
        """What must hold after any run, whatever it did."""
        self._check_receipts()
        self._check_bill()
        self._check_leftovers()
        self._check_secrecy()

    def _check_receipts(self) -> None:
        receipts = self.receipts
        assert self.invocations == len(receipts), "P31: one receipt per invocation"
        assert len(receipts) == len({receipt["request_id"] for receipt in receipts})
        for receipt in receipts:
            assert receipt["outcome"] in {outcome.value for outcome in Outcome}
            counts = {name: metric(receipt, name) for name in COUNTED}
            assert metric(receipt, "Requests") == sum(counts.values()) == 1, f"P31: outcomes partition: {counts}"
        failed = sum(receipt["outcome"] == "failed" for receipt in receipts)
        assert len(self.errors) == failed, "P31: what was raised is `failed`, and nothing else is"

    def _check_bill(self) -> None:
        """P32: over any run the units that we returned are those that the backend reported for the calls made."""
        if self.charged_hits:
            return
        returned: dict[str, float] = {}
        for reply in self.answers:
            usage = reply.get("usage") if isinstance(reply, dict) else None
            for unit, count in (usage if isinstance(usage, dict) else {}).items():
                returned[unit] = returned.get(unit, 0) + count
        spent: dict[str, float] = {}
        for receipt in self.receipts:
            for unit, count in receipt["units_spent"].items():
                spent[unit] = spent.get(unit, 0) + count
        billed = {unit: count for unit, count in self.backend.units.items() if count}
        assert billed == {unit: count for unit, count in returned.items() if count}, (
            "P32: units returned = units billed"
        )
        assert billed == {unit: count for unit, count in spent.items() if count}, (
            "P32: units in receipts = units billed"
        )

    def _check_leftovers(self) -> None:
        for thread in threading.enumerate():
            if thread.name.startswith("hookcache-release"):
                thread.join(60)  # a handler without time returns before its lease is free
        for environment in self.environments:
            cache = environment.cache
            if cache is None:
                continue
            assert cache.flights.in_progress == 0, "P28: a flight was left behind"
            assert cache._memory.held_bytes <= environment.assembly.settings.memory_bytes, "P30"
        if not self.dynamodb.faulted:
            held = [item for item in self.dynamodb.of_kind("LEASE") if item["state"]["S"] == "HELD"]
            assert held == [], "P21: a lease was left held"

    def _check_secrecy(self) -> None:
        """P36: no prompt, answer, URI, image byte or key in anything written; a backend's message is its own."""
        ours = [error for error in self.errors if not hasattr(error, "error_type")]
        written = [self.stdout.text, self.stderr.text, *self._logged.lines, *map(repr, ours)]
        forbidden = [CANARY, "temp/lambdahook", "s3://", self.secrets.text]
        forbidden += [item["pk"]["B"].hex() for item in self.dynamodb.of_kind("ENTRY")]
        for text in written:
            for word in forbidden:
                assert word not in text, f"P36: {word!r} was written: {text[:300]}"

    # ---------------------------------------------------------------- as a context

    def listen(self) -> None:
        """
        From now on what is written goes to `stdout` and `stderr`.

        Said again before each call: pytest puts its own streams back between the phases of a test.
        """
        if sys.stdout is not self.stdout:
            self._streams = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = self.stdout, self.stderr  # type: ignore[assignment]

    def __enter__(self) -> Rig:
        self.listen()
        logging.getLogger().addHandler(self._logged)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.stdout is self.stdout:
            sys.stdout, sys.stderr = self._streams
        logging.getLogger().removeHandler(self._logged)
        self.backend.gate.set()
        try:
            if error is None:
                self.check()
        finally:
            for environment in self.environments:
                environment.close()


def metric(receipt: Mapping[str, Any], name: str) -> float:
    """A metric of a receipt, 0 where it is absent; Powertools writes one-element lists."""
    value = receipt.get(name, 0)
    return float(value[0] if isinstance(value, list) else value)
