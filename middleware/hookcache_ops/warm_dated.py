"""The cache of `hookcache warm`, where a fetch began when the recorded answer was given and not now."""

from __future__ import annotations

from typing import Any

from hookcache.cache import Cache
from hookcache.clock import EpochMillis
from hookcache.errors import TierUnavailable
from hookcache.items import Items
from hookcache.lookup import Lookup
from hookcache.outcome import Reason
from hookcache.policy import Bypass, Rules
from hookcache.receipt import Receipt
from hookcache_ops.pairs import Pair


class Dated:
    """
    The cache, but that a fetch began when the recorded answer was given: so long ago its entry was made.

    An order for a mode is as little for this run as the settings' own mode: under `observe` every answer would be written
    once more, under `read_only` none. `off` alone holds (`warm._mode`), and was then answered with a bypass.
    """

    def __init__(self, cache: Cache, pair: Pair | None, items: Items) -> None:
        self._cache, self._pair, self._items = cache, pair, items

    def prepare(self, event: Any, context: Any, rules: Rules, receipt: Receipt, *arguments: Any) -> Any:
        lookup = self._cache.prepare(event, context, rules, receipt, *arguments)
        if not isinstance(lookup, Lookup):
            return lookup
        lookup.mode = lookup.rules.mode
        if self._pair is not None and self._pair.time_ms is not None:
            now, lookup.began_ms = lookup.began_ms, EpochMillis(min(lookup.began_ms, self._pair.time_ms))
            if now - lookup.began_ms >= lookup.rules.fresh_seconds * 1000:
                return Bypass(Reason.EXPIRED)
            standing, context = lookup.standing, lookup.request.context
            forbidden_ms = max(standing.orders.not_before(context), standing.orders.stale_before(context))
            if standing.orders_known and lookup.began_ms < forbidden_ms:
                return Bypass(Reason.INVALIDATED)  # it would be written at each run, and never served
        forbidden = self._erased(lookup, receipt)
        return lookup if forbidden is None else Bypass(forbidden)

    def _erased(self, lookup: Lookup, receipt: Receipt) -> Reason | None:
        """
        Was the answer erased since it was given (P13)? Its fetch seems to begin now, so that the tombstone would let it pass.

        What is kept is remembered by this look, and costs no second one.
        """
        self._cache.recall(lookup, receipt, again=True)
        if lookup.miss in {Reason.THROTTLED, Reason.TABLE_DOWN}:
            return Reason.TABLE_DOWN  # nobody knows
        if lookup.miss is not Reason.ERASED:
            return None
        try:
            item = self._items.get(lookup.key, "ENTRY", consistent=True) or {}
        except TierUnavailable:
            return Reason.TABLE_DOWN
        given_ms = self._pair.time_ms if self._pair is not None and self._pair.dated else None
        since = given_ms is not None and "fence" in item and given_ms > int(item["fence"]["N"])
        return None if since else Reason.ERASED

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)
