"""The product with a guard taken out, for the negative controls: what each guard is there for."""

from __future__ import annotations

from typing import Any

from hookcache.assembly import Assembly
from hookcache.breaker import Breaker, Pass
from hookcache.cache import Cache
from hookcache.errors import Unkeyable
from hookcache.hook import CachingHook, Call
from hookcache.items import Items
from hookcache.lookup import Lookup
from hookcache.policy import Bypass
from rig import Environment, Rig


class OpenHearted(CachingHook):
    """The hook without its catch-alls: whatever a tier raises reaches the request."""

    def _prepare(self, call: Call) -> tuple[Cache, Lookup] | Bypass:
        cache = self._cache()
        assert cache is not None
        try:
            lookup = cache.prepare(call.event, call.context, call.rules, call.receipt)
        except Unkeyable as unkeyable:
            return Bypass(unkeyable.reason)
        return lookup if isinstance(lookup, Bypass) else (cache, lookup)

    def _ask(self, call: Call, cache: Cache, lookup: Lookup, leader: Any) -> Any:
        indexed = cache.index(lookup, leader, call.receipt)
        answer = self._invoke(call, lookup.event())
        call.receipt.end(*lookup.outcome_of_fetch())
        reply = self._note(call, answer)
        call.receipt.refusal = cache.keep(lookup, answer, reply, leader, call.receipt, indexed=indexed)
        return reply.response


class BareItems(Items):
    """The table without translation of its errors."""

    def _call(self, operation: str, unit: str, **arguments: Any) -> Any:
        named = {} if operation == "batch_write_item" else {"TableName": self._table}
        reply = getattr(self._dynamodb(), operation)(**{"ReturnConsumedCapacity": "TOTAL"} | arguments | named)
        self._spend(unit, reply["ConsumedCapacity"])
        return reply


class NoBreaker(Breaker):
    """Never opens."""

    def ask(self) -> Pass:
        return Pass.GO


def weakened(rig: Rig, *, items: Any = None, hook: type[CachingHook] = CachingHook) -> Environment:
    """
    An environment of the rig with one part replaced.

    Args:
        items: from the assembly to the table as the control wants it.
        hook: the class of the path.
    """
    environment = rig.cold_start()
    assembly: Assembly = environment.assembly
    if items is not None:
        assembly.items.close()
        assembly.items = items(assembly)
    environment.hook = assembly.hook(assembly.lambda_backend())
    environment.hook.__class__ = hook  # same parts, other path
    return environment
