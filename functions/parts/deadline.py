"""How long an invocation may still wait, and the only waiting that a backend does."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from backend_errors import OutOfTimeError

T = TypeVar("T")
MARGIN_SECONDS = 2.0  # for raising an error of our own, before Lambda ends the invocation with none


class Deadline:
    """
    The end of one invocation, by elapsed time.

    Args:
        left_seconds: what Lambda leaves it.
        elapsed, sleep: where time comes from.
    """

    def __init__(
        self,
        left_seconds: float,
        elapsed: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._elapsed, self._sleep = elapsed, sleep
        self._end = elapsed() + left_seconds - MARGIN_SECONDS

    @classmethod
    def of(cls, context: Any) -> "Deadline":
        """The end of the invocation with this Lambda context."""
        return cls(context.get_remaining_time_in_millis() / 1000)

    def left(self) -> float:
        """Seconds that may still be spent; 0 where there are none."""
        return max(0.0, self._end - self._elapsed())

    def wait(self, seconds: float, reason: str) -> None:
        """
        Raises:
            OutOfTimeError: the wait would end after the deadline; nothing was waited.
        """
        if seconds >= self.left():
            raise OutOfTimeError(
                f"{reason}, and only {self.left():.0f} s of this invocation are left: raise the function's timeout "
                "(and the wrapper's above it)"
            )
        self._sleep(seconds)


def within(seconds: float, work: Callable[[], T]) -> T:
    """
    The result of `work`, done in a thread of its own: name resolution and a body that trickles have no bound themselves.

    Raises:
        TimeoutError: it has not finished in time; it may still run to its own end, and its result is dropped.
        whatever `work` raises.
    """
    done: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((True, work()))
        except Exception as error:
            done.put((False, error))

    threading.Thread(target=run, name="service-call", daemon=True).start()
    try:
        succeeded, result = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if succeeded:
        return result  # type: ignore[no-any-return]
    raise result
