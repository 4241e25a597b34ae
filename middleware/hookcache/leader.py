"""
The leader of a fetch: keeps its lease alive while the backend works, and says in the end what came of it.

    lead ... tick ... tick ... tick ... tick: a beat has passed, renew ......... renew ......... leave
    lead ...... leave: no thread was started, nothing is waited for

Leaving without a word frees the followers, so a leader that dies in any way holds nobody up (P28).
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from types import TracebackType

from hookcache.bounded import within
from hookcache.clock import Deadline
from hookcache.entry import Entry, Fence
from hookcache.errors import NOTED_TYPE, BackendFailed, BackendMalformed, HookCacheError
from hookcache.lease import UNKEPT, Lease, LeaseBook, State
from hookcache.outcome import Reason
from hookcache.value import value

FREE_SECONDS = 3.0
"""More than a release takes with a hanging table; with less time left it is bounded from outside (P21)."""
LATE_SECONDS = 0.2
"""What a release may take of the margin where nothing else is left: many times what a table that works needs."""
TICKS = 4
"""In how many parts a beat is counted: the first renewal comes at most one part early."""


@value
class Landed:
    """The leader's answer was kept."""

    entry: Entry


@value
class Shared:
    """The leader's fetch failed at the backend with this error type."""

    error_type: str


@value
class Alone:
    """Fetch without a lease and do not store."""

    reason: Reason


class Left:
    """The leader went without a word that concerns others: deadline, throttle, crash."""


Ending = Landed | Shared | Alone | Left


class Pulse:
    """
    Counts for all who lead here, and begins the renewals of a lease once a beat has passed under it.

    One thread for all, which lives while there are fetches and a beat longer. Most fetches end within their first beat
    and never meet it: a thread for each took 0.2 ms to start and to wait for.
    """

    def __init__(self, beat_seconds: float) -> None:
        self._tick_seconds = beat_seconds / TICKS
        self._lock = threading.Lock()
        self._leading: dict[Leader, int] = {}
        """Who leads, and how many ticks ago that began."""
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def add(self, leader: Leader) -> None:
        """From now on `leader` leads. Raises whatever keeps a thread from being started: its lease then ends early (F18)."""
        with self._lock:
            self._leading[leader] = 0
            if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            thread = threading.Thread(target=self._count, name="hookcache-pulse", daemon=True)
            thread.start()
            self._thread = thread

    def drop(self, leader: Leader) -> None:
        """It leads no longer: once this returns its renewals are under way or will never be begun."""
        with self._lock:
            self._leading.pop(leader, None)

    def close(self) -> None:
        """Let the thread end."""
        self._closed.set()

    def _count(self) -> None:
        idle = 0
        while not self._closed.wait(self._tick_seconds):
            with self._lock:
                idle = 0 if self._leading else idle + 1
                if idle > TICKS:
                    self._thread = None
                    return
                for leader, ticks in tuple(self._leading.items()):
                    self._leading[leader] = ticks + 1
                    if ticks + 1 >= TICKS:
                        # Whatever goes wrong: the next tick tries again, and the others go on.
                        with contextlib.suppress(Exception):
                            leader.renew_from_now_on()
                            del self._leading[leader]


class Leader:
    """
    The right and the duty to fetch. A context manager: leaving it without a word frees the followers.

    `lease` is None where the table gave none: then nothing may be stored, and `reason` says why (P54). `pulse` has it
    renewed by `book`.
    """

    def __init__(
        self,
        end: Callable[[Ending], None],
        deadline: Deadline,
        book: LeaseBook,
        pulse: Pulse,
        lease: Lease | None,
        reason: Reason | None = None,
    ) -> None:
        self._end = end
        self._deadline = deadline
        self._book = book
        self._pulse = pulse
        self.lease = lease
        self.reason = reason
        self.lost = False
        self.hopeless = False
        """Nothing can be stored, by the next leader as little: a right or a key is missing, no blip."""
        self._ending: Ending = Left()
        self._release = (State.FREE, "")
        self._stop: threading.Event
        self._beats: threading.Thread | None = None

    @property
    def fence(self) -> Fence | None:
        """What a store under this flight bears; None forbids storing."""
        return None if self.lease is None else self.lease.fence

    def land(self, entry: Entry, *, kept: bool = True) -> None:
        """
        The answer is kept, or at least good for those who wait here. Those elsewhere need not queue in vain: where it
        cannot be kept, or could not for the second time, nobody waits for a while (P48).
        """
        self._ending = Landed(entry)
        self._release = (State.DONE, "" if kept else UNKEPT)
        if not kept and (self.hopeless or (self.lease is not None and self.lease.unkept_lately)):
            self._release = (State.REFUSED, State.REFUSED.value)

    def fail(self, error_type: str) -> None:
        """The backend failed: those who wait fail with us, nobody after them (P17)."""
        note = error_type if re.fullmatch(NOTED_TYPE, error_type) else "BackendFailed"
        self._ending, self._release = Shared(note), (State.FAILED, note)

    def struck(self, error: Exception) -> None:
        """Those who wait share the backend's failure; what was only this leader's trouble frees them instead (3.4)."""
        match error:
            case BackendFailed():
                self.fail(error.error_type)
            case HookCacheError() if not isinstance(error, BackendMalformed):
                return
            case _:
                self.fail(type(error).__name__)  # a handler in this process raises what it likes

    def refuse(self) -> None:
        """The answer is not kept: those who wait ask for themselves, at once and all together (P48)."""
        self._ending, self._release = Alone(Reason.REFUSAL_WINDOW), (State.REFUSED, State.REFUSED.value)

    def __enter__(self) -> Leader:
        if self.lease is not None:
            with contextlib.suppress(Exception):  # without it the lease ends early (F18), and the fetch goes on (P18)
                self._pulse.add(self)
        return self

    def renew_from_now_on(self) -> None:
        """
        Renew the lease every beat, in a thread of this fetch's own: a table that hangs delays no other's renewals.

        Raises whatever keeps a thread from being started. Where none ever can be, the lease ends early, which costs a call and
        no answer (F18).
        """
        self._stop = threading.Event()
        beats = threading.Thread(target=self._beat, args=(self.lease,), name="hookcache-lease", daemon=True)
        beats.start()
        self._beats = beats

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pulse.drop(self)
        if self._beats is not None:
            self._stop.set()
        try:
            if self.lease is not None:
                self._release_in_time(self.lease)
        except Exception:
            pass  # P18: the answer goes out; the lease ends by itself within `LEASE`
        finally:
            self._end(self._ending)

    def _release_in_time(self, lease: Lease) -> None:
        """A lease that cannot be released in time ends by itself; a handler that waits for its release may be killed."""
        usable = self._deadline.usable_seconds()
        if usable > FREE_SECONDS:
            self._set_free(lease)
        else:
            late = min(LATE_SECONDS, max(0.0, self._deadline.remaining_seconds() / 2))
            within(max(usable, late), lambda: self._set_free(lease), "hookcache-release")

    def _set_free(self, lease: Lease) -> None:
        if self._beats is not None:
            self._beats.join()
        self.lost |= not self._book.release(lease, *self._release)

    def _beat(self, lease: Lease) -> None:
        while not self._stop.is_set():
            try:
                if not self._book.renew(lease):
                    self.lost = True
                    return
            except Exception:
                pass  # P18: the backend's work goes on; at worst it is asked once more (F18)
            self._stop.wait(self._book.beat_seconds)
