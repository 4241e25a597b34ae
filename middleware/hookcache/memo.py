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
from hookcache.request import Event, HookRequest, ImageRef
from hookcache.value import value

REPLAY_SECONDS = 900
REPLAY_EVENTS = 1_024
LONGEST_BYTES = 1024 * 1024
"""An event that is spelt longer is worked out each time: to tell it again would take as long."""

# Version 2 spells every value by itself: later ones leave out what they have met before, and depend on who else holds it.
_SPELLING = 2

# The host's uploads: a random name, written once. Any other object may be overwritten between two equal events.
_WRITTEN_ONCE = re.compile(r"s3://[^/]+/temp/lambdahook/[0-9a-f]{32}\.[a-z]{1,8}")


@value
class Replay:
    """
    What an event came to: its request but for the event itself, what its images were, and the digests of form and images.
    """

    context: str
    temperature: float | None
    max_tokens: float | None
    images: tuple[ImageRef, ...]
    digests: tuple[ImageDigest, ...]
    origin: tuple[bytes, ...]
    until_ms: EpochMillis

    def request(self, event: Event) -> HookRequest:
        """The request in `event`, which is equal to the one that was remembered."""
        return HookRequest(event, self.context, self.temperature, self.max_tokens, self.images)


class ReplayMemo:
    """The last `REPLAY_EVENTS` events, each for `REPLAY_SECONDS` of wall clock. They are held by their digest only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: LRUCache[bytes, Replay] = LRUCache(REPLAY_EVENTS)

    def name_of(self, event: Any) -> bytes | None:
        """
        Under which name an event is remembered; None for what is no JSON, is too deep or too long.

        SHA-256 of a spelling that tells all JSON values apart, `1`, `1.0` and `true` among them. It is Python's own and the
        quickest there is; it may differ between versions, so nothing outside this process is ever named by it.
        """
        try:
            spelt = marshal.dumps(event, _SPELLING)
        except ValueError:
            return None
        return hashlib.sha256(spelt).digest() if len(spelt) <= LONGEST_BYTES else None

    def recall(self, name: bytes | None) -> Replay | None:
        """What is remembered under `name`, or None."""
        if name is None:
            return None
        with self._lock:
            known = self._known.get(name)
        if known is None:
            return None
        now = self._clock.now_ms()
        return known if now < known.until_ms <= now + REPLAY_SECONDS * 1000 else None

    def remember(
        self, name: bytes | None, request: HookRequest, digests: tuple[ImageDigest, ...], origin: Sequence[bytes]
    ) -> None:
        """Keep what was worked out just now, but for images that may be written again under their names."""
        if name is None or not all(_WRITTEN_ONCE.fullmatch(image.uri) for image in request.images):
            return
        until = EpochMillis(self._clock.now_ms() + REPLAY_SECONDS * 1000)
        known = Replay(
            request.context, request.temperature, request.max_tokens, request.images, digests, tuple(origin), until
        )
        with self._lock:
            self._known[name] = known
