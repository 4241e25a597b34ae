"""
A receipt as one line: which metrics and members it has (dashboards/README.md lists them), and how they are spelt.

Most receipts tell of nothing odd, and have the same metrics and members in the same order: `_usual_line` spells those at
once, and what hits have in common only once. tests/unit/test_record.py holds it to the general way, and that to
Powertools, byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring_ascii

from hookcache.emf import EmfShape
from hookcache.hints import Any
from hookcache.outcome import Outcome, Reason
from hookcache.receipt import Receipt
from hookcache.usage import MOST_UNITS, plain_unit, shown_units

RECEIPT_SCHEMA = 1
MOST_KNOWN = 512
"""Entries whose units are spelt once."""
MOST = 1e100  # no metric is written larger: CloudWatch refuses a value past 2**360, and JSON has no infinity

_COUNT, _MILLISECONDS, _NONE = "Count", "Milliseconds", "None"
_COUNTED_AS = {
    Outcome.HIT_MEMORY: "MemoryHits",
    Outcome.HIT_TABLE: "TableHits",
    Outcome.COLLAPSED: "Collapsed",
    Outcome.MISS: "Misses",
    Outcome.STALE: "Misses",
    Outcome.REFRESH: "Misses",
    Outcome.OBSERVE: "Misses",
    Outcome.BYPASS: "Bypasses",
    Outcome.FAILED: "Failures",
}
_UNIT_METRICS = {"InputTokens": "inputTokens", "OutputTokens": "outputTokens", "Pages": "pages"}
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Recorder:
    """Spells the receipts of one function: two dimension sets of one dimension each, every other fact a plain member (P35)."""

    def __init__(self, namespace: str, service: str) -> None:
        self._service = service
        self._shape = EmfShape(namespace, ("MeteringKey", "Service"))
        self._words = lru_cache(maxsize=256)(self._spell_words)
        self._units: dict[tuple[int, ...], tuple[tuple[str, str], object]] = {}

    def line(self, timestamp_ms: int, receipt: Receipt) -> str:
        """The record without its line's end."""
        if _is_usual(receipt):
            return self._usual_line(timestamp_ms, receipt)
        return self.general_line(timestamp_ms, receipt)

    def general_line(self, timestamp_ms: int, receipt: Receipt) -> str:
        """The record of any receipt."""
        dimensions = {"MeteringKey": f"{receipt.context}/lambda_hook/{receipt.function}", "Service": self._service}
        line = self._shape.line(timestamp_ms, dimensions, _members(receipt), _metrics(receipt))
        if receipt.components is None:
            return line
        # At the end: CloudWatch Logs finds 200 fields of a line, and a trace of many texts has as many.
        return f'{line[:-1]},"components":{_encode(receipt.components)}}}'

    def _usual_line(self, timestamp_ms: int, receipt: Receipt) -> str:
        word, latency, unpriced = encode_basestring_ascii, repr(float(receipt.total_ms)), bool(receipt.unpriced)
        beginning, mode, version, end = self._words(
            receipt.outcome,
            receipt.reason,
            receipt.error_type,
            receipt.context,
            receipt.function,
            receipt.mode,
            receipt.backend_version,
            receipt.environment,
            receipt.cold_start,
            unpriced,
        )
        units, values = self._spelt_units(receipt.units_saved, receipt.unpriced, receipt.saved_cost)
        age = "null" if receipt.age_seconds is None else repr(receipt.age_seconds)
        return (
            f'{{"_aws":{{"Timestamp":{timestamp_ms},{beginning}{word(receipt.request_id)}{mode}{word(receipt.key_id)},'
            f'"age_seconds":{age},"entry_bytes":{receipt.entry_bytes}{version}"images":{receipt.images},'
            f'"image_bytes":{receipt.image_bytes},{units}"own_units":{_own_units(receipt.own_units)}{end}{values}'
            f'"OwnCost":[{float(receipt.own_cost)!r}],"Latency":[{latency}],'
            f'"LookupLatency":[{latency if receipt.total_ms >= 0 else "0.0"}]{_UNPRICED if unpriced else "}"}'
        )

    def _spell_words(
        self,
        outcome: Outcome,
        reason: Reason | None,
        error_type: str,
        context: str,
        function: str,
        mode: str,
        version: str,
        environment: str,
        cold_start: bool,
        unpriced: bool,
    ) -> tuple[str, str, str, str]:
        """What stands between the numbers and ids of a line: few ends and functions, and the same all day."""
        word = encode_basestring_ascii
        beginning = (
            f"{self._shape.head(_UNPRICED_SHAPE if unpriced else _USUAL_SHAPE)}"
            f'"MeteringKey":{word(f"{context}/lambda_hook/{function}")},"Service":{word(self._service)},'
            f'"schema":{RECEIPT_SCHEMA},"outcome":"{outcome}","reason":"{reason or ""}","refusal":"",'
            f'"error_type":{word(error_type)},"context":{word(context)},"function":{word(function)},"request_id":'
        )
        end = f',"cold_start":{"true" if cold_start else "false"},"environment":{word(environment)},{_COUNTS[outcome]}'
        return beginning, f',"mode":{word(mode)},"key_id":', f',"backend_version":{word(version)},', end

    def _spelt_units(
        self, saved: Mapping[str, float], unpriced: Mapping[str, float], spared: Decimal
    ) -> tuple[str, str]:
        """
        Members and metrics of the units and their costs: worked out by the first hit of an entry for all.

        They are known again by identity, which is theirs for as long as they are held here; nobody changes them.
        """
        place = (id(saved), id(unpriced), id(spared))
        known = self._units.get(place)
        if known is None:
            if len(self._units) >= MOST_KNOWN:
                self._units.clear()
            known = self._units[place] = (_spell_units(saved, unpriced, spared), (saved, unpriced, spared))
        return known[0]


