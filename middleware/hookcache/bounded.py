"""
Calls that nobody waits for longer than a bound, whatever hangs inside: name resolution, connecting, a body that drips.

Socket timeouts alone do not do that. They bound one wait at a time, a resolver knows none, and a body that sends a byte
now and then starts them anew with each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")


class NotInTime(Exception):
    """The bound was reached first. The call may still be running; its result is dropped."""


def result_of(future: Future[T], seconds: float) -> T:
    """
    What the call gave, or raised, within `seconds`.

    Raises:
        NotInTime: it has not ended. A `TimeoutError` is the call's own.
    """
    wait([future], seconds)
    if not future.done():
        future.cancel()
        raise NotInTime(f"not done within {seconds:g} s")
    return future.result()


class Workers:
    """Up to `most` threads, started when needed and kept, for the many short calls to one service."""

    def __init__(self, name: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, name)

    def begin(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a call, or queue it while every thread is busy."""
        return self._pool.submit(work, *arguments)

    def call(self, seconds: float, work: Callable[..., T], *arguments: Any) -> T:
        """Make a call and wait at most `seconds` for it; raises `NotInTime`."""
        return result_of(self.begin(work, *arguments), seconds)

    def close(self) -> None:
        """Let the threads end when their calls do."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """
    One call in a thread of its own, for what is rare or long; raises `NotInTime`.

    A daemon thread, so that a call which hangs keeps no process alive. Where no thread can be started the call is made
    here: without its bound, but made (P18).
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        return work()
    wait([future], seconds)
    if not future.done():
        raise NotInTime(f"not done within {seconds:g} s")
    return future.result()
