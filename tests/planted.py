"""
Logs with a planted cause: real requests through the product's canonical form, key, trace, memory tier and receipt.

    python tests/planted.py time_stamp 5000 > time_stamp.jsonl

Pages of a few hundred documents come again and again over some days, each through OCR, Classification and Extraction. One
share of the pages suffers from the planted cause, a small share each from the others, the rest from none. What a memory
tier that is too small costs is a thousandth of a backend call, so that log has no other cause.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fakes import FakeClock, event_of, image_block
from hookcache.canonical import canonical_form
from hookcache.clock import EpochMillis
from hookcache.entry import Entry, Fence
from hookcache.images import ImageDigest
from hookcache.key import CacheKey, Keyer, Secrets
from hookcache.memory import MemoryTier
from hookcache.metering import Meter
from hookcache.outcome import Outcome, Reason
from hookcache.policy import Bypass, Fresh, Rules, judge, may_look_up
from hookcache.prices import Prices, PriceTable
from hookcache.receipt import Receipt
from hookcache.record import _members, _metrics
from hookcache.request import HookRequest, parse
from hookcache.spending import Spending
from hookcache.trace import components, without_images

SECRETS = Secrets.derive(b"a secret of the tests")
STEPS = ("OCR", "Classification", "Extraction")
CAUSES = (
    "time_stamp",
    "attribute_order",
    "image_reencoded",
    "prompt_changed",
    "namespace_split",
    "temperature_omitted",
    "freshness",
    "memory",
)
BY_PAGE = CAUSES[:-1]
MAIN_SHARE, OTHER_SHARE = 0.40, 0.02
DAY_MS = 86_400_000
COST = {"OCR": Decimal("0.004"), "Classification": Decimal("0.0011"), "Extraction": Decimal("0.0062")}
UNITS = {
    "OCR": {"pages": 1},
    "Classification": {"inputTokens": 1_100, "outputTokens": 40},
    "Extraction": {"inputTokens": 5_200, "outputTokens": 640},
}
LATENCY = {"OCR": 3_100.0, "Classification": 900.0, "Extraction": 4_200.0}
ATTRIBUTES = tuple(
    f"{name}: {what}"
    for name, what in (
        ("account_number", "digits of the account"),
        ("account_holder", "full name as printed"),
        ("opening_balance", "amount with currency"),
        ("closing_balance", "amount with currency"),
        ("statement_period", "first and last day"),
        ("bank_name", "as in the letterhead"),
        ("iban", "without spaces"),
        ("total_credits", "sum of what came in"),
    )
)
_NOUNS = "account balance transfer deposit market street garden river letter invoice number customer payment branch"
_MORE = "service credit debit office paper signature county harbour window kitchen ladder orchard meadow copper silver"
WORDS = tuple(f"{_NOUNS} {_MORE}".split())


@dataclass(slots=True)
class Planted:
    """
    One log. `days` is the time that it spans; `pages` how many different pages there are.

    Attributes:
        events: the events by request id, where `keep_events` was asked for.
        lost: calls of the backend by cause ("" where none was planted) that were not the first for their page and step.
        first_sights: those that were, but for bypasses.
    """

    cause: str
    count: int
    seed: int = 7
    days: float = 5.0
    pages: int = 0
    keep_events: bool = False
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    first_sights: int = 0
    _met: set[tuple[int, str]] = field(default_factory=set)

    def receipts(self) -> Iterator[Mapping[str, Any]]:
        """The receipts in the order of time."""
        chance = random.Random(f"{self.cause} {self.seed}")
        clock = FakeClock()
        start, days = clock.wall_ms, self.days
        if self.cause == "memory":
            days = self.count * 350 / DAY_MS  # a busy hour: what the memory tier holds is measured within minutes
        pages = self.pages or (600 if self.cause == "memory" else max(20, self.count // 24))
        functions = [_Function(clock, f"GENAIIDP-cache-{team}", team) for team in ("north", "south")]
        for number in range(self.count):
            clock.wall_ms = start + number * days * DAY_MS / self.count + chance.randrange(50)
            page, step = _page(chance, pages, even=self.cause == "memory"), chance.choice(STEPS)
            cause = self._cause_of(page)
            event, image = _event(step, page, cause, chance, clock.now_ms(), late=number > self.count / 2)
            function = functions[chance.randrange(2) if cause == "namespace_split" else 0]
            request_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            if self.keep_events:
                self.events[request_id] = event
            fresh = 3_600 if cause == "freshness" else 7 * 86_400
            size = 300_000 if self.cause == "memory" else 4_000
            receipt = function.call(event, image, request_id, fresh, size, chance)
            self._count(receipt["outcome"], page, step, cause)
            yield receipt

    def _count(self, outcome: str, page: int, step: str, cause: str) -> None:
        first = (page, step) not in self._met
        self._met.add((page, step))
        if outcome == "bypass" or (outcome == "miss" and not first):
            self.lost[cause] += 1
        elif outcome == "miss":
            self.first_sights += 1

    def _cause_of(self, page: int) -> str:
        at = int(hashlib.sha256(f"page {page}".encode()).hexdigest()[:8], 16) / 2**32
        others = [cause for cause in BY_PAGE if cause != self.cause] if self.cause != "memory" else []
        if self.cause in BY_PAGE and at < MAIN_SHARE:
            return self.cause
        place = (at - MAIN_SHARE) / OTHER_SHARE
        return others[int(place)] if 0 <= place < len(others) else ""


class _Function:
    """A wrapper with one environment: its tiers judge as the product does, the table forgets nothing."""

    def __init__(self, clock: FakeClock, name: str, namespace: str) -> None:
        environ = {"AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
        self._clock, self._name = clock, name
        self._meter = Meter(clock, Spending(), Prices("", PriceTable), environ)
        self._keyer = Keyer(SECRETS, namespace)
        self._memory = MemoryTier(64 * 1024 * 1024, 300, clock)
        self._table: dict[CacheKey, Entry] = {}
        self._known: dict[str, tuple[CacheKey, dict[str, Any]]] = {}
        self._frame: dict[bool, Mapping[str, Any]] = {}
        self._bodies: dict[int, bytes] = {}
        self._cold = True

    def call(
        self, event: dict[str, Any], image: bytes, request_id: str, fresh: int, size: int, chance: random.Random
    ) -> Mapping[str, Any]:
        receipt = Receipt(event["context"], self._name, request_id, cold_start=self._cold)
        receipt.mode, receipt.environment = "on", hashlib.sha256(self._name.encode()).hexdigest()[:8]
        self._cold = False
        request = parse(event)
        if isinstance(may_look_up(request, Rules()), Bypass):
            receipt.components = without_images(self._keyer, request)
            self._ask(receipt, chance)
            receipt.end(Outcome.BYPASS, Reason.SAMPLING)
            return self.record(receipt)
        receipt.images, receipt.image_bytes = len(request.images), len(request.images) * len(image)
        key, receipt.components = self._identified(request, image)
        receipt.key_id = self._keyer.shown(key)
        self._answer(receipt, key, fresh, size, chance)
        return self.record(receipt)

    def _identified(self, request: HookRequest, image: bytes) -> tuple[CacheKey, dict[str, Any]]:
        """Key and trace, made once for requests that differ in nothing but the names of their images."""
        same = json.dumps(request.event)
        for ref in request.images:
            same = same.replace(ref.uri, image.decode())
        known = self._known.get(same)
        if known is None:
            digests = [ImageDigest(hashlib.sha256(image).digest(), len(image), "", "")] * len(request.images)
            key = self._keyer.key_of(canonical_form(request, digests), b"code 1", "0")
            known = self._known[same] = key, components(self._keyer, request, digests, b"code 1", "0")
        return known

    def record(self, receipt: Receipt) -> dict[str, Any]:
        """What `Meter.record` gives, quicker: a log needs many, and their metric definitions are all alike."""
        frame = self._frame.get(receipt.asked_backend)
        if frame is None:
            frame = self._frame[receipt.asked_backend] = json.loads(self._meter.record(receipt))
        record = {**frame, **_members(receipt), **{name: [float(value)] for name, _, value in _metrics(receipt)}}
        record.pop("components", None)
        if receipt.components is not None:
            record["components"] = receipt.components
        record["_aws"] = {**frame["_aws"], "Timestamp": self._clock.now_ms()}
        record["MeteringKey"] = f"{receipt.context}/lambda_hook/{receipt.function}"
        return record

    def _answer(self, receipt: Receipt, key: CacheKey, fresh: int, size: int, chance: random.Random) -> None:
        now = self._clock.now_ms()
        for tier, outcome in ((self._memory.get, Outcome.HIT_MEMORY), (self._table.get, Outcome.HIT_TABLE)):
            entry = tier(key)
            if entry is not None and isinstance(judge(entry, now), Fresh):
                self._serve(receipt, entry, outcome, chance)
                return
        receipt.end(Outcome.MISS, Reason.EXPIRED if key in self._table else Reason.ABSENT)
        self._ask(receipt, chance)
        receipt.entry_bytes, until = size, EpochMillis(now + fresh * 1000)
        if size not in self._bodies:
            self._bodies[size] = b"x" * size
        body = self._bodies[size]
        made = Entry(key, Fence(now), now, until, until, body, receipt.units_spent, receipt.context, "7", {})
        self._table[key] = made
        self._memory.put(made)

    def _serve(self, receipt: Receipt, entry: Entry, outcome: Outcome, chance: random.Random) -> None:
        receipt.end(outcome)
        receipt.age_seconds = (self._clock.now_ms() - entry.created_ms) / 1000
        receipt.entry_bytes, receipt.units_saved = len(entry.body), entry.usage
        receipt.saved_cost, receipt.backend_version = COST[entry.context], "7"
        receipt.total_ms = (1.1 if outcome is Outcome.HIT_MEMORY else 8.4) * (1 + chance.random() / 4)
        receipt.own_cost = Decimal("0.0000004") if outcome is Outcome.HIT_MEMORY else Decimal("0.0000011")
        if outcome is Outcome.HIT_TABLE:
            self._memory.put(entry)

    def _ask(self, receipt: Receipt, chance: random.Random) -> None:
        receipt.units_spent, receipt.cost, receipt.backend_version = UNITS[receipt.context], COST[receipt.context], "7"
        receipt.asked_backend = True
        receipt.backend_ms = LATENCY[receipt.context] * (0.8 + 0.4 * chance.random())
        receipt.total_ms = receipt.backend_ms + 12
        receipt.own_cost = Decimal("0.0000152")


def _page(chance: random.Random, pages: int, *, even: bool) -> int:
    """Some pages are forms that come often, most are not; `even` if all come alike."""
    if even or chance.random() < 0.5:
        return chance.randrange(pages)
    return min(int(chance.paretovariate(0.7)) - 1, pages - 1)


def _event(
    step: str, page: int, cause: str, chance: random.Random, now_ms: int, *, late: bool
) -> tuple[dict[str, Any], bytes]:
    """The host's event for a step of a page, and the bytes of the page's image."""
    image = f"jpeg of page {page}".encode()
    upgraded = cause == "prompt_changed" and late
    system = "You are a careful reader of business papers." if upgraded else "You are an expert in documents."
    block = image_block(f"s3://working-bucket/temp/lambdahook/{uuid.UUID(int=chance.getrandbits(128)).hex}.jpeg")
    if step == "OCR":
        return event_of(
            step, ["Write down all text on this page.", block], [{"text": f"{system} Keep the layout."}]
        ), image
    text = " ".join(random.Random(page).choices(WORDS, k=60))
    if step == "Classification":
        prompt = f"<document>\n{text}\n</document>\nWhich class is it: statement, invoice or letter?"
        return event_of(step, [prompt], [{"text": system}]), image
    attributes = list(ATTRIBUTES)
    if cause == "attribute_order":
        chance.shuffle(attributes)
    prompt = "Extract these attributes:\n" + "\n".join(f"- {each}" for each in attributes)
    if cause == "time_stamp":
        at = now_ms / 1000
        prompt += (
            f"\nProcessed at 2026-11-21T10:{int(at) % 3600 // 60:02}:{at % 60:09.6f}Z as job {chance.getrandbits(40)}."
        )
    if cause == "image_reencoded":
        image += b" at quality %d" % chance.choice([90, 92, 94, 95, 96])
    numbers = {"maxTokens": 10_000, "topK": 5}
    event = event_of(step, [prompt, f"<document-text>\n{text}\n</document-text>", block], [{"text": system}], **numbers)
    if cause == "temperature_omitted":
        del event["inferenceConfig"]["temperature"]
    return event, image


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a log with a planted cause to standard output.")
    parser.add_argument("cause", choices=CAUSES)
    parser.add_argument("count", type=int)
    args = parser.parse_args()
    for record in Planted(args.cause, args.count).receipts():
        sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
