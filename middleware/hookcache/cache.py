"""
The cache that the hook works with, once the HMAC secret is known: what identifies a request, where its answer lies, and
how an answer is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from hookcache.backend import Answer
from hookcache.canonical import canonical_pieces
from hookcache.clock import Clock, EpochMillis
from hookcache.control import Control
from hookcache.entry import Entry, Fence
from hookcache.errors import TierUnavailable
from hookcache.flight import Flights
from hookcache.hints import Any
from hookcache.images import READ_SECONDS, ImageReader, account_of
from hookcache.index import index_item
from hookcache.items import Items, Throttled
from hookcache.key import CacheKey, Keyer, form_digest
from hookcache.leader import Leader
from hookcache.lookup import Lookup
from hookcache.memo import REPLAY_EVENTS, Replay, ReplayMemo
from hookcache.memory import MemoryTier
from hookcache.outcome import Reason
from hookcache.percall import CallControl, call_control, says_more
from hookcache.policy import Admit, Bypass, Fresh, Mode, Refuse, Rules, Stale, Unusable, admit, judge, may_look_up
from hookcache.prices import Prices
from hookcache.receipt import Receipt
from hookcache.references import with_references
from hookcache.request import HookRequest, held, parse
from hookcache.table import Found, TableTier
from hookcache.trace import components, without_images
from hookcache.usage import Metered, same_answer
from hookcache.value import replace

_MODES: Mapping[str, Mode] = {mode.value: mode for mode in Mode}


class Cache:
    """Keys, tiers and flights under one secret. Every method fails into a miss or a reason, never into the request."""

    def __init__(
        self,
        keyer: Keyer,
        generation: str,
        control: Control,
        images: ImageReader,
        memo: ReplayMemo,
        memory: MemoryTier,
        table: TableTier,
        items: Items,
        flights: Flights,
        prices: Prices,
        clock: Clock,
    ) -> None:
        self._keyer = keyer
        self._key_of = lru_cache(maxsize=REPLAY_EVENTS)(self._make_key)  # of equal requests it is asked again
        self._generation = generation
        self.control = control
        self._images = images
        self._memo = memo
        self._memory = memory
        self._table = table
        self._items = items
        self.flights = flights
        self.prices = prices
        self._clock = clock

    def prepare(
        self,
        event: Any,
        context: Any,
        rules: Rules,
        receipt: Receipt,
        seconds: Callable[[], float] = lambda: READ_SECONDS,
    ) -> Lookup | Bypass:
        """
        Everything that identifies the request, made once (P5). `seconds` says how long its images may take.

        Raises:
            Unkeyable: no key may be made of it.
        """
        if rules.resolve_references:
            request, spelt, known = parse(held(event)), None, None
        else:
            request, spelt, known = self._memo.request_in(event, whole=rules.trace)
        wishes = call_control(context)
        if wishes.ignored:
            receipt.control_ignored = wishes.ignored
        standing = self.control.now(request.context, share=rules.mode is not Mode.READ_ONLY)
        if standing.corrupt:
            receipt.corrupt_entries += 1
        receipt.mode = mode = _MODES.get(standing.orders.mode(request.context) or "", rules.mode)
        decision = _may_use(request, rules, mode, wishes, context)
        if decision is not None or standing.identity is None:
            receipt.components = without_images(self._keyer, request) if rules.trace else None
            return decision or Bypass(Reason.BACKEND_UNKNOWN)
        if rules.resolve_references:
            request = with_references(request, rules.resolve_references)
        account = account_of(context) if request.images else None
        if known is not None and (not request.images or self._unchanged(known, request, account, receipt)):
            digests, origin = known.digests, known.origin
        else:
            digests = self._images.digest(request.images, account, seconds()) if request.images else ()
            origin = (form_digest(canonical_pieces(request, digests)), *[digest.sha256 for digest in digests])
            if known is None:
                self._memo.remember(spelt, request, digests, origin)
        if digests:
            receipt.images, receipt.image_bytes = len(digests), sum([digest.size_bytes for digest in digests])
        generation, identity = standing.orders.generation or self._generation, standing.identity.digest
        key, receipt.key_id = self._key_of(origin[0], identity, generation, wishes.rollout)
        if rules.trace:
            receipt.components = components(self._keyer, request, digests, identity, generation, wishes.rollout)
        now = self._clock.now_ms()
        return Lookup(request, rules, mode, wishes, standing, account, digests, origin, key, now, spelt)

    def _unchanged(self, known: Replay, request: HookRequest, account: str | None, receipt: Receipt) -> bool:
        """Are the images what is remembered of them? They are written once by the host, and yet somebody may write one again."""
        receipt.replay = self._images.unchanged(request.images, known.digests, account)
        return receipt.replay

    def _make_key(self, *made_of: Any) -> tuple[CacheKey, str]:
        key = self._keyer.key_of_digest(*made_of)
        return key, self._keyer.shown(key)

    def recall(self, lookup: Lookup, receipt: Receipt, *, again: bool = False) -> Entry | None:
        """
        A stored answer that may be served: memory, then table. `lookup` says which, why nothing was found, whether the table failed.

        Args:
            again: a second look, past the memory tier and with a consistent read, once a fetch may have landed (P24).
        """
        if not lookup.mode.looks_up or lookup.wishes.refresh:
            return None
        if not again:
            known = self._memory.get(lookup.key)
            if known is not None:
                if isinstance(self._judge(known, lookup), Fresh):
                    lookup.from_memory = True
                    return known
                self._memory.drop(lookup.key)
        return self._recall_from_table(lookup, receipt, consistent=again)

    def _recall_from_table(self, lookup: Lookup, receipt: Receipt, *, consistent: bool) -> Entry | None:
        asked_ms = self._clock.now_ms()
        try:
            looked = self._table.get(lookup.key, consistent=consistent)
        except TierUnavailable as unavailable:
            receipt.table_errors += 1
            lookup.miss = Reason.THROTTLED
            if not isinstance(unavailable, Throttled):
                lookup.miss = lookup.trouble = Reason.TABLE_DOWN
            return None
        lookup.stale = None  # what an earlier look found may have been erased since (P13)
        if not isinstance(looked, Found):
            receipt.corrupt_entries += looked.reason is Reason.CORRUPT and not consistent  # counted at the first look
            lookup.miss = looked.reason
            return None
        entry = _bounded(looked.entry, lookup.rules)
        match self._judge(entry, lookup):
            case Fresh():
                self._memory.put(entry, asked_ms)
                return entry
            case Stale(reason):
                lookup.miss, lookup.stale = reason, entry
            case Unusable(reason):
                lookup.miss = reason
        return None

    def may_serve(self, lookup: Lookup, entry: Entry) -> bool:
        """May another caller's answer be served to this one, who may want a younger one (P51) or know of an order (P44)?"""
        return isinstance(self._judge(entry, lookup), Fresh)

    def index(self, lookup: Lookup, leader: Leader | None, receipt: Receipt) -> bool:
        """
        Write under which images and which form this key will be found for an erase, before the backend is asked (P46).

        False where it was not written: the answer must then not be stored, for an erase could not find it.
        """
        if leader is None or leader.lease is None or lookup.trouble is not None:
            return False  # with the table in trouble, one more budget spent on it would be one too many (P19)
        indexes = self._keyer.indexes(lookup.origin, lookup.key)
        items = [index_item(index, lookup.key, lookup.began_ms) for index in indexes]
        try:
            self._items.put_all(items)
        except TierUnavailable as unavailable:
            receipt.table_errors += 1
            leader.hopeless = not unavailable.transient
            return False
        return True

    def keep(
        self, lookup: Lookup, answer: Answer, reply: Metered, leader: Leader | None, receipt: Receipt, *, indexed: bool
    ) -> Reason | None:
        """
        Store the answer if it may be kept, and tell the flight. None if nothing spoke against it, else the refusal.

        Without a lease it is handed to those who wait in this process, and to no tier (P54).
        """
        if lookup.unserved is not None:
            receipt.agrees = same_answer(lookup.unserved.as_json(), answer.response)
        decision = self.may_keep(lookup, answer, reply)
        if isinstance(decision, Refuse):
            if leader is not None:
                leader.refuse()
            return decision.reason
        if leader is None:
            return None
        entry = self._entry(lookup, answer, reply, leader)
        if leader.lease is None:
            leader.land(entry)
            return None
        if not indexed:
            leader.land(entry, kept=False)  # good for those who wait here, though an erase could not find it in a tier
            return Reason.NOT_INDEXED
        asked_ms = self._clock.now_ms()
        try:
            refused = self._table.put(entry)
        except TierUnavailable as unavailable:
            receipt.table_errors += 1
            leader.hopeless = not unavailable.transient
            leader.land(entry, kept=False)
            return Reason.STORE_FAILED
        if refused is None:
            self._memory.put(replace(entry, origin=()), asked_ms)  # as one read back: the table alone needs it
            leader.land(entry)
            receipt.entry_bytes = entry.body_bytes()
        elif refused is Reason.ANSWER_SIZE:
            leader.refuse()  # the next one's would be as large: nobody need wait for it (P48)
        return refused

    def may_keep(self, lookup: Lookup, answer: Answer, reply: Metered) -> Admit | Refuse:
        """Is this an answer to keep, by what it says, who gave it (P14, P40) and what it was given to (P15)?"""
        asked = lookup.standing.identity.version if lookup.standing.identity is not None else ""
        if asked and answer.version and answer.version != asked:
            return Refuse(Reason.OTHER_VERSION)  # deployed in between: the key names the code that did not answer
        decision = admit(lookup.request, lookup.rules, reply, len(answer.body))
        if isinstance(decision, Refuse):
            return decision
        if lookup.digests and not self._images.unchanged(lookup.request.images, lookup.digests, lookup.account):
            return Refuse(Reason.IMAGE_CHANGED)
        return decision

    def _entry(self, lookup: Lookup, answer: Answer, reply: Metered, leader: Leader) -> Entry:
        # Made when the fetch began and not when it ended: an invalidation in between must reach it (P44).
        began = lookup.began_ms
        return Entry(
            key=lookup.key,
            fence=leader.fence or Fence(0),
            created_ms=began,
            fresh_until_ms=EpochMillis(began + lookup.rules.fresh_seconds * 1000),
            hard_until_ms=EpochMillis(began + lookup.rules.hard_seconds * 1000),
            body=answer.body,
            usage=reply.units,
            context=lookup.request.context,
            backend_version=answer.version or "",
            cost=self.prices.costs(reply.units, 0.0),  # whoever counted the units has waited for the table
            origin=lookup.origin,
        )

    def _judge(self, entry: Entry, lookup: Lookup) -> Fresh | Stale | Unusable:
        orders, context = lookup.standing.orders, lookup.request.context
        return judge(
            entry,
            self._clock.now_ms(),
            orders.not_before(context),
            lookup.wishes.max_age_seconds,
            orders.stale_before(context),
        )


def _may_use(request: HookRequest, rules: Rules, mode: Mode, wishes: CallControl, context: Any) -> Bypass | None:
    if mode is Mode.OFF:
        return Bypass(Reason.MODE_OFF)
    if wishes.bypass:
        return Bypass(Reason.REQUESTED)
    if says_more(context):
        return Bypass(Reason.CALLER_CONTEXT)
    return may_look_up(request, rules)


def _bounded(entry: Entry, rules: Rules) -> Entry:
    """An entry with lifetimes no longer than the operator now gives: it may have been kept under other settings (P10)."""
    fresh_ms, hard_ms = entry.created_ms + rules.fresh_seconds * 1000, entry.created_ms + rules.hard_seconds * 1000
    if entry.fresh_until_ms <= fresh_ms and entry.hard_until_ms <= hard_ms:
        return entry
    fresh_until, hard_until = min(entry.fresh_until_ms, fresh_ms), min(entry.hard_until_ms, hard_ms)
    return replace(entry, fresh_until_ms=EpochMillis(fresh_until), hard_until_ms=EpochMillis(hard_until))
