"""
Warnings of times that do not fit into one another, each once in an environment (P52).

No variable tells the time that this function has. It is learnt from the invocation that first asks for the cache: what is left
of that one, which is less than the whole where the environment was started in the invocation's own time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hookcache.clock import MARGIN_SECONDS, Deadline
from hookcache.log import warn

HOST_SECONDS = 840
"""How long the host waits for a hook at most."""


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

    def began(self, deadline: Deadline) -> None:
        """An invocation has just begun; what is left of it is what an invocation has."""
        left = deadline.remaining_seconds()
        if not 0 < left < math.inf or self.own_seconds < math.inf:
            return
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
