"""
The replay memo: what this environment worked out of an event, for when the same event comes again, to the last byte.

The host's retries are such events, and so is a page of text that is sent again. Form and images of one need not be worked
out twice: the key is made of the same digests as the first time. Equal here is narrower than equal keys: a member in another
order is another event, and is worked out by itself (docs/adr/0022).

Images are remembered only where the host wrote them once, under a random name, and S3 is still asked whether they are the
same versions (docs/adr/0009). The memo lives in this environment's memory alone.
"""

from __future__ import annotations

import hashlib
import marshal
import re
import threading
from collections.abc import Sequence

from hookcache.clock import Clock, EpochMillis
from hookcache.hints import Any
from hookcache.images import ImageDigest
from hookcache.lru import LRUCache
from hookcache.request import HookRequest, parse
from hookcache.value import value

REPLAY_SECONDS = 900
REPLAY_EVENTS = 1_024
LONGEST_BYTES = 256 * 1024
"""Longer events are worked out each time: what is seen for the first time would pay for two digests of them."""

# Version 2 spells every value by itself: later ones leave out what they have met before, and depend on who else holds it.
_SPELLING = 2

# The host's uploads: a random name, written once. Any other object may be overwritten between two equal events.
_WRITTEN_ONCE = re.compile(r"s3://[^/]+/temp/lambdahook/[0-9a-f]{32}\.[a-z]{1,8}")


@value
class Named:
    """An event that may be remembered: its name, and the spelling that the name is made of."""

    name: bytes
    spelt: bytes

    def event(self) -> Any:
        """A copy of the event as it was named. What is remembered is worked out of it, whatever becomes of the event."""
        return marshal.loads(self.spelt)  # noqa: S302 - spelt by `ReplayMemo.named` in this process


@value
class Replay:
    """What an event came to: what policy needs to know of it, what its images were, and the digests of form and images."""

    context: str
    temperature: float | None
    max_tokens: float | None
    digests: tuple[ImageDigest, ...]
    origin: tuple[bytes, ...]
    until_ms: EpochMillis


class ReplayMemo:
    """The last `REPLAY_EVENTS` events, each for `REPLAY_SECONDS` of wall clock. They are held by their digest only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: LRUCache[bytes, Replay] = LRUCache(REPLAY_EVENTS)

    def request_in(self, event: Any) -> tuple[HookRequest, Named | None, Replay | None]:
        """
        The request in an event, its name, and what is remembered of it.

        It is parsed as it was named: no later change of the event comes under that name (P5). Where all that is keyed is
        remembered, it need not be parsed.

        Raises:
            Unkeyable: as `parse`.
        """
        named = self.named(event)
        if named is None:
            return parse(event), None, None
        known = self.recall(named)
        if known is None or known.digests:
            return parse(named.event()), named, known
        return HookRequest(event, known.context, known.temperature, known.max_tokens, ()), named, known

    def named(self, event: Any) -> Named | None:
        """
        The event by the name under which it is remembered; None for what is too long or cannot be spelt.

        The name is the SHA-256 of a spelling that tells all JSON values apart, `1`, `1.0` and `true` among them. It is
        Python's own and the quickest there is; it may differ between versions, so nothing outside this process is named by it.
        What is no JSON may look like something else there (whatever has a buffer is spelt as bytes): `Named.event` shows it.
        """
        try:
            for block in event["messages"][0]["content"]:
                if len(block.get("text", "")) > LONGEST_BYTES:
                    return None
            spelt = marshal.dumps(event, _SPELLING)
        except (ValueError, TypeError, LookupError, AttributeError):
            return None
        return Named(hashlib.sha256(spelt).digest(), spelt) if len(spelt) <= LONGEST_BYTES else None

    def recall(self, named: Named) -> Replay | None:
        """What is remembered of an event, or None."""
        with self._lock:
            known = self._known.get(named.name)
            if known is None:
                return None
            now = self._clock.now_ms()
            if now < known.until_ms <= now + REPLAY_SECONDS * 1000:
                return known
            del self._known[named.name]
            return None

    def remember(
        self, named: Named | None, request: HookRequest, digests: tuple[ImageDigest, ...], origin: Sequence[bytes]
    ) -> None:
        """Keep what was worked out of `named.event()` just now, but for images that may be written again under their names."""
        if named is None or not all(_WRITTEN_ONCE.fullmatch(image.uri) for image in request.images):
            return
        until = EpochMillis(self._clock.now_ms() + REPLAY_SECONDS * 1000)
        known = Replay(request.context, request.temperature, request.max_tokens, digests, tuple(origin), until)
        with self._lock:
            self._known[named.name] = known
