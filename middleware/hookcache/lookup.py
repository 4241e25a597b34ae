"""One invocation, and its request on the way through the cache: what identifies it, and what was found out about it so far."""

from __future__ import annotations

from hookcache.clock import Deadline, EpochMillis
from hookcache.control import Standing
from hookcache.entry import Entry
from hookcache.flight import Manner
from hookcache.hints import Any
from hookcache.images import ImageDigest
from hookcache.key import CacheKey
from hookcache.memo import Spelling, event_of
from hookcache.outcome import Outcome, Reason
from hookcache.percall import CallControl
from hookcache.policy import Mode, Rules
from hookcache.receipt import Receipt
from hookcache.request import HookRequest


class Call:
    """One invocation: what came, what is left of its time, and its receipt."""

    def __init__(self, event: Any, context: Any, rules: Rules, receipt: Receipt) -> None:
        self.event, self.context, self.rules = event, context, rules
        self.deadline, self.receipt = Deadline(context), receipt

    def seconds_to_prepare(self) -> float:
        """Half of what is left; the other half is the backend's, or, behind it, that of keeping the answer."""
        return self.deadline.usable_seconds() / 2


class Lookup:
    """
    One request on its way through the tiers. `origin` is the digests of its canonical form and of each image.

    `trouble` is set when the table failed on the way: nothing is then leased or stored (P54). `miss` is what the look-up
    found out (P58), `stale` an entry that it found past its freshness (P45), `unserved` one that `observe` did not serve;
    `from_memory` tells that an answer was found in memory.
    """

    trouble: Reason | None = None
    miss: Reason = Reason.NOT_LOOKED_UP
    stale: Entry | None = None
    unserved: Entry | None = None
    from_memory: bool = False

    def __init__(
        self,
        request: HookRequest,
        rules: Rules,
        mode: Mode,
        wishes: CallControl,
        standing: Standing,
        account: str | None,
        digests: tuple[ImageDigest, ...],
        origin: tuple[bytes, ...],
        key: CacheKey,
        began_ms: EpochMillis,
        spelt: Spelling | None,
    ) -> None:
        self.request = request
        self.rules = rules
        self.mode = mode
        self.wishes = wishes
        self.standing = standing
        self.account = account
        self.digests = digests
        self.origin = origin
        self.key = key
        self.began_ms = began_ms
        self._spelt = spelt

    def event(self) -> Any:
        """The event that was keyed, for the backend: as it was then, whatever its owner does to it meanwhile (P5)."""
        return self.request.event if self._spelt is None else event_of(self._spelt)

    def outcome_of_fetch(self) -> tuple[Outcome, Reason]:
        """How an invocation ends that had to ask the backend."""
        if self.mode is Mode.OBSERVE:
            return Outcome.OBSERVE, self.miss if self.unserved is None else Reason.WOULD_HIT
        if self.trouble not in {None, Reason.READ_ONLY}:
            return Outcome.BYPASS, self.trouble
        return (Outcome.REFRESH if self.wishes.refresh else Outcome.MISS), self.miss

    @property
    def manner(self) -> Manner:
        """How it boards a flight."""
        if self.mode in {Mode.OBSERVE, Mode.WRITE_ONLY}:
            return Manner.TRY
        return Manner.OWN if self.wishes.refresh else Manner.FOLLOW

    @property
    def unleased(self) -> Reason | None:
        """Why no lease is to be asked for; None where one is."""
        if self.mode is Mode.READ_ONLY:
            return Reason.READ_ONLY
        if not self.standing.orders_known:  # they may forbid that anything is kept (P50)
            return Reason.ORDERS_UNREADABLE if self.standing.corrupt else Reason.TABLE_DOWN
        return self.trouble

    def blames_table(self, reason: Reason | None) -> bool:
        """
        Is the table to blame that no lease came, for `reason`? A look-up that failed was counted before; who never waits
        may only have met a leader, who is nested has met itself, and who may keep nothing asked for none.
        """
        if self.trouble is not None or reason in {Reason.NESTED, Reason.READ_ONLY, Reason.ORDERS_UNREADABLE}:
            return False
        return reason is Reason.TABLE_DOWN or self.manner is not Manner.TRY
