"""Threads of one process before one flight: what those do that the schedules of `tests/simulation` do not tell apart."""

from __future__ import annotations

import threading

import pytest

from fakes import FakeClock
from hookcache.clock import Deadline
from hookcache.entry import Entry
from hookcache.errors import BackendFailed, BackendMalformed, BackendThrottled, DeadlineTooClose
from hookcache.flight import Flights, Manner, _Flight
from hookcache.key import CacheKey
from hookcache.leader import Alone, Landed, Leader, Left, Shared
from hookcache.lease import KIND, REFUSAL_SECONDS, LeaseBook, LeaseItem, OwnerId, State
from hookcache.outcome import Reason
from simulation.items_double import MemoryItems
from waiting import eventually

KEY = CacheKey(b"k" * 32)
NO_LIMIT = Deadline(None)


@pytest.fixture
def items():
    return MemoryItems()


@pytest.fixture
def book(items, clock):
    return LeaseBook(items, clock, 30.0)


@pytest.fixture
def flights(book, clock):
    return Flights(book, clock, 45.0)


def board(flights, name="here", look=lambda: None, **told):
    return flights.board(KEY, OwnerId(name), NO_LIMIT, look, **told)


def in_thread(work):
    """Start `work` in a thread of its own; gives a function that waits for its result."""
    came = []
    thread = threading.Thread(target=lambda: came.append(work()))
    thread.start()

    def result():
        thread.join(60)
        return came[0]

    return result


def state_of(book):
    return book.read(KEY, consistent=True).state


def test_without_threads_for_heartbeats_the_fetch_goes_on(flights, book, monkeypatch):
    """P18, P28: a process that can start no more threads still leads, stores and frees its followers."""
    leader = board(flights)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with leader:
            leader.fail("Broken")

    assert (State.FAILED, 0) == (state_of(book), flights.in_progress)


@pytest.mark.parametrize(
    ("manner", "kind"),
    [(Manner.FOLLOW, Shared), (Manner.OWN, Leader), (Manner.TRY, Leader)],
    ids=lambda each: str(each),
)
def test_who_wants_its_own_answer_is_not_told_of_old_failures(flights, book, manner, kind):
    """P17, P50, P51: a negative note stands in for the backend, so `refresh` and `observe` do not see it."""
    with board(flights) as leader:
        leader.fail("Broken")
    boarded = board(flights, manner=manner, negative={"Broken"})

    assert isinstance(boarded, kind)
    if isinstance(boarded, Leader):
        with boarded:
            pass


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in one process", "in two"])
def test_who_wants_its_own_answer_shares_no_failure(flights, items, clock, elsewhere):
    """P51, P17: it waited its turn, and then asks the backend itself."""
    theirs = Flights(LeaseBook(items, clock, 30.0), clock, 45.0) if elsewhere else flights
    leader = board(flights)

    def fail(_=0):
        leader.fail("Broken")
        leader.__exit__(None, None, None)

    clock.on_sleep = fail
    beside = in_thread(lambda: board(theirs, "beside", manner=Manner.OWN))
    if not elsewhere:
        (flight,) = flights._flights.values()
        assert eventually(lambda: flight.over._cond._waiters)
        fail()
    boarded = beside()

    assert isinstance(boarded, Leader)
    with boarded:
        pass


@pytest.mark.parametrize(
    ("error_type", "note"),
    [
        *(("ThrottlingException", None), ("botocore.errorfactory.Gone", None), ("_", None), ("a" * 64, None)),
        *((text, "BackendFailed") for text in ("a" * 65, "", "1a", "a b", "a\nb", "\u00e9", "no page of Ms. Canary")),
    ],
)
def test_of_a_failure_others_learn_the_type_if_it_is_one(flights, book, error_type, note):
    """P17, P36: a type is an identifier of at most 64 letters; anything else may be a content, and stays here."""
    with board(flights) as leader:
        leader.fail(error_type)

    assert (note or error_type) == book.read(KEY, consistent=True).note


