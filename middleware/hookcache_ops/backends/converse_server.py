"""
Bedrock's runtime on this machine: `POST /model/{id}/converse`, and `/invoke` with Anthropic's messages body.

It reads the images it is sent, keeps prompt prefixes up to a cache point as Bedrock's own prompt cache would, and refuses
what Bedrock refuses. Beside the misfortunes of every server: `timeout`, `denied`, `not_ready`, `guardrail`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hookcache_ops.backends.reading import Told, UnreadableError, tell
from hookcache_ops.backends.serving import Reply, Request, WireServer

MOST_CACHE_POINTS = 4
CACHE_CHARACTERS = 400  # a shorter prefix is not kept; Bedrock's own bound is 1,024 tokens or more
ERRORS = {
    "throttle": (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "server_error": (500, "InternalServerException", "The system encountered an unexpected error."),
    "unavailable": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "timeout": (408, "ModelTimeoutException", "Model has timed out in processing the request."),
    "denied": (403, "AccessDeniedException", "You don't have access to the model with the specified model ID."),
    "not_ready": (429, "ModelNotReadyException", "Model is not ready for inference."),
}


class InvalidError(Exception):
    """A request that Bedrock refuses; the text is what it says."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request's content, whichever API brought it. `prefix` is what stands before the last cache point, or empty."""

    texts: tuple[str, ...]
    images: tuple[bytes, ...]
    prefix: str
    max_tokens: int | None


class ConverseServer(WireServer):
    """
    For the time of its `with` block; `url` is what AWS_ENDPOINT_URL_BEDROCK_RUNTIME takes.

    Attributes:
        tell: what the model makes of texts and images, for tests that need no OCR.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tell = tell
        self._prefixes: set[str] = set()

    def answer(self, request: Request) -> Reply:
        return self._answer(request)

    def misfortune(self, how: str, request: Request) -> Reply:
        return _error(*ERRORS[how]) if how in ERRORS else self._answer(request, how)

    def _answer(self, request: Request, how: str = "") -> Reply:
        match request.parts:
            case ("model", _, "converse"):
                read, wrap = _converse_prompt, _converse_reply
            case ("model", _, "invoke"):
                read, wrap = _anthropic_prompt, _anthropic_reply
            case _:
                return _error(404, "UnknownOperationException", "")
        try:
            prompt = read(request.json())
            told = self.tell(prompt.texts, prompt.images)
        except (InvalidError, UnreadableError, ValueError) as error:
            return _error(400, "ValidationException", str(error))
        return wrap(*_ended(told, prompt, how), self._usage(told, prompt))

    def _usage(self, told: Told, prompt: Prompt) -> dict[str, int]:
        """Input tokens without those of a kept prefix, which Bedrock counts beside them."""
        kept = len(prompt.prefix) // 4 if len(prompt.prefix) >= CACHE_CHARACTERS else 0
        digest = hashlib.sha256(prompt.prefix.encode()).hexdigest()
        known = digest in self._prefixes
        if kept:
            self._prefixes.add(digest)
        return {
            "inputTokens": max(0, told.input_tokens - kept),
            "outputTokens": told.output_tokens,
            "cacheReadInputTokens": kept if known else 0,
            "cacheWriteInputTokens": 0 if known else kept,
        }


def _ended(told: Told, prompt: Prompt, how: str) -> tuple[list[str], str]:
    """The answer's texts and why it stopped."""
    most = told.output_tokens // 2 if how == "max_tokens" else prompt.max_tokens
    if how == "empty":
        return [], "end_turn"
    if how == "guardrail":
        return ["Sorry, the guardrail does not allow this."], "guardrail_intervened"
    if most is not None and told.output_tokens > most:
        return [told.text[: most * 4]], "max_tokens"
    return [told.text], "end_turn"


def _converse_prompt(body: Mapping[str, Any]) -> Prompt:
    messages = body.get("messages") or [{}]
    if messages[0].get("role") != "user":
        raise InvalidError("A conversation must start with a user message. Try again with a conversation that does.")
    blocks = _blocks(body, messages)
    if sum("cachePoint" in block for block in blocks) > MOST_CACHE_POINTS:
        raise InvalidError(f"The request may hold {MOST_CACHE_POINTS} cache points at most.")
    config = body.get("inferenceConfig") or {}
    texts, images = tuple(_texts(blocks)), tuple(_bytes(b["image"]["source"]["bytes"]) for b in blocks if "image" in b)
    return Prompt(texts, images, _prefix(["cachePoint" in block for block in blocks], blocks), config.get("maxTokens"))


def _anthropic_prompt(body: Mapping[str, Any]) -> Prompt:
    if not body.get("anthropic_version") or not isinstance(body.get("max_tokens"), int):
        raise InvalidError("Malformed input request: #: required key [max_tokens] or [anthropic_version] not found")
    messages = body.get("messages") or [{}]
    blocks = _blocks(body, messages)
    images = tuple(_bytes(block["source"]["data"]) for block in blocks if block.get("type") == "image")
    marked = ["cache_control" in block for block in blocks]
    return Prompt(tuple(_texts(blocks)), images, _prefix(marked, blocks), body["max_tokens"])


def _blocks(body: Mapping[str, Any], messages: list[Any]) -> list[Any]:
    """All content in the order in which the model sees it."""
    return [*(body.get("system") or ()), *(block for message in messages for block in message.get("content") or ())]


def _texts(blocks: list[Any]) -> Iterator[str]:
    for block in blocks:
        if "text" in block:
            if not block["text"].strip():
                raise InvalidError("The text field in the ContentBlock object is blank. Add text to it and try again.")
            yield block["text"]


def _bytes(told: str) -> bytes:
    try:
        return base64.b64decode(told, validate=True)
    except binascii.Error:
        raise InvalidError("The image is not base64.") from None


def _prefix(marked: list[bool], blocks: list[Any]) -> str:
    last = max((place for place, mark in enumerate(marked) if mark), default=-1)
    return json.dumps(blocks[: last + 1]) if last >= 0 else ""


def _converse_reply(texts: list[str], stop: str, usage: dict[str, int]) -> Reply:
    return Reply.of_json(
        {
            "output": {"message": {"role": "assistant", "content": [{"text": text} for text in texts]}},
            "stopReason": stop,
            "usage": {**usage, "totalTokens": sum(usage.values())},
            "metrics": {"latencyMs": 7},
        }
    )


def _anthropic_reply(texts: list[str], stop: str, usage: dict[str, int]) -> Reply:
    units = {
        "input_tokens": usage["inputTokens"],
        "output_tokens": usage["outputTokens"],
        "cache_read_input_tokens": usage["cacheReadInputTokens"],
        "cache_creation_input_tokens": usage["cacheWriteInputTokens"],
    }
    content = [{"type": "text", "text": text} for text in texts]
    guarded = {"amazon-bedrock-guardrailAction": "INTERVENED"} if stop == "guardrail_intervened" else {}
    stop = "end_turn" if guarded else stop
    return Reply.of_json(
        {"type": "message", "role": "assistant", "content": content, "stop_reason": stop, "usage": units, **guarded}
    )


def _error(status: int, name: str, message: str) -> Reply:
    return Reply.of_json(
        {"message": message}, status, {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/coral/"}
    )
