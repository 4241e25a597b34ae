"""
Traffic for the simulator's tests: a long day of pages through the real hook, whose receipts are the log to replay.

Pages come by popularity, in several environments, slowly enough for copies and answers to expire, and with all that a
trace meets: refusals, failures, sampling requests, refreshes, unreadable images, and callers who ask together.
"""

from __future__ import annotations

import io
import json
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from fakes import TABLE, BackendRaised, answer, client_context, event_of, fitting_answer, image_block, ocr_event
from rig import Environment, Rig
from waiting import eventually

SETTINGS = {
    "HOOKCACHE_FRESH_SECONDS": "3600",
    "HOOKCACHE_MEMORY_SECONDS": "600",
    "HOOKCACHE_MEMORY_BYTES": "12000",
    "HOOKCACHE_PRICES": str(Path(__file__).parents[2] / "docs/prices.example.yaml"),
    "HOOKCACHE_PRICE_AS": "bedrock/us.amazon.nova-pro-v1:0",
    "HOOKCACHE_POLICY": json.dumps({"*": {"trace": True}, "Extraction": {"fresh_seconds": 900}}),
}
DEPLOYED = [
    *("--deployed", "fresh_seconds=3600", "--deployed", "memory_seconds=600", "--deployed", "memory_bytes=12000"),
    *("--deployed", 'policy={"Extraction": {"fresh_seconds": 900}}'),
]


class Lines(io.TextIOBase):
    """Receipts by the thousand: kept line by line."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return len(text)

    @property
    def text(self) -> str:
        return "".join(self.parts)


class LongRig(Rig):
    """A rig for runs too long to search every word written for every secret; the rest of its oracle stands."""

    def __init__(self, **settings: str | None) -> None:
        super().__init__(**settings)
        self.stdout = Lines()

    def check(self) -> None:
        self._check_receipts()
        self._check_bill()
        self._check_leftovers()


class Traffic:
    """
    `count` requests of `pages` pages through `environments` environments over one table.

    Args:
        table: a client of a real engine and the name of its table, or None for the double.
    """

    def __init__(
        self, count: int, *, pages: int = 400, environments: int = 3, seed: int = 11, table: Any = None
    ) -> None:
        self._chance = random.Random(seed)
        self._count, self._pages, self._environments, self._table = count, pages, environments, table

    def run(self) -> list[dict[str, Any]]:
        """The receipts."""
        client, name = self._table or (None, TABLE)
        with LongRig(**SETTINGS, HOOKCACHE_TABLE=name) as rig:
            rig.clients.table = client or rig.clients.table
            rig.backend.handler = self._reply
            environments = [rig.cold_start() for _ in range(self._environments)]
            done = 0
            while done < self._count:
                rig.clock.advance(self._chance.randrange(1, 12_000) / 1000)
                rig.backend.seconds = self._chance.randrange(200, 6_000) / 1000
                environment = self._chance.choice(environments)
                if self._chance.random() < 0.02:
                    done += self._together(rig, environment, environments)
                else:
                    self._one(rig, environment, self._event(rig))
                    done += 1
            return rig.receipts

    def _one(self, rig: Rig, environment: Environment, event: Any, **context: Any) -> None:
        if self._chance.random() < 0.01:
            context["client_context"] = client_context(refresh=True)
        with suppress(Exception):  # a failure is part of the trace
            rig.call(event, environment, **context)

    def _together(self, rig: Rig, environment: Environment, environments: list[Environment]) -> int:
        """Two callers of one environment ask for a page that nobody has; the second waits for the first."""
        event = ocr_event(rig.image(self._chance.randbytes(40)))
        calls = len(rig.backend.calls)
        rig.backend.gate.clear()
        callers = [threading.Thread(target=rig.call, args=(event, environment)) for _ in range(2)]
        callers[0].start()
        assert eventually(lambda: len(rig.backend.calls) > calls)
        callers[1].start()
        flights = environment.cache.flights._flights
        assert eventually(lambda: any(flight.over._cond._waiters for flight in list(flights.values())))
        rig.backend.gate.set()
        for caller in callers:
            caller.join()
        return 2

    def _event(self, rig: Rig) -> Any:
        chance = self._chance
        page = (
            min(int(chance.paretovariate(0.7)) - 1, self._pages)
            if chance.random() < 0.7
            else chance.randrange(self._pages)
        )
        text = f"page {page} " + "x" * (page * 37 % 900)
        roll = chance.random()
        if roll < 0.02:
            return event_of("Summarization", [text], temperature=0.7)
        if roll < 0.03:
            return ocr_event(f"s3://idp-working-bucket/temp/lambdahook/{page:032x}.jpeg")
        if roll < 0.05:
            return event_of("Extraction", [f"{text} refuse"])
        if roll < 0.06:
            return event_of("Extraction", [f"{text} fail {chance.random()}"])
        if roll < 0.5:
            return event_of("Extraction", [text, image_block(rig.image(text.encode()))])
        return ocr_event(rig.image(text.encode()))

    @staticmethod
    def _reply(event: Any) -> Any:
        said = event["messages"][0]["content"][0]["text"]
        if " fail " in said:
            raise BackendRaised("ModelTimeout", "the model took too long")
        if said.endswith(" refuse"):
            return answer('{"total": ', "max_tokens", inputTokens=90, outputTokens=9)
        reply = fitting_answer(event)
        reply["more"] = "y" * (len(said) % 700)
        return reply


def write_log(receipts: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(receipt, separators=(",", ":")) + "\n" for receipt in receipts))
    return path