@pytest.mark.parametrize(
    ("error", "state", "note"),
    [
        (BackendFailed("no", "Broken"), State.FAILED, "Broken"),
        (BackendMalformed("no JSON"), State.FAILED, "BackendMalformed"),
        (KeyError("page"), State.FAILED, "KeyError"),
        (BackendThrottled("later"), State.FREE, ""),
        (DeadlineTooClose("no time"), State.FREE, ""),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else None,
)
def test_the_backends_failures_are_shared_and_the_leaders_own_are_not(flights, book, error, state, note):
    """P17, P28: those who wait meet the same backend, and have time of their own."""
    with board(flights) as leader:
        leader.struck(error)
    item = book.read(KEY, consistent=True)

    assert (state, note) == (item.state, item.note)


class Leaving(_Flight):
    """A flight whose leader leaves between any two looks at it."""

    def __init__(self, words):
        self._words = words
        super().__init__()
        self.thread_id = 0
        self.over.set()

    @property
    def ending(self):
        return self._words.pop(0)

    @ending.setter
    def ending(self, word):
        """What the leader says is in `words`."""


class TestRefusalWindow:
    def refuse_once(self, flights):
        with board(flights) as leader:
            leader.refuse()

    @pytest.mark.parametrize("manner", [Manner.FOLLOW, Manner.OWN])
    def test_nobody_waits_behind_a_leader_in_the_window(self, flights, manner):
        """P48: threads of one process walk past its leader, as other environments do."""
        self.refuse_once(flights)
        with board(flights):
            beside = in_thread(lambda: board(flights, "beside", manner=manner))()

        assert Alone(Reason.REFUSAL_WINDOW) == beside
        assert 0 == flights.in_progress

    def test_what_is_said_to_those_who_walk_past_is_read_once(self, flights):
        """P48, P28: the leader in the window may leave at any moment, and then says another word, which nobody can act on."""
        words = [Alone(Reason.REFUSAL_WINDOW), Left()]
        flight = Leaving(words)
        flights._flights[KEY] = flight

        assert Alone(Reason.REFUSAL_WINDOW) == board(flights)
        assert 1 == len(words)

    def test_another_environment_walks_past_too(self, flights, items, clock):
        """P48: the note in the lease item tells it."""
        self.refuse_once(flights)
        elsewhere = Flights(LeaseBook(items, clock, 30.0), clock, 45.0)
        with board(flights):
            assert Alone(Reason.REFUSAL_WINDOW) == board(elsewhere, "elsewhere")

    def test_after_the_window_callers_wait_again(self, flights, clock):
        """P23, control: without a refusal of late the second thread waits for the first."""
        self.refuse_once(flights)
        clock.advance(REFUSAL_SECONDS)
        entry = object.__new__(Entry)
        with board(flights) as leader:
            beside = in_thread(lambda: board(flights, "beside"))
            (flight,) = flights._flights.values()
            assert eventually(lambda: flight.over._cond._waiters)
            leader.land(entry)

        assert Landed(entry) == beside()


def test_an_old_failure_seen_late_is_not_shared(book, items):
    """P17: a poll that shows the lease as it was before the flight one waits for is no news."""
    clock = FakeClock()
    book = LeaseBook(items, clock, 30.0)
    book.release(book.acquire(KEY, OwnerId("first")), State.FAILED, "Broken")
    failed = items.get(KEY, KIND)
    clock.advance(1)
    second = book.acquire(KEY, OwnerId("second"))
    polls = []

    class Late(MemoryItems):
        """Shows the past once, then what is there."""

        def get(self, key, kind, *, consistent=False):
            polls.append(kind)
            if len(polls) == 1:
                return failed
            if len(polls) == 2:
                book.release(second, State.FAILED, "Worse")
            return items.get(key, kind)

    late = Late()
    late.exchange = items.exchange
    following = Flights(LeaseBook(late, clock, 30.0), clock, 45.0)

    assert Shared("Worse") == board(following, "third")
    assert State.FAILED is LeaseItem.decode(failed).state


def test_an_error_inside_the_table_code_leaves_no_flight(flights, items):
    """P28: whatever is raised while boarding, the next caller finds a free flight."""

    def broken(*told):
        raise ZeroDivisionError

    exchange, items.exchange = items.exchange, broken
    with pytest.raises(ZeroDivisionError):
        board(flights)
    items.exchange = exchange

    assert 0 == flights.in_progress
    with board(flights) as leader:
        assert leader.lease is not None
