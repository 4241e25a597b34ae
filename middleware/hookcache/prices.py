"""
What units cost, in the host's own pricing format.

    pricing:
      - name: bedrock/us.amazon.nova-pro-v1:0
        units: [{name: inputTokens, price: "8.0E-7"}]

Names and units are matched exactly: no price is `unpriced`, counted, never 0 and never a neighbour's (P55, S50). The table
is read when the first cost is needed, which a hit never does: its entry carries the cost it had when it was made.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from types import MappingProxyType

from hookcache.bounded import NotInTime, within
from hookcache.clock import Clock, SystemClock
from hookcache.errors import ConfigurationError
from hookcache.hints import Any
from hookcache.value import value

LOAD_SECONDS = 2.0
"""Bound on reading the table: the answer is there by then and waits for it (P34), for half of what is left of its time at most."""

MOST_DEPTH, MOST_BYTES = 32, 8 * 1024 * 1024
"""A table nests five deep. A deeper text could end the process in the YAML library's C code; a longer one is no table."""

MOST_PRICE, MOST_PRICES = Decimal(10**12), 100_000
"""A price past this is a slip of the pen, and what it came to could not be written down. The host's own table has a thousand."""

RETRY_SECONDS, MOST_RETRY_SECONDS = 30.0, 900.0
"""A table that could not be had is asked for again after so long, then after twice as long each time, up to the most."""

_ARITHMETIC = Context(28, ROUND_HALF_EVEN, -999_999, 999_999, 1, 0, [], [])
"""Python's own default, spelt out: a handler in this process may have set its thread's to a few digits, or to raise."""

FREE_UNITS = frozenset({"totalTokens", "requests"})
"""Units that the host itself declares free for LambdaHook functions: sums and counts of what is priced elsewhere."""

OWN_ROW = "hookcache/own"
OWN_PRICES = {
    "lambda_requests": Decimal("2.0E-7"),
    "lambda_gb_seconds": Decimal("1.33334E-5"),
    "table_read_units": Decimal("1.25E-7"),
    "table_write_units": Decimal("6.25E-7"),
    "s3_requests": Decimal("4.0E-7"),
    "s3_put_requests": Decimal("5.0E-6"),
    "kms_requests": Decimal("3.0E-6"),
    "secret_requests": Decimal("5.0E-6"),
    "log_bytes": Decimal("5.0E-10"),
}
"""
What hookcache's own units cost in us-east-1 (arm64, on demand), estimates that go out of date (P56).

A row `hookcache/own` in the operator's table replaces them, unit by unit. Source: the public price pages of AWS Lambda,
Amazon DynamoDB, Amazon S3, AWS KMS, AWS Secrets Manager and Amazon CloudWatch Logs; not checked against a bill (*unverified*).
"""


def needs_price(unit: str, count: float) -> bool:
    """True for a unit that costs something if its price is known: it was used, and is not declared free."""
    return count > 0 and unit not in FREE_UNITS


def summed(costs: Mapping[str, str]) -> Decimal:
    """What costs, by unit and as decimal text, come to together."""
    total = Decimal(0)
    for cost in costs.values():
        total = _ARITHMETIC.add(total, Decimal(cost))
    return total


@value
class PriceTable:
    """Prices by row name and unit."""

    rows: Mapping[str, Mapping[str, Decimal]] = MappingProxyType({})

    @classmethod
    def parse(cls, text: str) -> PriceTable:
        """
        The table in a text of the host's format, YAML or JSON.

        Raises:
            ConfigurationError: it is not in that format, or a price is no number from 0 to `MOST_PRICE`.
        """
        import yaml  # 20 ms, paid by the first miss of an environment and by no hit (docs/adr/0004)

        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            _refuse_depth(yaml.parse(text, Loader=loader))
            listed = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe
            _refuse_many(listed["pricing"])
            rows: dict[str, dict[str, Decimal]] = {}
            for row in listed["pricing"]:
                name = _word(row["name"])
                units = rows.setdefault(name, {})
                for unit in row["units"]:
                    units[_word(unit["name"])] = _price(_word(unit["price"]), f"{name}, {unit['name']}")
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"the price table is not in the host's format (pricing: [{{name, units: [{{name, price}}]}}]): {error}"
            ) from None
        return cls(rows)

    def price(self, name: str, unit: str) -> Decimal | None:
        """The price of one `unit` in row `name`, exactly so named; None if there is none."""
        return self.rows.get(name, {}).get(unit)


def _refuse_depth(events: Iterable[Any]) -> None:
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MOST_DEPTH:
            raise ValueError(f"nested deeper than {MOST_DEPTH}")


def _refuse_many(rows: Any) -> None:
    """A short text can spell out as many (YAML aliases)."""
    if sum(len(row["units"]) for row in rows) > MOST_PRICES:
        raise ValueError(f"more than {MOST_PRICES} prices")


def _word(told: Any) -> str:
    """A name or a price; a list in its place may be a small text that spells out endless (YAML aliases)."""
    if isinstance(told, list | dict):
        raise TypeError("a list or an object in place of a name or a price")
    return str(told)


def _price(told: str, where: str) -> Decimal:
    try:
        price = Decimal(told)
    except InvalidOperation:
        price = Decimal("NaN")
    if not (price.is_finite() and 0 <= price <= MOST_PRICE):
        raise ValueError(f"{where}: {told!r} is no price")
    return price


