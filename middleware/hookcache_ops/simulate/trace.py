"""
The trace: what a log says of each request, as far as a replay needs it.

    start ........................ end          end is the receipt's time, start lies `Latency` before it
      |  key, components, context   |           what was asked
      |  outcome, reason, age       |           what the cache made of it
      |  units, cost, entry bytes   |           what the backend's answer was worth, made now or kept before

Times are whole milliseconds, as receipts have them. Money is in the currency of the price table.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hookcache.entry import held_bytes
from hookcache.frames import utf8
from hookcache.key import CacheKey
from hookcache.outcome import Outcome, Reason
from hookcache.prices import OWN_PRICES
from hookcache_ops.receipts import MOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcache_ops.receipts import Receipt

GROUPS = 32
"""Disjoint groups of keys, from whose differences the error of a sample is judged."""

SHORT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request of a log.

    Attributes:
        key: short digest of its key, None where none was made (then it is bypassed under every setting).
        whole, images: short digests of all its components but the namespace, and of its images under one backend;
            None without the trace. Equal `key` implies equal `whole`, which implies equal `images`.
        place: number in [0, 2**64) by which a sample takes it or not; equal for requests that any key could unite.
        outcome: how it ended, None where the log does not say (payloads of the host).
        asked: the backend was called for it. `fails`: and that call raised. `kept`: its answer may be kept.
        created_ms: when the entry that answered it was made. `size_bytes`: what its entry holds in memory, 0 if unknown.
        cost: of the answer, spent or saved. `own_cost`: of hookcache for this request.
        temperature: None where the log does not say, NaN where the request has none.
        checked: a hit that asked the backend as well (P59): paid for, and nothing saved.
    """

    start_ms: int
    latency_ms: float | None
    backend_ms: float | None
    key: CacheKey | None
    whole: CacheKey | None
    images: CacheKey | None
    place: int
    context: str
    function: str
    environment: int
    mode: str
    outcome: Outcome | None
    reason: str
    asked: bool
    fails: bool
    kept: bool
    created_ms: int | None
    size_bytes: int
    cost: float
    own_cost: float
    temperature: float | None = None
    checked: bool = False

    @property
    def end_ms(self) -> int:
        return self.start_ms + round(self.latency_ms or 0)

    @property
    def group(self) -> int:
        return self.place % GROUPS


def short(*parts: bytes) -> CacheKey:
    """A short digest of framed parts: 64 bits tell the keys of any log apart."""
    mac = hashlib.blake2b(digest_size=SHORT_BYTES)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big") + part)
    return CacheKey(mac.digest())


def place_of(unit: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(unit, digest_size=8, person=b"place").digest(), "big")


class ReceiptReader:
    """Makes requests of receipts."""

    def request(self, receipt: Receipt, environment: int) -> Request:
        members, metrics = receipt.members, receipt.metrics
        outcome = Outcome(receipt.outcome)
        latency = metrics.get("Latency", 0.0)
        key = _digest(members.get("key_id"))
        whole, images = _identified(members, receipt.step)
        from_cache = outcome.answered_from_cache
        checked = outcome in _HITS and "check" in members
        saves = from_cache and not checked
        asked = outcome in _ASKS or checked or (outcome not in _HITS and metrics.get("BackendLatency", 0.0) > 0)
        units = members.get("units_saved" if saves else "units_spent")
        units = units if isinstance(units, dict) else {}
        body_bytes = int(_number(members.get("entry_bytes")) or 0)
        age = _number(members.get("age_seconds"))
        return Request(
            start_ms=round(receipt.time_ms - latency),
            latency_ms=latency,
            backend_ms=metrics.get("BackendLatency") if asked else None,
            key=key,
            whole=whole,
            images=images,
            place=place_of(images or whole or key or utf8(receipt.request_id)),
            context=receipt.step,
            function=receipt.function,
            environment=environment,
            mode=str(members.get("mode") or "on"),
            outcome=outcome,
            reason=str(members.get("reason") or ""),
            asked=asked,
            fails=outcome in {Outcome.FAILED, Outcome.STALE},
            kept=(from_cache and outcome is not Outcome.STALE) or (outcome in _STORES and not members.get("refusal")),
            created_ms=None if age is None else round(receipt.time_ms - age * 1000),
            size_bytes=held_bytes(body_bytes, receipt.step, str(members.get("backend_version") or ""), units)
            if body_bytes
            else 0,
            cost=metrics.get("SavedCost" if saves else "Cost", 0.0),
            own_cost=metrics.get("OwnCost", 0.0),
            checked=checked,
        )


_HITS = frozenset({Outcome.HIT_MEMORY, Outcome.HIT_TABLE, Outcome.COLLAPSED})
_ASKS = frozenset({Outcome.MISS, Outcome.REFRESH, Outcome.OBSERVE, Outcome.BYPASS})
_STORES = frozenset({Outcome.MISS, Outcome.REFRESH, Outcome.OBSERVE})


def _number(told: object) -> float | None:
    """A member of a receipt that is to be a number; None where it is another thing."""
    return told if isinstance(told, int | float) and abs(told) < MOST else None  # also false for NaN


def _digest(shown: object) -> CacheKey | None:
    if not isinstance(shown, str) or not shown:
        return None
    try:
        return CacheKey(bytes.fromhex(shown))
    except ValueError:
        return short(utf8(shown))


def _identified(members: Mapping[str, Any], step: str) -> tuple[CacheKey | None, CacheKey | None]:
    """`whole` and `images` of a receipt with the trace on."""
    traced = members.get("components")
    if not isinstance(traced, dict):
        return None, None
    return digests_of(traced, step)


_NO_CONTENT = frozenset({"namespace", "shapes"})
"""Components that say who shares answers, and how texts differ: two requests may differ in them and ask the same."""


def digests_of(traced: Mapping[str, Any], step: str) -> tuple[CacheKey, CacheKey | None]:
    """Of the components of one request: all together, and its images under the same step, backend and generation."""
    keyed = {name: value for name, value in traced.items() if name not in _NO_CONTENT}
    whole = short(utf8(step), json.dumps(keyed, sort_keys=True, separators=(",", ":")).encode())
    images = traced.get("images")
    if not images or not isinstance(images, list | tuple):
        return whole, None
    under = [str(traced.get("identity")), str(traced.get("generation")), *map(str, images)]
    return whole, short(utf8(step), *map(utf8, under))


def function_gigabytes(receipt: Receipt) -> float:
    """The function's memory, as its own units tell it; 0 where they do not."""
    latency = receipt.metrics.get("Latency", 0.0)
    own = receipt.members.get("own_units")
    spent = _number(own.get("lambda_gb_seconds")) if isinstance(own, dict) else None
    return (spent or 0.0) / (latency / 1000) if latency > 0 else 0.0


GB_SECOND = float(OWN_PRICES["lambda_gb_seconds"])

FORGETS = frozenset({Reason.INVALIDATED.value, Reason.ERASED.value, Reason.CORRUPT.value, Reason.SCHEMA.value})
"""What a look-up can say that makes an earlier answer unreachable, whatever the settings."""
