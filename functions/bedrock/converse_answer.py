"""
Converse's reply as the host's answer: message, stop reason and every count of its usage.

Left out: `metrics`, whose latency differs each time, so that equal answers would not compare as equal; `trace`, which quotes
the document; members of usage that are no numbers, which older hosts count as 1.
"""

from collections.abc import Mapping
from typing import Any

from backend_errors import BadAnswerError

GOOD_STOPS = frozenset({"end_turn", "stop_sequence"})


def converse_answer(reply: Mapping[str, Any], *, blank_pages: bool) -> dict[str, Any]:
    """
    The answer to the host. One that was cut or filtered goes through as such: its stop reason says so.

    Args:
        blank_pages: an empty text that ended well is a blank page.

    Raises:
        BadAnswerError: no message, no stop reason, or no text where one must be. botocore turns a reply that is no JSON
            into one without members, so this is also where such a reply ends.
    """
    output = reply.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    stop = reply.get("stopReason")
    if not isinstance(content, list) or not isinstance(stop, str) or not stop:
        raise BadAnswerError("Bedrock's reply holds no message or no stop reason: it was cut, or is no Converse reply")
    blocks = [block for block in content if isinstance(block, dict) and not _holds_bytes(block)]
    require_text("".join(str(block.get("text", "")) for block in blocks), stop, blank_pages=blank_pages)
    answer: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": blocks or [{"text": ""}]}},
        "stopReason": stop,
    }
    counts = numbers_of(reply.get("usage"))
    return {**answer, "usage": counts} if counts else answer


def require_text(text: str, stop: str, *, blank_pages: bool) -> None:
    """
    Raises:
        BadAnswerError: `text` is blank and no blank page.
    """
    if not text.strip() and not (blank_pages and stop in GOOD_STOPS):
        raise BadAnswerError(
            f"the model's answer is empty (it ended with {stop}): raise maxTokens where that is max_tokens; "
            "BLANK_PAGES=on where the model says nothing about a blank page"
        )


def numbers_of(usage: Any) -> dict[str, int | float]:
    """The counts in a usage, under the names that they came with."""
    members = usage if isinstance(usage, dict) else {}
    return {unit: n for unit, n in members.items() if isinstance(n, int | float) and not isinstance(n, bool)}


def _holds_bytes(value: Any) -> bool:
    """Redacted reasoning comes as bytes, which JSON has no form for and the host has no use for."""
    match value:
        case bytes() | bytearray():
            return True
        case dict():
            return any(map(_holds_bytes, value.values()))
        case list():
            return any(map(_holds_bytes, value))
    return False
