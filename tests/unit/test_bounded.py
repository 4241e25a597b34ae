"""Worker threads: bounded in time and number, and gone once they have nothing to do."""

import threading

import pytest

from hookcache import bounded
from hookcache.bounded import NotInTime, Workers
from waiting import eventually


def alive(name):
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def test_idle_threads_end_and_work_goes_on(monkeypatch):
    """P30: an environment, or a test of many, holds no thread for what nobody asks of it."""
    monkeypatch.setattr(bounded, "IDLE_SECONDS", 0.05)
    workers = Workers("ended-when-idle", 4)
    before = [workers.call(60, lambda number=number: number) for number in range(8)]
    ended = eventually(lambda: not alive("ended-when-idle"))
    after = workers.call(60, lambda: "again")

    assert (before, ended, after) == (list(range(8)), True, "again")


def test_threads_stay_while_they_may_be_needed():
    """Control: within the minute they are kept, as starting one for each call would cost more than the call."""
    workers = Workers("kept-for-a-minute", 4)
    workers.call(60, lambda: None)

    assert len(alive("kept-for-a-minute")) == 1
    workers.close()
    assert eventually(lambda: not alive("kept-for-a-minute"))


def test_a_call_that_hangs_is_left(monkeypatch):
    """P19, F3: the bound holds whatever hangs; another thread takes the next call."""
    workers, hung = Workers("left-hanging", 2), threading.Event()
    with pytest.raises(NotInTime):
        workers.call(0.05, hung.wait)
    answer = workers.call(60, lambda: "next")
    hung.set()

    assert answer == "next"
    workers.close()


def test_no_more_threads_than_allowed():
    """P30: further calls queue."""
    workers, gate = Workers("at-most-two", 2), threading.Event()
    calls = [workers.begin(gate.wait) for _ in range(6)]
    most = len(alive("at-most-two"))
    gate.set()

    assert [call.result(60) for call in calls] == [True] * 6
    assert most == 2
    workers.close()
