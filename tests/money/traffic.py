"""
A long, seeded run of the whole hook on doubles: popular and rare requests of all steps, errors, bad answers, refusals,
bypasses and joined flights, in two environments whose clock moves on; and an account of it kept by nobody else.

    with Traffic(folder, requests=5_000) as traffic:
        traffic.run()
        traffic.returned      units by name, as the host would add them up
        traffic.log           the function's log, as CloudWatch would hold it
"""

from __future__ import annotations

import io
import random
import threading
from bisect import bisect
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

from fakes import (
    BUCKET,
    STEPS,
    BackendRaised,
    FakeContext,
    answer,
    client_context,
    fitting_answer,
    image_block,
    ocr_event,
    refusal,
)
from rig import Rig

PRICES = """
pricing:
  - name: bedrock/us.amazon.nova-pro-v1:0
    units:
      - {name: inputTokens, price: "8.0E-7"}
      - {name: outputTokens, price: "3.2E-6"}
      - {name: pages, price: "0.004"}
"""
ROW = "bedrock/us.amazon.nova-pro-v1:0"
BURST = 3  # callers of one joined flight


class LogFile(io.TextIOBase):
    """Where standard output goes: a file, as 100,000 receipts are 200 MB. Lambda's own lines stand between ours."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._chance = random.Random(1)
        self.path = path

    def write(self, text: str) -> int:
        with self._lock:
            self._file.write(text)
            if self._chance.random() < 0.2:
                self._file.write("REPORT RequestId: 3c1b0f7a Duration: 12.00 ms Billed Duration: 12 ms\n")
        return len(text)

    def flush(self) -> None:
        return

    def close(self) -> None:
        self._file.close()


class Traffic(Rig):
    """
    Attributes:
        requests: invocations to make. `log`: the file of their receipts.
        returned: numbers in the usages returned, by unit. `ended`: how many answers and errors came out.
    """

    def __init__(self, folder: Path, requests: int, seed: int = 7) -> None:
        prices = folder / "prices.yaml"
        prices.write_text(PRICES)
        super().__init__(
            HOOKCACHE_PRICES=str(prices),
            HOOKCACHE_PRICE_AS=ROW,
            HOOKCACHE_MEMORY_BYTES=str(200_000),
            HOOKCACHE_FRESH_SECONDS=str(3_600),
            HOOKCACHE_MEMORY_SECONDS="60",
        )
        self.requests = requests
        self.log = folder / "function.log"
        self.stdout = LogFile(self.log)  # type: ignore[assignment]
        self.returned: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._account = threading.Lock()
        self._chance = random.Random(seed)
        self._papers = max(50, requests // 20)
        self._zipf = list(accumulate(1 / rank for rank in range(1, self._papers + 1)))
        self.backend.handler = self._answer
        self.backend.seconds = 0.4

    # ---------------------------------------------------------------- the run

    def run(self) -> None:
        """Make all invocations; every fiftieth or so is a flight that several callers join."""
        environments = (self.first, self.second)
        made = 0
        while made < self.requests:
            self.clock.advance(self._chance.expovariate(1.0))
            environment = self._chance.choice(environments)
            if self._chance.random() < 0.02 and made + BURST <= self.requests:
                self._burst(environment)
                made += BURST
            else:
                self._one(self._event(), environment, self._wishes())
                made += 1
            if made % 500 < BURST:
                self._forget()
        self.stdout.close()

    def _one(self, event: Any, environment: Any, wishes: dict[str, Any] | None = None) -> None:
        told = FakeContext(environment.clock, client_context=client_context(**wishes) if wishes else None)
        try:
            reply = environment.hook(event, told)
        except Exception:
            with self._account:
                self.ended["raised"] += 1
            return
        usage = reply.get("usage") if isinstance(reply, dict) else None
        with self._account:
            self.ended["answered"] += 1
            self.returned.update(usage if isinstance(usage, dict) else {})

    def _burst(self, environment: Any) -> None:
        """One leader, held at the backend's door until the others wait for it."""
        event = STEPS["Summarization"](f"A letter that came but once, number {self._chance.random()}.")
        self.backend.gate.clear()
        while self.backend.waiting.acquire(blocking=False):
            pass
        callers = [threading.Thread(target=self._one, args=(event, environment)) for _ in range(BURST)]
        for caller in callers:
            caller.start()
        assert self.backend.waiting.acquire(timeout=10)
        self.backend.gate.set()
        for caller in callers:
            caller.join(30)

    def _forget(self) -> None:
        """What the doubles keep for other tests would grow with every request."""
        self.backend.calls.clear()
        self.backend.arguments.clear()
        self.backend.read_seconds.clear()
        self.s3.calls.clear()
        self.dynamodb.calls.clear()
        self.clock.slept.clear()
        for key in self.s3.names(BUCKET):
            self.s3.delete_object(Bucket=BUCKET, Key=key)

    # ---------------------------------------------------------------- what is sent

    def _event(self) -> dict[str, Any]:
        paper = bisect(self._zipf, self._chance.random() * self._zipf[-1])
        step = self._chance.choice(list(STEPS))
        roll = self._chance.random()
        event = ocr_event(self.image(f"page {paper}".encode() * 20)) if step == "OCR" else STEPS[step](f"paper {paper}")
        if roll < 0.02:
            event["inferenceConfig"]["temperature"] = 0.7  # sampling: bypassed
        elif roll < 0.03:
            event["messages"][0]["content"].append(
                {"image": {"format": "png", "source": {"bytes": "b'\\x89PNG'"}}}  # inline: bypassed
            )
        elif roll < 0.035:
            event["messages"][0]["content"].append(image_block(f"s3://{BUCKET}/temp/lambdahook/gone.jpeg"))
        return event

    def _wishes(self) -> dict[str, Any] | None:
        roll = self._chance.random()
        return {"bypass": True} if roll < 0.005 else {"refresh": True} if roll < 0.01 else None

    # ---------------------------------------------------------------- what comes back

    def _answer(self, event: Any) -> Any:
        """Mostly a sound answer. The draw follows the request's place in the run, not its content."""
        if not self.backend.gate.is_set():
            return fitting_answer(event)
        with self._account:
            roll = self._chance.random()
        if roll < 0.03:
            raise BackendRaised("ThrottlingException", "Too many requests")
        if roll < 0.035:
            raise refusal("TooManyRequestsException", "Rate exceeded", "Invoke")
        good = fitting_answer(event)
        good["usage"]["cacheReadInputTokens"] = 7  # has no price in the table
        if event["context"] == "OCR":
            good["usage"] |= {"pages": 1, "inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
        bad = {
            0: good | {"stopReason": "max_tokens"},
            1: answer("", inputTokens=11, outputTokens=0),
            2: good | {"usage": {"inputTokens": 5, "outputTokens": -2, "model": "nova"}},
            3: good | {"usage": "none"},
            4: {key: value for key, value in good.items() if key != "usage"},
            5: {"errorMessage": "in disguise", "usage": {"inputTokens": 3}},
        }
        return bad[int((roll - 0.035) * 100)] if roll < 0.095 else good

    # ---------------------------------------------------------------- the oracle

    def check(self) -> None:
        self._check_leftovers()

    @property
    def billed(self) -> dict[str, float]:
        """What the backend reported, by unit, for every call that it answered."""
        return {unit: count for unit, count in self.backend.units.items() if count}
