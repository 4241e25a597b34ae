"""The host's requests and the backend's answers, in the sizes that are measured."""

from __future__ import annotations

import json
import random
from typing import Any

_WORDS = [
    "invoice",
    "total",
    "balance",
    "account",
    "number",
    "date",
    "amount",
    "due",
    "payment",
    "page",
    "statement",
    "customer",
    "address",
    "city",
    "order",
    "item",
    "quantity",
    "price",
    "tax",
    "net",
    "gross",
    "reference",
    "contract",
    "period",
    "meter",
    "reading",
    "opening",
    "closing",
    "transfer",
]


def prose(size_bytes: int, seed: int = 1, *, umlauts: bool = False) -> str:
    """
    Text of about so many bytes that compresses as page text does.

    Plain ASCII unless `umlauts`: Python keeps such text as it is hashed, and must re-spell any other to hash it.
    """
    chance, parts, length = random.Random(seed), [], 0
    while length < size_bytes:
        words = (*_WORDS, "Grüße", "Straße", "Übertrag") if umlauts else _WORDS
        word = chance.choice(words) if chance.random() < 0.8 else str(chance.randrange(10_000))
        parts.append(word)
        length += len(word.encode()) + 1
    return " ".join(parts)[:size_bytes]


def event(text: str, uris: list[str] | None = None) -> dict[str, Any]:
    """One logical call of the host: text first, then the images."""
    images = [{"image": {"format": "jpeg", "source": {"s3Location": {"uri": uri}}}} for uri in uris or []]
    return {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": [{"text": text}, *images]}],
        "system": [{"text": "You read documents and answer with what they say, and nothing else."}],
        "inferenceConfig": {"temperature": 0.0, "topP": 0.1, "topK": 5, "maxTokens": 4096},
        "context": "OCR",
    }


def answer(size_bytes: int, seed: int = 2) -> dict[str, Any]:
    """A backend's answer whose JSON has about so many bytes."""
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": prose(size_bytes - 200, seed)}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1500, "outputTokens": 200, "totalTokens": 1700, "pages": 1},
    }


def free(response: dict[str, Any]) -> dict[str, Any]:
    """The answer as a hit must return it: every number of `usage` is 0. All contenders are checked against this."""
    copy: dict[str, Any] = json.loads(json.dumps(response))
    copy["usage"] = dict.fromkeys(copy["usage"], 0)
    return copy


class Context:
    """The context object that Lambda hands to a handler."""

    function_name = "GENAIIDP-cache-bench"
    function_version = "$LATEST"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-bench"
    aws_request_id = "00000000-0000-0000-0000-000000000000"
    memory_limit_in_mb = 512
    client_context = None

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 300_000
