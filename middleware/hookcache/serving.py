"""A stored answer as the host gets it, and what the receipt says of it."""

from __future__ import annotations

from hookcache.clock import Clock
from hookcache.entry import Entry
from hookcache.hints import Any
from hookcache.lookup import Call, Lookup
from hookcache.outcome import Outcome, Reason
from hookcache.postable import postable
from hookcache.usage import metered, without_charge

NOTHING = object()
"""No stored answer; what a backend answers may be None (S29)."""


def served(call: Call, lookup: Lookup, entry: Entry, outcome: Outcome, clock: Clock) -> Any:
    """
    The answer parsed anew (P8), verbatim (P9), its usage zeros (P32); `NOTHING` where that fails (P18). Never raises.

    Credit is for an answer that saved a call, not for one that was served for want of a better (P57).
    """
    receipt = call.receipt
    try:
        response = entry.response()
        receipt.end(outcome, lookup.miss if outcome is Outcome.STALE else None)
        receipt.age_seconds = max(0, clock.now_ms() - entry.created_ms) / 1000
        receipt.entry_bytes = entry.body_bytes()
        receipt.backend_version = entry.backend_version
        if outcome is not Outcome.STALE:
            receipt.units_saved = entry.usage
            receipt.saved_cost, receipt.unpriced = entry.saved()
        if lookup.rules.usage_on_hit == "original":
            charged = metered(response)
            receipt.units_charged, response = charged.units, charged.response
        else:
            response = without_charge(response, entry.usage)
        return postable(response, entry.body) if entry.may_be_unpostable() else response
    except Exception as trouble:
        return nothing(call, lookup, trouble)


def nothing(call: Call, lookup: Lookup, trouble: Exception) -> object:
    """The stored answer is not served after all, for `trouble` with it: the backend is asked, or has been."""
    call.receipt.withdraw(trouble)
    lookup.trouble = Reason.INTERNAL
    return NOTHING
