"""
The replay memo: what the images of an event were when this environment read them, for the host's retries of that event.

A retry is byte-identical to its first attempt, so its images need no second read, only a look whether they are still the
same versions (docs/adr/0009). It skips the image read and nothing else, and lives in this environment's memory alone.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Sequence

from cachetools import LRUCache

from hookcache.clock import Clock, EpochMillis
from hookcache.images import ImageDigest
from hookcache.request import HookRequest
from hookcache.value import value

REPLAY_SECONDS = 900
REPLAY_EVENTS = 1_024

# The host's uploads: a random name, written once. Any other object may be overwritten between two equal events.
_WRITTEN_ONCE = re.compile(r"s3://[^/]+/temp/lambdahook/[0-9a-f]{32}\.[a-z]{1,8}")


@value
class _Known:
    digests: tuple[ImageDigest, ...]
    until_ms: EpochMillis


class ReplayMemo:
    """
    Image digests by event: the last `REPLAY_EVENTS`, each for `REPLAY_SECONDS` of wall clock.

    Args:
        secret: derived secret; events are held by their keyed digest only.
    """

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._known: LRUCache[bytes, _Known] = LRUCache(REPLAY_EVENTS)

    def name_of(self, request: HookRequest) -> bytes | None:
        """Under which name the images of `request` are remembered; None where they must be read each time."""
        if not request.images or not all(_WRITTEN_ONCE.fullmatch(image.uri) for image in request.images):
            return None
        try:
            return hmac.digest(self._secret, b"replay\0" + json.dumps(request.event).encode(), "sha256")
        except (ValueError, TypeError, RecursionError):
            return None  # nothing that a key can be made of either: `canonical` will say so

    def recall(self, name: bytes | None) -> tuple[ImageDigest, ...] | None:
        """The digests remembered under `name`, or None."""
        if name is None:
            return None
        with self._lock:
            known = self._known.get(name)
        now = self._clock.now_ms()
        if known is None or not now < known.until_ms <= now + REPLAY_SECONDS * 1000:
            return None
        return known.digests

    def remember(self, name: bytes | None, digests: Sequence[ImageDigest]) -> None:
        """Keep what was read just now."""
        if name is not None:
            until = EpochMillis(self._clock.now_ms() + REPLAY_SECONDS * 1000)
            with self._lock:
                self._known[name] = _Known(tuple(digests), until)
