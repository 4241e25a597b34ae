"""The leader's last act, the release of its lease, where little time is left. P21."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from hookcache.clock import Deadline, EpochMillis
from hookcache.entry import Fence
from hookcache.key import CacheKey
from hookcache.leader import LATE_SECONDS, Leader, Left
from hookcache.lease import Lease, LeaseBook, OwnerId, State
from hookcache.outcome import Reason
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


def lead(book: Book, left_seconds: float) -> tuple[float, list[Any]]:
    """Lead and leave; how long leaving took, and what followers were told."""
    told: list[Any] = []
    deadline = Deadline(SimpleNamespace(get_remaining_time_in_millis=lambda: left_seconds * 1000))
    lease = Lease(CacheKey(b"k" * 32), OwnerId("me"), Fence(1), EpochMillis(30_000))
    with Stopwatch() as watch, Leader(told.append, deadline, book, lease, Reason.ABSENT):
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
