"""Anthropic's messages body for InvokeModel, and its answer under Converse's names."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from backend_errors import BadAnswerError
from converse_answer import require_text
from page_images import PageImage
from prompt_blocks import numbers_of
from prompt_parts import CachePoint, Part, prompt_of
from sampling import chosen

VERSION = "bedrock-2023-05-31"
NUMBERS = {"temperature": "temperature", "topP": "top_p", "topK": "top_k"}
UNITS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_input_tokens": "cacheReadInputTokens",
    "cache_creation_input_tokens": "cacheWriteInputTokens",
}
STOPS = {"refusal": "content_filtered"}  # the other words are Converse's own


def anthropic_body(
    event: Mapping[str, Any],
    fetch: Callable[[Mapping[str, Any]], PageImage],
    *,
    sampling: str,
    cache_points: bool,
    max_tokens: int,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """
    The body. `max_tokens` stands in where the host sends none, for this body must have one; `fields` are laid over it.

    Raises:
        BadRequestError, NoImageError
    """
    system, messages = prompt_of(event, fetch, cache_points=cache_points)
    numbers = chosen(numbers_of(event), sampling)
    body: dict[str, Any] = {
        "anthropic_version": VERSION,
        "max_tokens": numbers.get("maxTokens") or max_tokens,
        "messages": [{"role": role, "content": _blocks(parts)} for role, parts in messages],
    }
    if system:
        body["system"] = _blocks(system)
    body |= {theirs: numbers[ours] for ours, theirs in NUMBERS.items() if ours in numbers}
    return {name: value for name, value in {**body, **fields}.items() if value is not None}


def _blocks(parts: list[Part]) -> list[dict[str, Any]]:
    """A cache point is a member of the block before it."""
    blocks: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case CachePoint():
                blocks[-1]["cache_control"] = {"type": "ephemeral"}
            case str():
                blocks.append({"type": "text", "text": part})
            case PageImage():
                data = base64.b64encode(part.data).decode("ascii")
                source = {"type": "base64", "media_type": part.media_type, "data": data}
                blocks.append({"type": "image", "source": source})
    return blocks


def anthropic_answer(body: Any, *, blank_pages: bool) -> dict[str, Any]:
    """
    The answer to the host.

    Raises:
        BadAnswerError: no content, no stop reason, or no text where one must be.
    """
    body = body if isinstance(body, dict) else {}
    content, stop = body.get("content"), body.get("stop_reason")
    if guarded(body):  # where it blocked the prompt, no model said why it stopped
        stop = "guardrail_intervened"
    if not isinstance(content, list) or not isinstance(stop, str) or not stop:
        raise BadAnswerError(
            "the model's body holds no content or no stop reason: it was cut, or INVOKE_SHAPE is wrong"
        )
    stop = STOPS.get(stop, stop)
    texts = [block["text"] for block in content if isinstance(block, dict) and isinstance(block.get("text"), str)]
    require_text("".join(texts), stop, blank_pages=blank_pages)
    told = body.get("usage")
    told = told if isinstance(told, dict) else {}
    usage = {ours: told[theirs] for theirs, ours in UNITS.items() if isinstance(told.get(theirs), int)}
    if usage:
        usage["totalTokens"] = sum(usage.values())
    answer = {"output": {"message": {"role": "assistant", "content": [{"text": text} for text in texts or [""]]}}}
    return {**answer, "stopReason": stop, "usage": usage} if usage else {**answer, "stopReason": stop}


def guarded(body: Mapping[str, Any]) -> bool:
    """Whether a guardrail replaced the answer; InvokeModel says so inside the body, whatever its shape."""
    return body.get("amazon-bedrock-guardrailAction") == "INTERVENED"
