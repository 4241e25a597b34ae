"""
Converse answers as streams of events, there and back.

    Assembled().add(event) ... .answer()     the events of ConverseStream -> the answer that Converse would have given
    events_of(answer)                        such an answer -> events that put together make it again

Source: Bedrock API reference, ConverseStreamOutput and the response of Converse.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

Event = Mapping[str, Any]
PIECE_LETTERS = 4_096
"""A kept text is replayed in deltas of so many letters, so that lines stay short."""


class Unassembled(Exception):
    """The stream holds what we cannot put together exactly; the message names its kind."""


class _Block:
    """One content block while its deltas come in; `parts` by kind of delta."""

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.parts: dict[str, list[Any]] = {}

    def content(self) -> dict[str, Any]:
        kinds = self.parts.keys() | self.start.keys()
        if kinds == {"toolUse"}:
            spelt = "".join(part.get("input", "") for part in self.parts.get("toolUse", ()))
            try:
                return {"toolUse": {**self.start["toolUse"], "input": json.loads(spelt or "{}")}}
            except (KeyError, ValueError):
                raise Unassembled("toolUse") from None
        if kinds == {"reasoningContent"}:
            return {"reasoningContent": _reasoning(self.parts["reasoningContent"])}
        if kinds == {"text", "citation"} or kinds == {"citation"}:
            text = "".join(self.parts.get("text", ()))
            return {"citationsContent": {"content": [{"text": text}], "citations": self.parts["citation"]}}
        if kinds <= {"text"}:
            return {"text": "".join(self.parts.get("text", ()))}
        raise Unassembled("+".join(sorted(kinds)))


def _reasoning(parts: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {kind for part in parts for kind in part}
    if kinds == {"redactedContent"}:
        redacted = b"".join(base64.b64decode(part["redactedContent"]) for part in parts)
        return {"redactedContent": base64.b64encode(redacted).decode()}
    if not kinds <= {"text", "signature"}:
        raise Unassembled("reasoningContent")
    told: dict[str, Any] = {"text": "".join(part.get("text", "") for part in parts)}
    if "signature" in kinds:
        told["signature"] = "".join(part.get("signature", "") for part in parts)
    return {"reasoningText": told}


class Assembled:
    """The answer as far as its events have come. Feed it the events in their order."""

    def __init__(self) -> None:
        self._role = ""
        self._blocks: dict[int, _Block] = {}
        self._stop: dict[str, Any] | None = None
        self._metadata: dict[str, Any] | None = None
        self._odd = ""

    def add(self, event: Event) -> None:
        """Take one event, as `jsonable` gave it. What is unknown is remembered as such."""
        for name, told in event.items():
            match name:
                case "messageStart":
                    self._role = told.get("role", "assistant")
                case "contentBlockStart":
                    self._block(told).start = dict(told.get("start", {}))
                case "contentBlockDelta":
                    for kind, part in told.get("delta", {}).items():
                        self._block(told).parts.setdefault(kind, []).append(part)
                case "contentBlockStop":
                    self._block(told)
                case "messageStop":
                    self._stop = dict(told)
                case "metadata":
                    self._metadata = dict(told)
                case _:
                    self._odd = name

    @property
    def ended_well(self) -> bool:
        """True once the model has said why it stopped and what it used: only then is the answer whole."""
        return bool(self._role) and self._stop is not None and isinstance((self._metadata or {}).get("usage"), dict)

    def answer(self) -> dict[str, Any]:
        """
        What Converse would have answered.

        Raises:
            Unassembled: a kind or shape of event or content is not known here.
        """
        if self._odd:
            raise Unassembled(self._odd)
        try:
            content = [self._blocks[index].content() for index in sorted(self._blocks)]
        except (TypeError, AttributeError, ValueError):  # such as a number where a text should be
            raise Unassembled("content of another shape") from None
        return {"output": {"message": {"role": self._role, "content": content}}} | self.tail()

    def tail(self) -> dict[str, Any]:
        """
        All of the answer but its message: why the model stopped, and what it used.

        Left out: `metrics`, whose latency differs each time, so that equal answers would not compare as equal; `trace`,
        which quotes the document.
        """
        return {**(self._stop or {}), "usage": (self._metadata or {}).get("usage", {})}

    def _block(self, told: Mapping[str, Any]) -> _Block:
        return self._blocks.setdefault(told.get("contentBlockIndex", 0), _Block())


_OF_STOP = ("stopReason", "additionalModelResponseFields")


def events_of(answer: Mapping[str, Any]) -> Iterator[Event]:
    """The events of a kept answer, the last of them `metadata`."""
    message = answer["output"]["message"]
    yield {"messageStart": {"role": message.get("role", "assistant")}}
    for index, block in enumerate(message["content"]):
        start, deltas = _deltas(block)
        if start:
            yield {"contentBlockStart": {"start": start, "contentBlockIndex": index}}
        for delta in deltas:
            yield {"contentBlockDelta": {"delta": delta, "contentBlockIndex": index}}
        yield {"contentBlockStop": {"contentBlockIndex": index}}
    yield {"messageStop": {name: answer[name] for name in _OF_STOP if name in answer}}
    yield metadata_of(answer)


def metadata_of(answer: Mapping[str, Any]) -> Event:
    """The event that closes a stream: what the caller is charged for it."""
    return {"metadata": {"usage": answer.get("usage", {})}}


def _deltas(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block:
        case {"toolUse": use}:
            start = {name: told for name, told in use.items() if name != "input"}
            spelt = json.dumps(use.get("input", {}), ensure_ascii=False, separators=(",", ":"))
            return {"toolUse": start}, [{"toolUse": {"input": piece}} for piece in _pieces(spelt)]
        case {"reasoningContent": {"reasoningText": told}}:
            deltas = [{"reasoningContent": {"text": piece}} for piece in _pieces(told.get("text", ""))]
            if "signature" in told:
                deltas.append({"reasoningContent": {"signature": told["signature"]}})
            return {}, deltas
        case {"reasoningContent": redacted}:
            return {}, [{"reasoningContent": redacted}]
        case {"citationsContent": cited}:
            texts = [{"text": piece} for part in cited["content"] for piece in _pieces(part["text"])]
            return {}, [*texts, *({"citation": citation} for citation in cited["citations"])]
        case _:
            return {}, [{"text": piece} for piece in _pieces(block.get("text", ""))]


def _pieces(text: str) -> list[str]:
    return [text[at : at + PIECE_LETTERS] for at in range(0, len(text), PIECE_LETTERS)] or [""]


def jsonable(value: Any) -> Any:
    """An event as JSON can hold it: what boto3 gives as bytes becomes base64, as it was on the wire."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {name: jsonable(member) for name, member in value.items()}
        case list():
            return [jsonable(member) for member in value]
        case _:
            return value
