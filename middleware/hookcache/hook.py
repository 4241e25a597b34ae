"""
THE path: one request through the cache, from event to answer and receipt.

     1  parse(event)              unparsable -> bypass; the original event goes on untouched
     2  may_look_up(request)      sampling, opt-out -> bypass
     3  key                       images digested here, once; unkeyable -> bypass
     4  memory -> judge           fresh -> answer
     5  table  -> judge           fresh -> remember, answer
     6  flight                    follower: bounded wait for 5 to succeed; leader: look again, then
     7  backend                   its errors are its own
     8  admit                     refuse -> answer, but do not keep
     9  table.put, memory.put     a failure here never fails the answer
    10  receipt                   exactly one, in a `finally`

Only the backend's own errors, a wait that is over, a deadline and a loop leave here; whatever else fails becomes a bypass (P18).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

from hookcache import percall
from hookcache.backend import Answer, Backend
from hookcache.bounded import within
from hookcache.cache import Cache
from hookcache.clock import Clock, Deadline, whole_micros
from hookcache.entry import Entry
from hookcache.errors import FollowerTimedOut, Unkeyable, shared_failure, type_of, without_words
from hookcache.fallback import look_again, stale_answer
from hookcache.hints import Any
from hookcache.leader import Alone, Landed, Leader, Shared
from hookcache.lease import OwnerId
from hookcache.lookup import Call, Lookup
from hookcache.metering import Meter
from hookcache.outcome import Outcome, Reason
from hookcache.policy import Admit, Bypass, Mode, Rules
from hookcache.postable import postable
from hookcache.prices import Prices
from hookcache.request import metered_context
from hookcache.serving import NOTHING, nothing, served
from hookcache.truth import Finding, TruthCheck
from hookcache.usage import Metered, metered, with_usage_of

KEEP_SECONDS = 10.0  # more than storing can take when S3 and table both hang; with less left it is bounded from outside


class CachingHook:
    """
    A LambdaHook handler that answers repeated requests from the cache and asks `backend` for the others.

    Args:
        backend: who answers in the end.
        cache: gives keys, tiers and flights; None while the HMAC secret cannot be had in time (F30).
        rules: the operator's rules, by context.
        prices: what the backend's units cost.
        meter: writes the receipts.
        truth: checks a share of the hits (P59).
        clock: for ages and the backend's time.
        mark: this function's mark in client contexts, empty where no loop is possible (F40).
    """

    def __init__(
        self,
        backend: Backend,
        cache: Callable[[Deadline], Cache | None],
        rules: Mapping[str, Rules],
        prices: Prices,
        meter: Meter,
        truth: TruthCheck,
        clock: Clock,
        mark: str = "",
    ) -> None:
        self._backend, self._cache, self._rules = backend, cache, rules
        self._prices, self._meter, self._truth = prices, meter, truth
        self._clock, self._mark = clock, mark

    def __call__(self, event: Any, context: Any) -> Any:
        """The answer to `event`: the backend's, or the one it gave to an equal request before."""
        step = metered_context(event)
        receipt = self._meter.open(step, context)
        try:
            call = Call(event, context, self._rules[step], receipt)
            percall.refuse_loop(context, self._mark)
            prepared = self._prepare(call)  # steps 1-3
            if isinstance(prepared, Bypass):
                return self._answered(call, self._invoke(call, event), Outcome.BYPASS, prepared.reason)
            cache, lookup = prepared
            known = self._recall(call, cache, lookup)  # steps 4-5
            return self._fetch(call, cache, lookup) if known is NOTHING else known  # steps 6-9
        except BaseException as error:
            receipt.failed(error)
            raise
        finally:
            self._meter.close(receipt)  # step 10

    def _prepare(self, call: Call) -> tuple[Cache, Lookup] | Bypass:
        """Steps 1-3: what to look up, or why nothing is."""
        call.receipt.mode = call.rules.mode
        if call.rules.mode is Mode.OFF:
            return Bypass(Reason.MODE_OFF)  # reads and writes nothing, orders included (P50)
        try:
            cache = self._cache(call.deadline)
            if cache is None:
                return Bypass(Reason.SECRET_UNAVAILABLE)
            lookup = cache.prepare(call.event, call.context, call.rules, call.receipt, call.seconds_to_prepare)
            if isinstance(lookup, Bypass):
                return lookup
            return Bypass(Reason.DISTRUSTED) if self._truth.distrusts(lookup) else (cache, lookup)
        except Unkeyable as unkeyable:
            call.receipt.image_errors += unkeyable.reason is Reason.IMAGE_UNREADABLE
            return Bypass(unkeyable.reason)
        except Exception as trouble:  # P18: our own fault must not fail the request
            call.receipt.error_type = type(trouble).__name__
            return Bypass(Reason.INTERNAL)

    def _recall(self, call: Call, cache: Cache, lookup: Lookup, leader: Leader | None = None) -> Any:
        """Steps 4-5: the stored answer, or `NOTHING` that may be served; a leader looks past the memory tier, consistently."""
        try:
            entry = cache.recall(lookup, call.receipt, again=leader is not None)
            if entry is None:
                return NOTHING
            if leader is not None:
                leader.land(entry)
            if not lookup.mode.serves:
                call.receipt.would_hit, lookup.unserved = True, entry
                return NOTHING
            outcome = Outcome.HIT_MEMORY if lookup.from_memory else Outcome.HIT_TABLE
            # Not where the caller hears the backend speak: what it hears would be the check's answer and not the kept one.
            checked = leader is None and self._truth.wanted(lookup) and getattr(call.context, "outlet", None) is None
        except Exception as trouble:  # P18
            return nothing(call, lookup, trouble)
        if checked:
            return self._check(call, cache, lookup, outcome)
        return served(call, lookup, entry, outcome, self._clock)

    def _check(self, call: Call, cache: Cache, lookup: Lookup, outcome: Outcome) -> Any:
        """The stored answer, compared with a call's (P59). If it may no longer be served after that, what the call brought (P54)."""
        try:
            told: Answer | Exception = self._invoke(call, lookup.event())
        except Exception as error:
            told = error
        try:
            entry = look_again(cache, lookup, call.deadline, call.receipt)
            known = NOTHING if entry is None else self._compared(call, cache, lookup, entry, outcome, told)
        except Exception as trouble:  # P18
            known = nothing(call, lookup, trouble)
        if known is not NOTHING:
            return known
        if isinstance(told, Exception):
            return self._fail(call, cache, lookup, told)
        return self._answered(call, told, Outcome.BYPASS, lookup.trouble or Reason.UNLEASED)

    def _compared(
        self, call: Call, cache: Cache, lookup: Lookup, entry: Entry, outcome: Outcome, told: Answer | Exception
    ) -> Any:
        """The stored answer, with the usage of the call that it was compared with: such a hit earns nothing (P57)."""
        kept, receipt = served(call, lookup, entry, outcome, self._clock), call.receipt
        if kept is NOTHING:
            return NOTHING
        receipt.earn_nothing()
        receipt.check = {"result": Finding.UNANSWERED.value}
        if isinstance(told, Exception):  # the check was our wish: its failure is not the caller's
            receipt.error_type = type_of(told)
            return kept
        reply, receipt.units_charged = self._note(call, told), {}
        if isinstance(cache.may_keep(lookup, told, reply), Admit):  # what would not be kept convicts nothing that is
            receipt.check = self._truth.judge(lookup, entry.as_json(), told.response)
        charged = with_usage_of(entry.response(), reply.response)
        return postable(charged, entry.body) if entry.may_be_unpostable() else charged

    def _fetch(self, call: Call, cache: Cache, lookup: Lookup) -> Any:
        """Steps 6-9: ask the backend, once for all who want the same."""
        match self._board(call, cache, lookup):
            case Leader() as leader:
                return self._lead(call, cache, lookup, leader)
            case Shared(error_type):
                return self._fail(call, cache, lookup, shared_failure(error_type))
            case Landed(entry):
                known = served(call, lookup, entry, Outcome.COLLAPSED, self._clock)
                if known is not NOTHING:
                    return known
            case Alone(reason):
                lookup.trouble = reason
        return self._ask(call, cache, lookup, None)

    def _board(self, call: Call, cache: Cache, lookup: Lookup) -> Leader | Landed | Shared | Alone:
        try:
            boarded = cache.flights.board(
                lookup.key,
                OwnerId(f"{call.receipt.request_id}/{os.urandom(16).hex()}"),
                call.deadline,
                lambda: cache.recall(lookup, call.receipt, again=True),
                manner=lookup.manner,
                negative=lookup.rules.negative_errors,
                unleased=lookup.unleased,
            )
            usable = not isinstance(boarded, Landed) or cache.may_serve(lookup, boarded.entry)
        except FollowerTimedOut:
            if not lookup.rules.delegate_after_wait:
                raise
            return Alone(Reason.UNLEASED)
        except Exception as trouble:  # P18
            call.receipt.error_type = type(trouble).__name__
            return Alone(Reason.INTERNAL)
        return boarded if usable else Alone(Reason.UNLEASED)

    def _lead(self, call: Call, cache: Cache, lookup: Lookup, leader: Leader) -> Any:
        if leader.lease is None:
            call.receipt.table_errors += lookup.blames_table(leader.reason)
            lookup.trouble = leader.reason
        try:
            with leader:
                if leader.lease is not None and lookup.mode.serves:
                    # Two callers may both miss, one store, and the other lead only then: look again (P24).
                    known = self._recall(call, cache, lookup, leader)
                    if known is not NOTHING:
                        return known
                return self._ask(call, cache, lookup, leader)
        finally:
            call.receipt.lease_lost += leader.lost

    def _ask(self, call: Call, cache: Cache, lookup: Lookup, leader: Leader | None) -> Any:
        """Steps 7-9. Without a leader's lease the answer is returned and not stored (P54)."""
        indexed = self._index(call, cache, lookup, leader)
        try:
            answer = self._invoke(call, lookup.event())
        except Exception as error:
            if leader is not None:
                leader.struck(error)
            return self._fail(call, cache, lookup, error)
        call.receipt.end(*lookup.outcome_of_fetch())
        reply = self._note(call, answer)
        self._keep(call, leader, partial(cache.keep, lookup, answer, reply, leader, call.receipt, indexed=indexed))
        return postable(reply.response, answer.body)

    def _keep(self, call: Call, leader: Leader | None, keep: Callable[[], Reason | None]) -> None:
        """Steps 8-9. The answer is there and goes out, whatever fails here and however long it would take (P20, P21)."""
        try:
            left = call.deadline.usable_seconds()
            call.receipt.refusal = keep() if left > KEEP_SECONDS else within(left, keep, "hookcache-keep")
        except Exception as trouble:
            call.receipt.refusal, call.receipt.error_type = Reason.STORE_FAILED, type(trouble).__name__
            if leader is not None:
                leader.refuse()  # nobody need queue for what cannot be kept (P48)

    def _index(self, call: Call, cache: Cache, lookup: Lookup, leader: Leader | None) -> bool:
        try:
            return cache.index(lookup, leader, call.receipt)
        except Exception as trouble:  # P18
            call.receipt.error_type = type(trouble).__name__
            return False

    def _fail(self, call: Call, cache: Cache, lookup: Lookup, error: Exception) -> Any:
        """A failed fetch: a stale answer where the operator allows one (P45), else the error."""
        stale = stale_answer(cache, lookup, error, call.deadline, call.receipt)
        known = NOTHING if stale is None else served(call, lookup, stale, Outcome.STALE, self._clock)
        if known is NOTHING:
            raise error
        call.receipt.error_type = type_of(error)
        return known

    def _invoke(self, call: Call, event: Any) -> Answer:
        started = self._clock.elapsed()
        call.receipt.asked_backend = True
        try:
            return self._backend.invoke(event, call.context, call.deadline)
        except Exception as error:
            if call.rules.error_detail == "type":
                raise without_words(error) from None
            raise
        finally:
            call.receipt.backend_ms += whole_micros(self._clock.elapsed() - started)

    def _answered(self, call: Call, answer: Answer, outcome: Outcome, reason: Reason) -> Any:
        """The cache is not used: the backend's answer as it is, but for a usage that would harm the host (P33)."""
        call.receipt.end(outcome, reason)
        reply = self._note(call, answer)
        return postable(answer.response if reason is Reason.MODE_OFF else reply.response, answer.body)

    def _note(self, call: Call, answer: Answer) -> Metered:
        """What the backend's call used, into the receipt; the reply with a usage that is safe for the host."""
        reply = metered(answer.response)
        call.receipt.units_spent, call.receipt.usage_removed = reply.units, reply.removed
        call.receipt.backend_version = answer.version or ""
        call.receipt.cost, call.receipt.unpriced = self._prices.total(reply.units, call.seconds_to_prepare())
        return reply