_ODD = frozenset(
    {
        "asked_backend",
        "backend_ms",
        "units_spent",
        "cost",
        "refusal",
        "table_errors",
        "image_errors",
        "corrupt_entries",
        "lease_lost",
        "replay",
        "usage_removed",
        "control_ignored",
        "units_charged",
        "components",
        "would_hit",
        "agrees",
        "check",
    }
)


def _is_usual(receipt: Receipt) -> bool:
    """True if the backend was not asked and nothing was told but what every receipt tells."""
    return _ODD.isdisjoint(vars(receipt))


def _units(units: Mapping[str, float]) -> str:
    """The JSON of `shown_units(units)`."""
    if not units:
        return "{}"
    if len(units) > MOST_UNITS or not all(map(plain_unit, units)):
        return _encode(shown_units(units))
    return "{" + ",".join([f'"{name}":{0 + count!r}' for name, count in units.items()]) + "}"


def _own_units(units: Mapping[str, float]) -> str:
    """The JSON of our own units, whose names are words of ours."""
    if tuple(units) == _LEAST_OWN_UNITS:  # a memory hit's
        return (
            f'{{"lambda_requests":{units["lambda_requests"]!r},"lambda_gb_seconds":{units["lambda_gb_seconds"]!r},'
            f'"log_bytes":{units["log_bytes"]!r}}}'
        )
    return "{" + ",".join([f'"{name}":{count!r}' for name, count in units.items()]) + "}"


def _bounded(value: float | Decimal) -> float:
    return min(float(value), MOST)


def _spell_units(saved: Mapping[str, float], unpriced: Mapping[str, float], spared: Decimal) -> tuple[str, str]:
    members = f'"units_spent":{{}},"units_saved":{_units(saved)},"unpriced_units":{_units(unpriced)},'
    counts = [_bounded(saved.get(unit, 0)) for unit in _UNIT_METRICS.values()]
    return members, _UNITS_AND_MONEY % (*counts, _bounded(spared))


