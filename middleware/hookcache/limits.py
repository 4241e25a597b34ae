"""
The time that this function has, learnt at the first invocation of an environment: no variable tells it.

Two uses. Times that do not fit into one another are warned of, once (P52). And where the whole is short, our own waits for
table, secret and control plane are shorter than their defaults, or the backend would never be asked (P18, P21).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hookcache.clock import MARGIN_SECONDS, Deadline
from hookcache.log import warn

HOST_SECONDS = 840
"""How long the host waits for a hook at most."""
TABLE_SECONDS = 6.0
"""From so many seconds on the table has its whole budget: the two tries of a dead one then take a third."""


class TimeLimits:
    """
    Args:
        follower_seconds: how long a follower waits.
    """

    def __init__(self, environ: Mapping[str, str], follower_seconds: float) -> None:
        self._environ = environ
        self._follower_seconds = follower_seconds
        self._told = False
        self.own_seconds = math.inf
        """This function's timeout, rounded up to whole seconds, as Lambda knows them; infinity until it is known."""

    @property
    def table_share(self) -> float:
        """What part of its budget an operation of the table may take."""
        return min(1.0, self.own_seconds / TABLE_SECONDS)

    @property
    def wait_seconds(self) -> float:
        """How long anything else may be waited for, where its own bound is longer: a quarter of the whole."""
        return self.own_seconds / 4

    def began(self, deadline: Deadline) -> bool:
        """
        An invocation has just begun; what is left of it is what an invocation has. True if it was the first that could tell.

        Where the environment itself was started in the invocation's time, after ten seconds or a crash, it looks shorter than it is.
        """
        left = deadline.remaining_seconds()
        if not 0 < left < math.inf or self.own_seconds < math.inf:
            return False
        own = self.own_seconds = float(math.ceil(left))
        if own >= HOST_SECONDS:
            self._warn(
                "this function may run %s s, and the host stops waiting after %s s; set its timeout below that",
                own,
                HOST_SECONDS,
            )
        if self._follower_seconds + MARGIN_SECONDS >= own:
            self._warn(
                "a second caller waits %s s, and this function is stopped after %s s; "
                "set HOOKCACHE_WAIT_SECONDS below %s, or raise the timeout",
                self._follower_seconds,
                own,
                own - MARGIN_SECONDS,
            )
        return True

    def before(self, backend_seconds: float | None) -> None:
        """A backend with this timeout, None if unknown, is about to be asked."""
        if self._told or backend_seconds is None:
            return
        self._told = True
        if backend_seconds >= self.own_seconds:
            self._warn(
                "the backend may run %s s, and this function is stopped after %s s: late answers are paid and lost; "
                "give it at least 5 s more than its backend, below %s s",
                backend_seconds,
                self.own_seconds,
                HOST_SECONDS,
            )

    def _warn(self, message: str, *seconds: float) -> None:
        warn(self._environ, message, *[f"{each:g}" for each in seconds])
