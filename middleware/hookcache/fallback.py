"""
What is served once the backend was asked: a stale answer in place of a failed fetch, where the operator allows one (P45); a
kept answer beside its check (P59).

The look-up found it before the backend was asked, up to a quarter of an hour ago. So it is looked for once more: its time may
be over (P10), an erase (P13), an order (P44) or a deployment of the backend (P40) may have come meanwhile. Only failures and
checks pay for that.
"""

from __future__ import annotations

from functools import partial

from hookcache.bounded import within
from hookcache.cache import Cache
from hookcache.clock import Deadline
from hookcache.entry import Entry
from hookcache.errors import HookCacheError
from hookcache.leader import LATE_SECONDS
from hookcache.lookup import Lookup
from hookcache.policy import Mode
from hookcache.receipt import Receipt

LOOK_SECONDS = 10.0
"""More than a look takes when table, bucket and control plane all hang; with less left it is bounded from outside."""


def stale_answer(cache: Cache, lookup: Lookup, error: Exception, deadline: Deadline, receipt: Receipt) -> Entry | None:
    """
    A stored answer that may still be served now that the fetch failed with `error`; none behind half an answer.

    None also where the table cannot be asked in time: what may have been erased is not served, and the caller gets the
    backend's error, as without `stale_if_error`. When no usable time is left, the look may take as much of the margin as
    the release of a lease (P21).
    """
    if not lookup.rules.stale_if_error or lookup.stale is None or not lookup.mode.serves:
        return None
    if isinstance(error, HookCacheError) and error.answer_begun:
        return None
    return look_again(cache, lookup, deadline, receipt, stale=True)


def look_again(
    cache: Cache, lookup: Lookup, deadline: Deadline, receipt: Receipt, *, stale: bool = False
) -> Entry | None:
    """
    What may be served now: as at a first look, or, where `stale`, in place of a better answer, which the table has to say.
    None also where that cannot be told in time. Never raises.
    """
    look = partial(_look, cache, lookup, receipt, stale=stale)
    left = deadline.usable_seconds()
    try:
        if left > LOOK_SECONDS:
            return look()
        late = min(LATE_SECONDS, deadline.remaining_seconds() / 2)
        return within(max(left, late), look, "hookcache-look")
    except Exception:  # P18: what the backend said is at hand
        return None


def _look(cache: Cache, lookup: Lookup, receipt: Receipt, *, stale: bool) -> Entry | None:
    before, lookup.stale = lookup.standing, None
    lookup.standing = cache.control.now(lookup.request.context, share=lookup.rules.mode is not Mode.READ_ONLY)
    now = lookup.standing.orders
    if now.mode(lookup.request.context) not in {None, Mode.ON, Mode.READ_ONLY}:
        return None
    if now.generation != before.orders.generation or lookup.standing.identity != before.identity:
        return None  # equal requests have another key by now
    return cache.recall(lookup, receipt, again=stale) or (lookup.stale if stale else None)