def _metrics(receipt: Receipt) -> Iterator[tuple[str, str, float]]:
    """Name, unit and value of each metric. Health metrics only where they count something."""
    yield "Requests", _COUNT, 1
    for name in dict.fromkeys(_COUNTED_AS.values()):
        yield name, _COUNT, int(name == _COUNTED_AS[receipt.outcome])
    for name, unit in _UNIT_METRICS.items():
        yield name, _COUNT, _bounded(receipt.units_spent.get(unit, 0))
        yield f"Saved{name}", _COUNT, _bounded(receipt.units_saved.get(unit, 0))
    yield "Cost", _NONE, _bounded(receipt.cost)
    yield "SavedCost", _NONE, _bounded(receipt.saved_cost)
    yield "OwnCost", _NONE, float(receipt.own_cost)
    yield "Latency", _MILLISECONDS, receipt.total_ms
    lookup_ms = receipt.total_ms
    if receipt.asked_backend:  # a 0 for every hit would make its averages and percentiles say nothing
        yield "BackendLatency", _MILLISECONDS, receipt.backend_ms
        lookup_ms = round(receipt.total_ms - receipt.backend_ms, 3)  # of whole microseconds, and so they are again
    yield "LookupLatency", _MILLISECONDS, max(0.0, lookup_ms)
    health = {
        "TableErrors": receipt.table_errors,
        "ImageErrors": receipt.image_errors,
        "Refusals": int(receipt.refusal is not None),
        "LeaseLost": receipt.lease_lost,
        "CorruptEntries": receipt.corrupt_entries,
        "Unpriced": int(bool(receipt.unpriced)),
    }
    yield from ((name, _COUNT, value) for name, value in health.items() if value)


def _members(receipt: Receipt) -> dict[str, Any]:
    members = {
        "schema": RECEIPT_SCHEMA,
        "outcome": receipt.outcome.value,
        "reason": receipt.reason.value if receipt.reason else "",
        "refusal": receipt.refusal.value if receipt.refusal else "",
        "error_type": receipt.error_type,
        "context": receipt.context,
        "function": receipt.function,
        "request_id": receipt.request_id,
        "mode": receipt.mode,
        "key_id": receipt.key_id,
        "age_seconds": receipt.age_seconds,
        "entry_bytes": receipt.entry_bytes,
        "backend_version": receipt.backend_version,
        "images": receipt.images,
        "image_bytes": receipt.image_bytes,
        "units_spent": shown_units(receipt.units_spent),
        "units_saved": shown_units(receipt.units_saved),
        "unpriced_units": shown_units(receipt.unpriced),
        "own_units": dict(receipt.own_units),
        "cold_start": receipt.cold_start,
        "environment": receipt.environment,
    }
    rare = {
        "replay": receipt.replay or None,
        "would_hit": receipt.would_hit,
        "agrees": receipt.agrees,
        "check": receipt.check,
        "units_charged": shown_units(receipt.units_charged) or None,
        "usage_removed": receipt.usage_removed or None,
        "control_ignored": receipt.control_ignored or None,
    }
    return members | {name: value for name, value in rare.items() if value is not None}


_COUNT_METRICS = tuple(dict.fromkeys(_COUNTED_AS.values()))
_COUNTS = {
    outcome: '"Requests":[1.0],' + "".join([f'"{name}":[{float(name == counted)!r}],' for name in _COUNT_METRICS])
    for outcome, counted in _COUNTED_AS.items()
}
_UNITS_AND_MONEY = (
    "".join([f'"{name}":[0.0],"Saved{name}":[%r],' for name in _UNIT_METRICS]) + '"Cost":[0.0],"SavedCost":[%r],'
)
_USUAL_SHAPE = tuple((name, unit) for name, unit, _ in _metrics(Receipt("", "", "")))
_UNPRICED_SHAPE = (*_USUAL_SHAPE, ("Unpriced", _COUNT))
_UNPRICED = ',"Unpriced":[1.0]}'
_LEAST_OWN_UNITS = ("lambda_requests", "lambda_gb_seconds", "log_bytes")
