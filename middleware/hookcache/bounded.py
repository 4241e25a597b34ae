"""
Calls that nobody waits for longer than a bound, whatever hangs inside: name resolution, connecting, a body that drips.

Socket timeouts alone do not do that. They bound one wait at a time, a resolver knows none, and a body that sends a byte
now and then starts them anew with each.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from hookcache.hints import Any, Generic, TypeVar

T = TypeVar("T")

IDLE_SECONDS = 60.0
"""A thread with nothing to do ends after so long; starting one costs 0.1 ms."""


class NotInTime(Exception):
    """The bound was reached first. The call may still be running; its result is dropped."""


class Pending(Generic[T]):
    """
    A call that was begun: its result or its error, once there is one.

    In place of `concurrent.futures`, which loads 12 ms of a cold start and locks three times as often per call.
    """

    __slots__ = ("_error", "_given", "_over", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._over = threading.Event()
        self._given: T
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call, unless nobody wants it any more; never raises."""
        work, self._work = self._work, None
        if work is None:
            return
        try:
            self._given = work()
        except BaseException as error:
            self._error = error
        self._over.set()

    def cancel(self) -> None:
        """Nobody waits any more: a call that has not started need not."""
        self._work = None

    def result(self, seconds: float) -> T:
        """
        What the call gave, or raised, within `seconds`.

        Raises:
            NotInTime: it has not ended. A `TimeoutError` is the call's own.
        """
        if not self._over.wait(seconds):
            self.cancel()
            raise NotInTime(f"not done within {seconds:g} s")
        if self._error is not None:
            raise self._error
        return self._given


class Workers:
    """Up to `most` threads, started when needed and kept while there is work, for the many short calls to one service."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._queue: deque[Pending[Any]] = deque()
        self._work = threading.Condition(threading.Lock())
        self._threads = self._idle = 0
        self._closed = False

    def begin(self, work: Callable[..., T], *arguments: Any) -> Pending[T]:
        """
        Start a call, or queue it while every thread is busy.

        Raises:
            RuntimeError: no thread can be started to make it, or the workers were closed.
        """
        pending: Pending[T] = Pending(lambda: work(*arguments))
        with self._work:
            if self._closed:
                raise RuntimeError("the workers were closed")
            if self._idle <= len(self._queue) and self._threads < self._most:
                self._start()
            self._queue.append(pending)
            self._work.notify()
        return pending

    def call(self, seconds: float, work: Callable[..., T], *arguments: Any) -> T:
        """Make a call and wait at most `seconds` for it; raises `NotInTime`."""
        return self.begin(work, *arguments).result(seconds)

    def close(self) -> None:
        """Let the threads end when their calls do."""
        with self._work:
            self._closed = True
            for pending in self._queue:
                pending.cancel()
            self._queue.clear()
            self._work.notify_all()

    def _start(self) -> None:
        """One thread more, a daemon: a call that hangs keeps no process alive. Without any thread, nothing is begun."""
        try:
            threading.Thread(target=self._serve, name=f"{self._name}-{self._threads}", daemon=True).start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _serve(self) -> None:
        while True:
            with self._work:
                self._idle += 1
                while not self._queue and not self._closed:
                    if not self._work.wait(IDLE_SECONDS) and not self._queue:
                        break
                self._idle -= 1
                if not self._queue:
                    self._threads -= 1
                    return
                pending = self._queue.popleft()
            pending.run()
            del pending  # or it would hold its result until the next call


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """
    One call in a thread of its own, for what is rare or long; raises `NotInTime`.

    A daemon thread, so that a call which hangs keeps no process alive. Where no thread can be started the call is made
    here: without its bound, but made (P18).
    """
    pending = Pending(work)
    try:
        threading.Thread(target=pending.run, name=name, daemon=True).start()
    except RuntimeError:
        return work()
    return pending.result(seconds)
