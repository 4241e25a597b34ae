"""
Logs with one thing wrong: a wrapper in miniature, with a dictionary for a table and an ordered one for memory.

    python tests/ops/simulate_logs.py freshness 5000 > freshness.jsonl

Nothing of the product takes part in it, so that a replay which agrees with such a log agrees for its own reasons. A share
of the requests is the same in all logs: prompts that never come again, sampling requests, failures, refusals.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from hookcache.entry import held_bytes
from hookcache.memory import SLOT_BYTES
from ops.receipt_samples import START_MS, receipt

STEPS = {"OCR": ({"pages": 1}, 0.004), "Extraction": ({"inputTokens": 5_200, "outputTokens": 640}, 0.0062)}
FUNCTION_GIGABYTES = 0.5
COPY_SECONDS = 300


class Wrapper:
    """One environment. Times are seconds since the log's beginning."""

    def __init__(self, fresh_seconds: float, memory_bytes: int, chance: random.Random) -> None:
        self._fresh, self._bytes, self._chance = fresh_seconds, memory_bytes, chance
        self._table: dict[str, float] = {}
        self._memory: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._held = 0
        self._number = 0

    def call(self, now: float, step: str, key: str, body_bytes: int, **components: Any) -> dict[str, Any]:
        """The receipt of a request for `key` at `now`, whose answer has `body_bytes`."""
        units, cost = STEPS[step]
        facts = {"context": step, "key_id": key, "backend_version": "7", "entry_bytes": body_bytes, **components}
        made = self._table.get(key)
        size = held_bytes(body_bytes, step, "7", units) + SLOT_BYTES
        if made is not None and now < made + self._fresh:
            hit = self._from_memory(now, key) or "hit_table"
            if hit == "hit_table":
                self._remember(now, key, size)
            latency = (1.1 if hit == "hit_memory" else 8.4) * (1 + self._chance.random() / 4)
            own = 4e-7 if hit == "hit_memory" else 1.1e-6
            age = round(now - made, 3)
            return self._told(hit, now, latency, own, units_saved=units, SavedCost=cost, age_seconds=age, **facts)
        latency = float(self._chance.randrange(1_000, 4_000))
        fails, refused = self._chance.random() < 0.01, self._chance.random() < 0.01
        if fails:
            facts |= {"reason": "backend_failed", "entry_bytes": 0, "BackendLatency": latency}
            return self._told("failed", now, latency, 1.5e-5, **facts)
        reason = "absent" if made is None else "expired"
        if refused:
            facts |= {"refusal": "not_json", "Refusals": 1, "entry_bytes": 0}
        else:
            self._table[key] = now
            self._remember(now + latency / 1000, key, size)
        facts |= {"units_spent": units, "Cost": cost, "BackendLatency": latency - 12, "reason": reason}
        return self._told("miss", now, latency, 1.5e-5, **facts)

    def bypass(self, now: float) -> dict[str, Any]:
        facts = {"context": "Extraction", "key_id": "", "reason": "sampling", "units_spent": STEPS["Extraction"][0]}
        return self._told("bypass", now, 2_000.0, 1.4e-5, Cost=0.0062, BackendLatency=1_995.0, **facts)

    def _from_memory(self, now: float, key: str) -> str:
        until, _ = self._memory.get(key, (0.0, 0))
        if now < until:
            self._memory.move_to_end(key)
            return "hit_memory"
        self._drop(key)
        return ""

    def _remember(self, now: float, key: str, size: int) -> None:
        self._drop(key)
        if size <= self._bytes:
            self._memory[key] = (now + COPY_SECONDS, size)
            self._held += size
            while self._held > self._bytes:
                self._drop(next(iter(self._memory)))

    def _drop(self, key: str) -> None:
        _, size = self._memory.pop(key, (0.0, 0))
        self._held -= size

    def _told(self, outcome: str, now: float, latency: float, own: float, **facts: Any) -> dict[str, Any]:
        self._number += 1
        return receipt(
            outcome,
            time_ms=START_MS + round(now * 1000 + latency),
            request_id=f"r{self._number}",
            Latency=latency,
            OwnCost=own,
            own_units={"lambda_requests": 1, "lambda_gb_seconds": FUNCTION_GIGABYTES * latency / 1000},
            **facts,
        )


