"""The leader's renewals, and its last act, the release of its lease, where little time is left. P21."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from hookcache.clock import Deadline, EpochMillis
from hookcache.entry import Fence
from hookcache.key import CacheKey
from hookcache.leader import LATE_SECONDS, TICKS, Leader, Left, Pulse
from hookcache.lease import Lease, LeaseBook, OwnerId, State
from stopwatch import Stopwatch


class Book(LeaseBook):
    """Releases take as long as `answers` is not set; `asked` says that one was begun."""

    def __init__(self) -> None:
        self.answers, self.asked = threading.Event(), threading.Event()
        self.released: list[State] = []

    @property
    def beat_seconds(self) -> float:
        return 10.0

    def release(self, lease: Lease, state: State, note: str = "") -> bool:
        self.asked.set()
        self.answers.wait(60)
        self.released.append(state)
        return True


def idle() -> Pulse:
    """A pulse that counts nothing."""
    pulse = Pulse(60.0)
    pulse.close()
    return pulse


def lead(book: Book, left_seconds: float) -> tuple[float, list[Any]]:
    """Lead and leave; how long leaving took, and what followers were told."""
    told: list[Any] = []
    deadline = Deadline(SimpleNamespace(get_remaining_time_in_millis=lambda: left_seconds * 1000))
    lease = Lease(CacheKey(b"k" * 32), OwnerId("me"), Fence(1), EpochMillis(30_000))
    with Stopwatch() as watch, Leader(told.append, deadline, book, idle(), lease):
        pass
    return watch.seconds, told


@pytest.mark.parametrize("left", [1.0, 0.5, 0.0], ids=["the margin", "less than it", "none"])
def test_a_table_that_hangs_at_the_end_costs_a_fraction_of_the_margin(left):
    """P21: the handler does not wait longer for a release than a table that works could take."""
    book = Book()
    took, told = lead(book, left)
    book.answers.set()

    assert took < LATE_SECONDS + 0.4
    assert isinstance(told[0], Left), "who waits in this process goes on at once"


def test_a_table_that_works_is_told_even_then():
    """P21: the lease is freed although only the margin is left."""
    book = Book()
    book.answers.set()
    lead(book, 1.0)

    assert [State.FREE] == book.released


def test_with_time_left_the_release_is_waited_for():
    """P21, control: the bound is for the end only."""
    book = Book()

    def answer_late():
        book.asked.wait(60)
        time.sleep(LATE_SECONDS + 0.4)
        book.answers.set()

    answering = threading.Thread(target=answer_late)
    answering.start()
    lead(book, 60.0)

    assert [State.FREE] == book.released
    answering.join(60)


class Renewed(Book):
    """A book whose releases are answered and whose renewals are counted."""

    def __init__(self, beat_seconds: float = 0.2, *, held: bool = True) -> None:
        super().__init__()
        self.answers.set()
        self._seconds, self._held = beat_seconds, held
        self.renewals = threading.Semaphore(0)
        self.renewed = 0

    @property
    def beat_seconds(self) -> float:
        return self._seconds

    def renew(self, lease: Lease) -> bool:
        self.renewed += 1
        self.renewals.release()
        return self._held


def leader(book: Book, pulse: Pulse) -> Leader:
    lease = Lease(CacheKey(b"k" * 32), OwnerId("me"), Fence(1), EpochMillis(30_000))
    return Leader(lambda _: None, Deadline(None), book, pulse, lease)


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def ended(name: str, among: list[threading.Thread], within_seconds: float = 30.0) -> bool:
    """Whether every thread of that name ends that was not there before."""
    for thread in threads(name):
        if thread not in among:
            thread.join(within_seconds)
    return not set(threads(name)) - set(among)


class TestRenewals:
    @pytest.fixture(autouse=True)
    def _apart(self):
        """Only this test's own threads count."""
        self.before = threads("hookcache-pulse")

    def test_the_first_comes_within_a_beat_and_others_follow(self):
        """P23, F18: a lease of three beats outlives two renewals that are lost."""
        book = Renewed(beat_seconds=0.8)
        pulse = Pulse(book.beat_seconds)
        began = time.monotonic()
        with leader(book, pulse) as leading:
            with Stopwatch() as first:
                assert book.renewals.acquire(timeout=30)
            at_least = time.monotonic() - began
            assert book.renewals.acquire(timeout=30)
        pulse.close()

        assert 0.8 * (TICKS - 1) / TICKS <= at_least, "what ends soon is not renewed, which would cost a write"
        assert first.seconds < 0.8 + 0.4
        assert not leading.lost
        assert [State.FREE] == book.released

    def test_one_that_fails_is_followed_by_others(self):
        """P18, F18: whatever it raises, the next beat may find the table again."""

        class Failing(Renewed):
            def renew(self, lease: Lease) -> bool:
                super().renew(lease)
                raise MemoryError

        book = Failing(beat_seconds=0.05)
        pulse = Pulse(book.beat_seconds)
        with leader(book, pulse) as leading:
            assert all(book.renewals.acquire(timeout=30) for _ in range(3))
        pulse.close()

        assert not leading.lost
        assert [State.FREE] == book.released

    def test_control_under_a_pulse_that_has_stopped_there_are_none(self):
        """F18, control: then the lease ends by itself."""
        book = Renewed(beat_seconds=0.05)
        with leader(book, idle()):
            time.sleep(0.2)

        assert 0 == book.renewed

    def test_a_fetch_that_is_over_before_its_first_beat_starts_no_thread_of_its_own(self):
        """P23: a hundred short fetches share one thread that only counts, and renew nothing."""
        book = Renewed(beat_seconds=60.0)
        pulse = Pulse(book.beat_seconds)
        for _ in range(100):
            with leader(book, pulse):
                assert [] == threads("hookcache-lease")
        counting = [thread for thread in threads("hookcache-pulse") if thread not in self.before]
        pulse.close()

        assert (1, 0) == (len(counting), book.renewed)
        assert ended("hookcache-pulse", self.before), "it ends when the pulse is closed"

    def test_a_renewal_comes_once_a_beat(self):
        """P23, P56: each is a write that is paid for."""
        book = Renewed(beat_seconds=60.0)
        pulse = Pulse(0.04)
        with leader(book, pulse):
            assert book.renewals.acquire(timeout=30)
            time.sleep(0.3)
        pulse.close()

        assert 1 == book.renewed

    def test_a_fetch_that_is_over_is_never_renewed(self):
        """P25, P28: though the pulse goes on, and another fetch with it."""
        over, goes_on = Renewed(beat_seconds=0.4), Renewed(beat_seconds=0.4)
        pulse = Pulse(0.8)
        with leader(goes_on, pulse):
            with leader(over, pulse):
                pass
            assert all(goes_on.renewals.acquire(timeout=30) for _ in range(2))
        pulse.close()

        assert (0, True) == (over.renewed, ended("hookcache-lease", []))

    def test_no_renewal_is_left_behind(self):
        """P28: the handler returns behind the last one, and the pulse knows of nobody."""
        book = Renewed(beat_seconds=0.04)
        pulse = Pulse(book.beat_seconds)
        with leader(book, pulse):
            assert book.renewals.acquire(timeout=30)
        renewed = book.renewed
        time.sleep(0.2)
        pulse.close()

        assert [] == threads("hookcache-lease")
        assert renewed == book.renewed

    def test_a_renewal_under_way_is_waited_for(self):
        """P25, P28: one that is done once the handler has returned would be frozen with it, and come hours later."""
        goes_on = threading.Event()

        class Slow(Renewed):
            def renew(self, lease: Lease) -> bool:
                held = super().renew(lease)
                goes_on.wait(60)
                return held

        book = Slow(beat_seconds=0.04)
        pulse = Pulse(book.beat_seconds)

        def fetch() -> None:
            with leader(book, pulse):
                assert book.renewals.acquire(timeout=30)

        fetching = threading.Thread(target=fetch)
        fetching.start()
        fetching.join(1)
        waits = fetching.is_alive(), list(book.released)
        goes_on.set()
        fetching.join(30)
        pulse.close()

        assert ((True, []), [State.FREE]) == (waits, book.released)

    def test_a_lost_lease_is_noticed_and_renewed_no_more(self):
        """P25: it is somebody else's."""
        book = Renewed(beat_seconds=0.04, held=False)
        pulse = Pulse(book.beat_seconds)
        with leader(book, pulse) as leading:
            assert book.renewals.acquire(timeout=30)
            time.sleep(0.2)
        pulse.close()

        assert (True, 1) == (leading.lost, book.renewed)

    def test_without_fetches_the_thread_ends_and_with_one_it_is_back(self):
        """P28: an environment at rest keeps no thread, and the next slow fetch is renewed all the same."""
        book = Renewed(beat_seconds=0.04)
        pulse = Pulse(book.beat_seconds)
        for _ in range(2):
            with leader(book, pulse):
                assert book.renewals.acquire(timeout=30)
            assert ended("hookcache-pulse", self.before)

    def test_many_fetches_at_once_are_each_renewed(self):
        """F18: in a thread each, so that a renewal which hangs delays no other."""
        books = [Renewed(beat_seconds=0.08) for _ in range(5)]
        pulse = Pulse(0.08)
        hanging = threading.Event()
        books[0].renew = lambda _: hanging.wait(30)  # type: ignore[method-assign]
        leaders = [leader(book, pulse) for book in books]
        for each in leaders:
            each.__enter__()
        for book in books[1:]:
            assert book.renewals.acquire(timeout=30)
        hanging.set()
        for each in leaders:
            each.__exit__(None, None, None)
        pulse.close()

    def test_one_whose_renewals_cannot_begin_stops_no_other_s_and_is_tried_again(self):
        """P23, F18: a thread that cannot be had now may be had at the next tick; the others need none of that."""
        books = [Renewed(beat_seconds=0.04) for _ in range(2)]
        pulse = Pulse(0.04)
        poor, rich = (leader(book, pulse) for book in books)
        begin, tries = poor.renew_from_now_on, []

        def fail_twice() -> None:
            tries.append(1)
            if len(tries) < 3:
                raise MemoryError
            begin()

        poor.renew_from_now_on = fail_twice  # type: ignore[method-assign]
        with poor, rich:
            for book in books:
                assert book.renewals.acquire(timeout=30)
        pulse.close()

        assert 3 == len(tries)

    def test_a_pulse_that_died_is_begun_anew(self, monkeypatch):
        """F18: whatever ended its thread, a fork among it."""
        pulse, book = Pulse(0.04), Renewed(0.04)
        count = pulse._count
        monkeypatch.setattr(pulse, "_count", lambda: None)
        with leader(Renewed(0.04), pulse):
            pulse._thread.join(30)  # from Python 3.13 on it may be alive for a moment after it is listed no more
            monkeypatch.setattr(pulse, "_count", count)
            with leader(book, pulse):
                assert book.renewals.acquire(timeout=30)
        pulse.close()

    def test_a_closed_pulse_starts_no_thread(self):
        """P28: a cache that was closed leaves nothing behind, whatever is fetched through it."""
        pulse = Pulse(0.01)
        pulse.close()
        book = Renewed(0.01)
        with leader(book, pulse):
            time.sleep(0.1)

        assert set() == set(threads("hookcache-pulse")) - set(self.before)
        assert 0 == book.renewed
