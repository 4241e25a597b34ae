"""
Logs of what the host sent, in place of receipts: JSON lines of a time, an event and, where at hand, its answer.

    {"time": "2026-11-03T10:15:00Z", "event": {...}, "answer": {...}, "latency_ms": 4100, "function": "...", "images": ["<sha256>"]}

The event is parsed, its images are keyed by content and its answer is admitted by hookcache's own code. The bytes of its
images are not in it: `images` gives their digests in order, or a folder holds the files by the last part of their URI.
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hookcache.canonical import canonical_form
from hookcache.entry import held_bytes
from hookcache.errors import Unkeyable
from hookcache.images import ImageDigest
from hookcache.key import CacheKey, Keyer, Secrets
from hookcache.outcome import Reason
from hookcache.policy import Admit, admit
from hookcache.request import HookRequest, metered_context, parse
from hookcache.trace import components
from hookcache.usage import metered
from hookcache_ops.ledger.lines import lines_of
from hookcache_ops.receipts import END_OF_TIME_MS, Reading, SourceError
from hookcache_ops.simulate.environments import Environments
from hookcache_ops.simulate.log import Log
from hookcache_ops.simulate.trace import Request, digests_of, place_of
from hookcache_ops.times import told_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hookcache.prices import Prices
    from hookcache_ops.ledger.period import Period
    from hookcache_ops.simulate.sampling import Sample
    from hookcache_ops.simulate.scenario import Scenario

PROGRESS_LINES = 50_000


class Payloads:
    """
    Makes requests of payload lines.

    Args:
        deployed: by whose rules an answer is kept. `prices`: what its usage costs. `images`: a folder of page images.
    """

    def __init__(self, deployed: Scenario, prices: Prices | None, images: Path | None) -> None:
        self._deployed = deployed
        self._prices = prices
        self._folder = images
        self._keyer = Keyer(Secrets.derive(b"hookcache simulate"), "replay")
        self._files: dict[str, ImageDigest] = {}
        self._environments = Environments()
        self.unread_images = 0
        self.unpriced = 0

    @property
    def environments(self) -> int:
        return self._environments.count

    def request(self, line: Mapping[str, Any]) -> Request:
        """
        Raises:
            KeyError, TypeError, ValueError, OverflowError: it is no payload line.
        """
        start_ms, event = time_ms(line["time"]), line["event"]
        self.unpriced += self._prices is None or line.get("answer") is None
        context, function = metered_context(event), str(line.get("function") or "")
        latency = line.get("latency_ms")
        backend_ms = float(latency) if isinstance(latency, int | float) and 0 <= latency < END_OF_TIME_MS else None
        key = whole = images = None
        temperature = math.nan
        kept, size_bytes, cost = True, 0, 0.0
        reason = ""
        try:
            request = parse(event)
            temperature = math.nan if request.temperature is None else float(request.temperature)
            kept, size_bytes, cost = self._answer(line.get("answer"), request)
            digests = self._digests(request, line.get("images"))
            form = canonical_form(request, digests)
            key = CacheKey(bytes.fromhex(self._keyer.shown(self._keyer.key_of(form, b"", ""))))
            whole, images = digests_of(components(self._keyer, request, digests, b"", ""), context)
        except Unkeyable as unkeyable:
            reason = unkeyable.reason.value
            self.unread_images += unkeyable.reason is Reason.IMAGE_UNREADABLE
        return Request(
            start_ms=start_ms,
            latency_ms=None,
            backend_ms=backend_ms,
            key=key,
            whole=whole,
            images=images,
            place=place_of(images or whole or uuid.uuid4().bytes),
            context=context,
            function=function,
            environment=self._environments.of(start_ms, start_ms + round(backend_ms or 0), cold=False),
            mode="on",
            outcome=None,
            reason=reason,
            asked=True,
            fails=False,
            kept=kept,
            created_ms=None,
            size_bytes=size_bytes,
            cost=cost,
            own_cost=0.0,
            temperature=temperature,
        )

    def _answer(self, answer: Any, request: HookRequest) -> tuple[bool, int, float]:
        """Is it kept, what does it hold in memory, what did it cost? An answer that is not at hand is taken as kept."""
        if answer is None:
            return True, 0, 0.0
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer, separators=(",", ":")).encode()
        reply = metered(json.loads(body))
        decision = admit(request, self._deployed.rules(request.context), reply, len(body))
        cost = Decimal(0)
        if self._prices is not None:
            cost, unpriced = self._prices.total(reply.units)
            self.unpriced += bool(unpriced)
        size_bytes = held_bytes(len(body), request.context, "", reply.units)
        return isinstance(decision, Admit), size_bytes, float(cost)

    def _digests(self, request: HookRequest, told: Any) -> list[ImageDigest]:
        if not request.images:
            return []
        if isinstance(told, list) and len(told) == len(request.images):
            return [_told(each) for each in told]
        return [self._of_file(image.uri.rpartition("/")[2]) for image in request.images]

    def _of_file(self, name: str) -> ImageDigest:
        if name not in self._files:
            try:
                if self._folder is None or not name:
                    raise Unkeyable(Reason.IMAGE_UNREADABLE)
                body = (self._folder / name).read_bytes()
            except OSError:
                raise Unkeyable(Reason.IMAGE_UNREADABLE) from None
            self._files[name] = _told(hashlib.sha256(body).hexdigest())
        return self._files[name]


def _told(digest: Any) -> ImageDigest:
    try:
        sha256 = bytes.fromhex(digest)
    except (TypeError, ValueError):
        raise Unkeyable(Reason.IMAGE_UNREADABLE) from None
    return ImageDigest(sha256, 1, "", "")  # a told digest has no length: none counts, so that both kinds agree


def time_ms(told: Any) -> int:
    """A time of a payload line: text with date and time, UTC unless it says otherwise, or an epoch in s or ms."""
    found = told_ms(told)
    if not 0 <= found < END_OF_TIME_MS:
        raise ValueError("time")
    return found


def read_payloads(
    sources: Iterable[str],
    payloads: Payloads,
    sample: Sample,
    period: Period,
    progress: Callable[[Reading], None] | None = None,
) -> Log:
    """
    The log in payload lines; lines that are none are counted and skipped.

    Raises:
        SourceError: a source cannot be read.
    """
    log = Log(sample, payloads=True)
    reading = log.reading
    for source in sources:
        reading.sources.append(source)
        for line in lines_of(source, None, period):
            reading.lines += 1
            if progress is not None and reading.lines % PROGRESS_LINES == 0:
                progress(reading)
            unpriced = payloads.unpriced
            try:
                told = json.loads(line)
                request = payloads.request(told) if isinstance(told, Mapping) else None
            except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
                request = None
            if request is None:
                reading.other_lines += 1
            elif not period.holds(request.start_ms):
                reading.out_of_range += 1
            else:
                reading.receipts += 1
                log.unpriced += payloads.unpriced - unpriced
                log.add(request)
    log.environments, log.unread_images = payloads.environments, payloads.unread_images
    return log.close()


def folder_of(told: str | None) -> Path | None:
    """
    Raises:
        SourceError: it is no folder.
    """
    if told is None:
        return None
    if not Path(told).is_dir():
        raise SourceError(f"{told}: no folder; give the folder that holds the page images")
    return Path(told)
