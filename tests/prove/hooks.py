"""The hook as it is deployed, its backend replaced by one that answers at once: what is left is our own time."""

from __future__ import annotations

import json
import random
from typing import Any

from fakes import FakeContext, ocr_event
from hookcache.assembly import Assembly
from hookcache.backend import Answer
from hookcache.clock import SystemClock
from hookcache.settings import Settings

SETTINGS = {
    "AWS_LAMBDA_FUNCTION_NAME": "GENAIIDP-cache-timed",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "HOOKCACHE_BACKEND": "GENAIIDP-timed",
    "HOOKCACHE_IDENTITY": "pinned",
    "HOOKCACHE_SECRET": "a secret for the figures",
}
WORDS = ["invoice", "total", "balance", "account", "number", "date", "amount", "due", "payment", "page", "customer"]


def prose(size_bytes: int, seed: int = 1) -> str:
    """Text that compresses as page text does."""
    chance, parts, length = random.Random(seed), [], 0
    while length < size_bytes:
        parts.append(chance.choice(WORDS) if chance.random() < 0.8 else str(chance.randrange(10_000)))
        length += len(parts[-1]) + 1
    return " ".join(parts)[:size_bytes]


def reply(text: str) -> dict[str, Any]:
    """A backend's answer."""
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1500, "outputTokens": 200, "pages": 1},
    }


class Timed:
    """One execution environment. `asked` counts the calls of its backend, which gives `response` each time."""

    def __init__(self, table: str, **settings: str) -> None:
        environ = {**SETTINGS, "HOOKCACHE_TABLE": table, **settings}
        self.clock = SystemClock()
        self.assembly = Assembly(Settings.of(environ), environ)
        self.response = reply(prose(5_000))
        self.asked = 0
        self._hook = self.assembly.hook(self)

    def invoke(self, event: Any, context: Any, deadline: Any) -> Answer:
        self.asked += 1
        return Answer(json.dumps(self.response).encode(), self.response)

    def __call__(self, text: str) -> Any:
        return self._hook(ocr_event(text=text), FakeContext(self.clock, seconds=300.0))

    def close(self) -> None:
        self.assembly.items.close()
