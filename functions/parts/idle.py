"""How long connections were not used: an environment may have been frozen meanwhile, and they be dead without a sign (F32)."""

import time
from collections.abc import Callable

IDLE_SECONDS = 60.0


class Idle:
    """
    The time since connections were last used.

    Args:
        now: wall clock in epoch seconds, which goes on while an environment is frozen.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now, self._used = now, now()

    def too_long(self) -> bool:
        """Whether they are not to be trusted for the use that begins here; true too where the clock was set back."""
        before, self._used = self._used, self._now()
        return not 0 <= self._used - before < IDLE_SECONDS
