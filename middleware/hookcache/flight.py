"""
One fetch per key: in this process first, then by lease across environments (docs/protocol.md).

    board(key) -> Leader      fetch, then say what came of it: land, fail, refuse or (by leaving) none of these
                  Landed      somebody else's fetch was kept: here is its entry
                  Shared      somebody else's fetch failed at the backend while we waited: its error type
                  Alone       fetch for yourself, without a lease; the answer is not stored (P48, P54)

Only the current flight of a key is ever removed, and a leader that dies in any way frees its followers (P28).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from enum import Enum

from hookcache.chance import between
from hookcache.clock import Clock, Deadline
from hookcache.entry import Entry, Fence
from hookcache.errors import FollowerTimedOut, TierUnavailable
from hookcache.items import Throttled
from hookcache.key import CacheKey
from hookcache.leader import Alone, Ending, Landed, Leader, Left, Pulse, Shared
from hookcache.lease import Held, Lease, LeaseBook, OwnerId, Sight, observed
from hookcache.outcome import Reason

POLL_FIRST_SECONDS = 0.02
POLL_CAP_SECONDS = 1.0


class Manner(Enum):
    """How a caller boards: FOLLOW takes another's answer, OWN waits its turn for its own, TRY never waits."""

    FOLLOW = "follow"
    OWN = "own"
    TRY = "try"


Look = Callable[[], Entry | None]


class _Flight:
    """One fetch in this process."""

    __slots__ = ("ending", "over", "thread_id")

    def __init__(self) -> None:
        self.thread_id = threading.get_ident()
        self.over = threading.Event()
        self.ending: Ending = Left()


class Flights:
    """
    The fetches in progress, of this process and, through `book`, of all.

    Args:
        book: takes leases of the table.
        wait_seconds: how long a follower waits at most (P27).
    """

    def __init__(self, book: LeaseBook, clock: Clock, wait_seconds: float) -> None:
        self._book = book
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._flights: dict[CacheKey, _Flight] = {}
        self._pulse = Pulse(book.beat_seconds)

    def board(
        self,
        key: CacheKey,
        owner: OwnerId,
        deadline: Deadline,
        look: Look,
        *,
        manner: Manner = Manner.FOLLOW,
        negative: Collection[str] = (),
        unleased: Reason | None = None,
    ) -> Leader | Landed | Shared | Alone:
        """
        Become the leader for `key`, or wait for what its leader brings.

        Args:
            look: reads the entry consistently; None if there is no usable one. Called once a leader is done.
            negative: error types not to be repeated for a minute, to those who would take another's answer.
            unleased: why no lease is to be asked for (the table just failed); None asks for one.

        Raises:
            FollowerTimedOut: the wait was over first (P27).
        """
        give_up = self._clock.elapsed() + min(self._wait_seconds, deadline.usable_seconds())
        while True:
            with self._lock:
                flight = self._flights.get(key)
                if flight is None:
                    flight = self._flights[key] = _Flight()
                    break
            if flight.thread_id == threading.get_ident():
                return Alone(Reason.NESTED)
            if manner is Manner.TRY:
                return Alone(Reason.UNLEASED)
            if not flight.over.wait(max(0.0, give_up - self._clock.elapsed())):
                raise self._too_late()
            ending = flight.ending  # read once: under a refusal it is set when the leader begins, and again at its end
            if isinstance(ending, Alone) or (manner is Manner.FOLLOW and not isinstance(ending, Left)):
                return ending
        notes = negative if manner is Manner.FOLLOW else ()  # who wants its own answer does ask the backend

        def ask() -> Lease | Landed | Shared | Alone:
            return Alone(unleased) if unleased else self._among_all(key, owner, give_up, look, manner, notes)

        return self._lead(key, flight, deadline, ask)

    def _too_late(self) -> FollowerTimedOut:
        bound = f"HOOKCACHE_WAIT_SECONDS ({self._wait_seconds:g})"
        return FollowerTimedOut(f"no answer from the leader within {bound}, or within what was left of this invocation")

    @property
    def in_progress(self) -> int:
        """How many keys are being fetched here."""
        with self._lock:
            return len(self._flights)

    def close(self) -> None:
        """Let the thread end that has leases renewed."""
        self._pulse.close()

    def _lead(
        self,
        key: CacheKey,
        flight: _Flight,
        deadline: Deadline,
        ask: Callable[[], Lease | Landed | Shared | Alone],
    ) -> Leader | Landed | Shared | Alone:
        """We lead in this process; now `ask` whether we lead among all."""

        def end(ending: Ending) -> None:
            flight.ending = ending
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.over.set()

        try:
            boarded = ask()
        except BaseException:
            end(Left())
            raise
        if isinstance(boarded, Lease):
            if boarded.refused_lately:  # nobody waits for this key (P48): those here go on, those to come walk past
                flight.ending = Alone(Reason.REFUSAL_WINDOW)
                flight.over.set()
            return Leader(end, deadline, self._book, self._pulse, boarded)
        if isinstance(boarded, Alone) and boarded.reason is not Reason.REFUSAL_WINDOW:
            return Leader(
                end, deadline, self._book, self._pulse, None, boarded.reason
            )  # no lease, yet alone in this process (P23)
        end(boarded)
        return boarded

    def _among_all(
        self, key: CacheKey, owner: OwnerId, give_up: float, look: Look, manner: Manner, negative: Collection[str]
    ) -> Lease | Landed | Shared | Alone:
        """Whether we lead among all environments; a table that cannot say leaves us alone."""
        try:
            while True:
                taken = self._book.acquire(key, owner, negative)
                if not isinstance(taken, Held):
                    return taken if isinstance(taken, Lease) else Shared(taken.error_type)
                if taken.item.owner.partition("/")[0] == owner.partition("/")[0]:
                    return Alone(Reason.NESTED)  # this very invocation, through another cache around the same handler
                if taken.item.refused_lately(self._clock.now_ms()):
                    return Alone(Reason.REFUSAL_WINDOW)
                if manner is Manner.TRY:
                    return Alone(Reason.UNLEASED)
                ending = self._follow(key, taken.item.fence, give_up, look, manner)
                if ending is not None:
                    return ending
        except Throttled:
            return Alone(Reason.UNLEASED)
        except TierUnavailable:
            return Alone(Reason.TABLE_DOWN)

    def _follow(
        self, key: CacheKey, since: Fence, give_up: float, look: Look, manner: Manner
    ) -> Landed | Shared | Alone | None:
        """Poll the lease, seen held under the fence `since`, until its fetch is over. None: it is ours to take."""
        cap = POLL_FIRST_SECONDS
        while True:
            left = give_up - self._clock.elapsed()
            if left <= 0:
                raise self._too_late()
            self._clock.sleep(min(left, between(cap / 2, cap)))
            cap = min(cap * 2, POLL_CAP_SECONDS)
            item = self._book.read(key)
            sight = observed(item, self._clock.now_ms(), self._book.skew_ms, since=since)
            if sight is Sight.WAIT:
                continue
            if manner is not Manner.FOLLOW:
                return None
            match sight:
                case Sight.LOOK:
                    entry = look()
                    return None if entry is None else Landed(entry)
                case Sight.SHARE:
                    return Shared(item.note if item is not None else "")
                case Sight.ALONE:
                    return Alone(Reason.REFUSAL_WINDOW)
                case _:
                    return None