def _as_floats(prices: Mapping[str, Decimal]) -> dict[str, float]:
    return {unit: float(price) for unit, price in prices.items()}


class Prices:
    """
    The prices of the backend's units and of hookcache's own.

    Args:
        row: the row that the backend's usage is charged at, e.g. `bedrock/us.amazon.nova-pro-v1:0`.
        load: gives the table; called when the first cost is needed. A table that cannot be had leaves every unit
            unpriced, never fails a request (P34), and is asked for again after a while.
        clock: for that while.
    """

    def __init__(self, row: str = "", load: Callable[[], PriceTable] = PriceTable, clock: Clock | None = None) -> None:
        self._row = row
        self._load = load
        self._clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._table: PriceTable | None = None
        self._retry_at_ms, self._pause_ms = 0, int(RETRY_SECONDS * 1000)
        self._own_prices: Mapping[str, float] = _as_floats(OWN_PRICES)

    def costs(self, units: Mapping[str, float], seconds: float = math.inf) -> dict[str, str]:
        """
        What each used unit costs, as decimal text; a unit without a price is absent, as are all where that cannot be told.

        Args:
            seconds: how long the table may be waited for, where that is less than its own bound.
        """
        try:
            row = self._known(min(seconds, LOAD_SECONDS)).rows.get(self._row, {})
            return {
                unit: str(_ARITHMETIC.multiply(row[unit], Decimal(str(count))))
                for unit, count in units.items()
                if count > 0 and unit in row
            }
        except Exception:  # P34: whatever it is, the answer that was paid for goes out
            return {}

    def total(self, units: Mapping[str, float], seconds: float = math.inf) -> tuple[Decimal, dict[str, float]]:
        """The cost of all that has a price, and the used units that have none; `seconds` as in `costs`."""
        costs = self.costs(units, seconds)
        unpriced = {unit: count for unit, count in units.items() if needs_price(unit, count) and unit not in costs}
        return summed(costs), unpriced

    def own(self, units: Mapping[str, float]) -> Decimal:
        """What hookcache's own units cost; an estimate (P56)."""
        return Decimal(str(self.own_estimate(units)))

    def own_estimate(self, units: Mapping[str, float]) -> float:
        """As `own`, for every hit: without loading the table, and without decimals, which take a tenth of a hit's time."""
        price_of, cost = self._own_prices.get, 0.0
        for unit, count in units.items():
            cost += price_of(unit, 0.0) * count
        return cost

    def _known(self, seconds: float) -> PriceTable:
        if self._lock.acquire(timeout=max(0.0, seconds)):  # whoever holds it may be waiting for the table
            try:
                if self._table is None and seconds > 0 and not self._waiting(now := self._clock.now_ms()):
                    self._read(now, seconds)
            finally:
                self._lock.release()
        return self._table if self._table is not None else PriceTable()

    def _waiting(self, now: int) -> bool:
        """Is it too early to ask again? A clock that was set back must not stretch the pause."""
        return now < self._retry_at_ms <= now + MOST_RETRY_SECONDS * 1000

    def _read(self, now: int, seconds: float) -> None:
        try:
            within(seconds, self._take, "hookcache-prices")
        except Exception as trouble:  # P34: an unreadable table is no reason to fail a request; its units stay unpriced
            if isinstance(trouble, NotInTime) and seconds < LOAD_SECONDS:
                return  # this invocation had no time for it; the next will find it, or ask again
            self._retry_at_ms = now + self._pause_ms
            self._pause_ms = min(2 * self._pause_ms, int(MOST_RETRY_SECONDS * 1000))

    def _take(self) -> None:
        """Read the table, and keep it also where nobody waits for it any more."""
        table = self._load()
        self._own_prices = _as_floats({**OWN_PRICES, **table.rows.get(OWN_ROW, {})})
        self._table = table


def price_text(reference: str, s3: Callable[[], Any], ssm: Callable[[], Any]) -> str:
    """
    The text that `HOOKCACHE_PRICES` names: a file's path, `s3://bucket/key`, or `ssm:name` of a parameter.

    Raises:
        ValueError: an `s3://` reference without a key, no text, or more of it than a table ever has.
        OSError, botocore errors: it cannot be read.
    """
    if reference.startswith("s3://"):
        _, _, bucket, key = reference.split("/", 3)
        reply = s3().get_object(Bucket=bucket, Key=key)
        body: bytes = reply["Body"].read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise ValueError(f"{reference} is no price table: it is larger than {MOST_BYTES // 2**20} MB")
        if len(body) < reply.get("ContentLength", 0):  # boto3 notices a cut body only where it is asked for all of it
            raise OSError(f"{reference} came in part: {len(body)} bytes")
        return body.decode()
    if reference.startswith("ssm:"):
        reply = ssm().get_parameter(Name=reference.removeprefix("ssm:"), WithDecryption=True)
        return str(reply["Parameter"]["Value"])
    with open(reference, encoding="utf-8") as file:
        return file.read()


def table_from(reference: str, s3: Callable[[], Any], ssm: Callable[[], Any]) -> PriceTable:
    """
    The table that `HOOKCACHE_PRICES` names.

    Raises:
        ConfigurationError: it is not in the host's format.
        what `price_text` raises.
    """
    return PriceTable.parse(price_text(reference, s3, ssm))
