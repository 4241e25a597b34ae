"""
The replay memo: what this environment worked out of an event, for when the same event comes again, to the last byte.

The host's retries are such events, and so is a page of text that is sent again. Form and images of one need not be worked
out twice: the key is made of the same digests as the first time. Equal here is narrower than equal keys: a member in another
order is another event, and is worked out by itself (docs/adr/0022).

Images are remembered only where the host wrote them once, under a random name, and S3 is still asked whether they are the
same versions (docs/adr/0009). The memo lives in this environment's memory alone.
"""

from __future__ import annotations

import marshal
import re
import threading
from collections.abc import Sequence

from hookcache.clock import Clock, EpochMillis
from hookcache.hints import Any, NewType
from hookcache.images import ImageDigest
from hookcache.lru import LRUCache
from hookcache.request import HookRequest, held, parse
from hookcache.value import value

REPLAY_SECONDS = 900
REPLAY_EVENTS = 1_024
REPLAY_BYTES = 8 * 1024 * 1024
LONGEST_BYTES = 256 * 1024
"""Longer events are worked out each time: a few of them would push all others out."""
EMPTY_BYTES, IMAGE_BYTES = 800, 400
"""What remembering takes beside the spelling, in all and for each image beside S3's names of it, measured with tracemalloc."""

_MARKS = 256  # bytes of a spelling that it is looked up by: hashing all of it took a quarter of a hit of a 50 KB prompt

# Version 2 spells every value by itself: later ones leave out what they have met before, and depend on who else holds it.
_VERSION = 2

# The host's uploads: a random name, written once. Any other object may be overwritten between two equal events.
_WRITTEN_ONCE = re.compile(r"s3://[^/]+/temp/lambdahook/[0-9a-f]{32}\.[a-z]{1,8}")

Spelling = NewType("Spelling", bytes)
"""An event as Python itself spells it: equal for two events exactly if they are the same, to the last byte."""


def spelling(event: Any) -> Spelling | None:
    """
    The spelling of an event; None for what is too long or cannot be spelt.

    It tells all JSON values apart, `1`, `1.0` and `true` among them. It is the quickest there is, and may differ between
    versions of Python, so it never leaves this process.
    What is no JSON may look like something else there (whatever has a buffer is spelt as bytes): `event_of` shows it.
    """
    try:
        for block in event["messages"][0]["content"]:
            if len(block.get("text", "")) > LONGEST_BYTES:
                return None
        spelt = marshal.dumps(event, _VERSION)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return Spelling(spelt) if len(spelt) <= LONGEST_BYTES else None


def event_of(spelt: Spelling) -> Any:
    """A copy of the event as it was spelt. What is remembered is worked out of it, whatever becomes of the event (P5)."""
    return marshal.loads(spelt)  # noqa: S302 - spelt by `spelling` in this process


def _marks(spelt: Spelling) -> bytes:
    """Bytes of a spelling at even distances. Most events differ there; whether two are the same, only all bytes say."""
    return spelt[:: len(spelt) // _MARKS + 1]


@value
class Replay:
    """What an event came to: what policy needs to know of it, what its images were, and the digests of form and images."""

    spelt: Spelling
    context: str
    temperature: float | None
    max_tokens: float | None
    digests: tuple[ImageDigest, ...]
    origin: tuple[bytes, ...]
    until_ms: EpochMillis
    held_bytes: int


class ReplayMemo:
    """
    The events used last, at most `REPLAY_BYTES` and `REPLAY_EVENTS` of them, each for `REPLAY_SECONDS` of wall clock.

    They are held as they are spelt: to compare a page's text takes a fraction of the time that digesting it does. An event
    lies under its marks, the first of those that share them, or else under its whole spelling.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: LRUCache[bytes, Replay] = LRUCache(REPLAY_BYTES, getsizeof=lambda known: known.held_bytes)

    def request_in(self, event: Any, *, whole: bool = False) -> tuple[HookRequest, Spelling | None, Replay | None]:
        """
        The request in an event, its spelling, and what is remembered of it.

        It is parsed as it was spelt, or from a copy: no later change of the event counts (P5). Where all that is keyed is
        remembered, it need not be parsed, and the event in it is the caller's own: `whole` is for who reads that (the trace).

        Raises:
            Unkeyable: as `parse`.
        """
        spelt = spelling(event)
        if spelt is None:
            return parse(held(event)), None, None
        known = self.recall(spelt)
        if known is None or known.digests or whole:
            return parse(event_of(spelt)), spelt, known
        return HookRequest(event, known.context, known.temperature, known.max_tokens, ()), spelt, known

    def recall(self, spelt: Spelling) -> Replay | None:
        """What is remembered of an event, or None."""
        with self._lock:
            place = _marks(spelt)
            known = self._known.get(place)
            if known is None or known.spelt != spelt:
                place = spelt
                known = self._known.get(place)
                if known is None or known.spelt != spelt:
                    return None
            now = self._clock.now_ms()
            if now < known.until_ms <= now + REPLAY_SECONDS * 1000:
                return known
            del self._known[place]
            return None

    def remember(
        self, spelt: Spelling | None, request: HookRequest, digests: tuple[ImageDigest, ...], origin: Sequence[bytes]
    ) -> None:
        """Keep what was worked out of `event_of(spelt)` just now, but for images that may be written again under their names."""
        if spelt is None or not all(_WRITTEN_ONCE.fullmatch(image.uri) for image in request.images):
            return
        until = EpochMillis(self._clock.now_ms() + REPLAY_SECONDS * 1000)
        images_bytes = sum([IMAGE_BYTES + len(digest.etag) + len(digest.version) for digest in digests])
        held_bytes = max(len(spelt) + EMPTY_BYTES + images_bytes, REPLAY_BYTES // REPLAY_EVENTS)
        known = Replay(
            spelt, request.context, request.temperature, request.max_tokens, digests, tuple(origin), until, held_bytes
        )
        with self._lock:
            marks = _marks(spelt)
            first = self._known.get(marks)
            self._known[marks if first is None or first.spelt == spelt else spelt] = known