def freshness(count: int, seed: int = 3) -> Iterator[dict[str, Any]]:
    """Some days in which pages come again after hours; answers stay fresh for 15 minutes."""
    chance = random.Random(seed)
    wrapper, now = Wrapper(900, 64 * 1024 * 1024, chance), 0.0
    for _ in range(count):
        now += chance.expovariate(count / (2 * 86_400)) + 4  # one caller, who waits for each answer
        yield _request(wrapper, now, chance, count // 8, 4_000)


def memory(count: int, seed: int = 3) -> Iterator[dict[str, Any]]:
    """A busy time over large answers: what comes again within minutes was put out of a tier of 16 MiB meanwhile."""
    chance = random.Random(seed)
    wrapper, now = Wrapper(7 * 86_400, 16 * 1024 * 1024, chance), 0.0
    for _ in range(count):
        receipt = _request(wrapper, now, chance, 160, 250_000)
        now = receipt["_aws"]["Timestamp"] / 1000 - START_MS / 1000 + 0.05
        yield receipt


def prompts(count: int, seed: int = 3) -> Iterator[dict[str, Any]]:
    """OCR prompts differ from call to call, over images that come again; the trace says so."""
    chance = random.Random(seed)
    wrapper, now = Wrapper(7 * 86_400, 64 * 1024 * 1024, chance), 0.0
    for number in range(count):
        now += chance.expovariate(1 / 20) + 4
        page = chance.randrange(count // 10)
        traced = {"images": [f"{page:016x}"], "identity": "i", "generation": "g", "texts": [f"{number:x}"]}
        yield wrapper.call(now, "OCR", f"{number + 1:016x}", 4_000, components=traced)


def example(count: int, seed: int = 3) -> Iterator[dict[str, Any]]:
    """Some hours of one caller: answers stay fresh for 15 minutes, and one OCR prompt in six holds the time. Traced."""
    chance = random.Random(seed)
    wrapper, now = Wrapper(900, 64 * 1024 * 1024, chance), 0.0
    for number in range(count):
        now += chance.expovariate(1 / 14) + 4
        page = chance.randrange(count // 10) if chance.random() < 0.8 else chance.randrange(4)
        step = "OCR" if chance.random() < 0.6 else "Extraction"
        stamped = step == "OCR" and chance.random() < 1 / 6
        prompt = f"{number + 1:016x}" if stamped else f"{step == 'OCR':016x}"
        traced = {"images": [f"{page:016x}"], "texts": [prompt], "identity": "1" * 16, "generation": "0" * 16}
        key = hashlib.blake2b(f"{step} {page} {prompt}".encode(), digest_size=8).hexdigest()
        yield wrapper.call(now, step, key, 60_000, components=traced)


def _request(wrapper: Wrapper, now: float, chance: random.Random, pages: int, body_bytes: int) -> dict[str, Any]:
    roll = chance.random()
    if roll < 0.02:
        return wrapper.bypass(now)
    step = "OCR" if chance.random() < 0.5 else "Extraction"
    if roll < 0.05:
        return wrapper.call(now, step, f"{chance.getrandbits(60):016x}", body_bytes)
    return wrapper.call(now, step, f"{(step == 'OCR') * 10_000_000 + chance.randrange(pages):016x}", body_bytes)


LOGS = {"freshness": freshness, "memory": memory, "prompts": prompts, "example": example}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a log with one thing wrong to standard output.")
    parser.add_argument("cause", choices=LOGS)
    parser.add_argument("count", type=int)
    args = parser.parse_args()
    for line in LOGS[args.cause](args.count):
        sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
