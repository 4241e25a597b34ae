"""The Entry: a stored answer, its times and provenance, and what it takes up in memory (`sealer.py`: how it is stored)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from hookcache.clock import EpochMillis
from hookcache.codec import quick, unquick
from hookcache.hints import Any, NewType
from hookcache.key import CacheKey
from hookcache.postable import may_be_unpostable
from hookcache.prices import needs_price, summed
from hookcache.usage import Response, parsed
from hookcache.value import replace, value

Fence = NewType("Fence", int)
Item = dict[str, dict[str, Any]]
"""A DynamoDB item as the low-level client has it: `{"fence": {"N": "17"}}`."""

ANSWER_BYTES = int(5.9 * 1024 * 1024)
EMPTY_BYTES, UNIT_BYTES = 900, 180  # the objects of an entry; name, count and price of a unit (tracemalloc)


@value
class Entry:
    """
    A stored answer.

    `body` is the backend's reply as received, in bytes; `usage` its well-formed numbers; `cost` what they cost when it was
    made, by unit, in currency (units without a price are absent); times are epoch milliseconds; `origin` is the SHA-256 of
    its request's canonical form and of each image, known to its writer only (what is read back leaves it out);
    `received_bytes` is the length of a body that `quickened` has spelt anew.
    """

    key: CacheKey
    fence: Fence
    created_ms: EpochMillis
    fresh_until_ms: EpochMillis
    hard_until_ms: EpochMillis
    body: bytes
    usage: Mapping[str, float]
    context: str
    backend_version: str
    cost: Mapping[str, str]
    origin: tuple[bytes, ...] = ()
    received_bytes: int | None = None
    _saved: tuple[Decimal, Mapping[str, float]] | None = None
    _odd: bool | None = None

    def response(self) -> Response:
        """The answer, parsed anew: what the caller does to it changes no later one (P8)."""
        return parsed(self.body) if self.received_bytes is None else unquick(self.body)

    def as_json(self) -> bytes:
        """The body as received; of one that was spelt anew, JSON that says the same."""
        return self.body if self.received_bytes is None else json.dumps(unquick(self.body)).encode()

    def body_bytes(self) -> int:
        return len(self.body) if self.received_bytes is None else self.received_bytes

    def quickened(self) -> Entry:
        """The same for this process's memory: its answer is parsed several times quicker, and takes no more room."""
        spelt = None if self.may_be_unpostable() else quick(self.body)
        return self if spelt is None else replace(self, body=spelt, received_bytes=len(self.body))

    def saved(self) -> tuple[Decimal, Mapping[str, float]]:
        """What serving it saves, at the prices frozen when it was made, and the units that had none then (P55)."""
        if self._saved is None:  # worked out by the first hit for all
            used = self.usage.items()
            unpriced = {unit: n for unit, n in used if needs_price(unit, n) and unit not in self.cost}
            object.__setattr__(self, "_saved", (summed(self.cost), MappingProxyType(unpriced)))
        return self._saved  # type: ignore[return-value]  # set above

    def may_be_unpostable(self) -> bool:
        """Is the body one that not every runtime can post (`postable.py`)? Searched by the first hit for all."""
        if self._odd is None:
            object.__setattr__(self, "_odd", self.received_bytes is None and may_be_unpostable(self.body))
        return bool(self._odd)

    def held_bytes(self) -> int:
        """Bytes that it keeps in memory, its own objects included (P30, S44)."""
        return held_bytes(self.body_bytes(), self.context, self.backend_version, self.usage)


def held_bytes(body_bytes: int, context: str, version: str, units: Mapping[str, float]) -> int:
    """As `Entry.held_bytes`, from what a receipt spells alone: a replay of a log then makes room when the tier did."""
    return EMPTY_BYTES + body_bytes + len(context) + len(version) + sum([UNIT_BYTES + len(name) for name in units])
