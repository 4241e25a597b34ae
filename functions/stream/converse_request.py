"""
A host's event as the arguments of ConverseStream.

Page images are fetched from S3 and sent as bytes. What the host says for itself (`modelId`, `context`), its
`<<CACHEPOINT>>` marks and numbers that Converse does not know (`topK`) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backend_errors import BadRequestError
from page_images import fetch

MARK = "<<CACHEPOINT>>"
_NUMBERS = ("temperature", "topP", "maxTokens", "stopSequences")


class ConverseRequest:
    """
    Makes the arguments for one model.

    Args:
        model: id or ARN of a model or of an inference profile.
        s3: gives the S3 client.
    """

    def __init__(self, model: str, s3: Callable[[], Any]) -> None:
        self._model = model
        self._s3 = s3

    def __call__(self, event: Any) -> dict[str, Any]:
        """
        Raises:
            BadRequestError: the event is none of the host's.
            NoImageError: an image cannot be had; the message names the remedy.
        """
        messages = event.get("messages") if isinstance(event, dict) else None
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise BadRequestError("the request has no `messages`: send what the host sends to a LambdaHook function")
        request: dict[str, Any] = {
            "modelId": self._model,
            "messages": [
                {**message, "content": [self._block(block) for block in message.get("content") or ()]}
                for message in messages
            ],
        }
        if system := [_unmarked(block) for block in event.get("system") or ()]:
            request["system"] = system
        numbers = event.get("inferenceConfig") or {}
        if wanted := {name: numbers[name] for name in _NUMBERS if name in numbers}:
            request["inferenceConfig"] = wanted
        return request

    def _block(self, block: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(block.get("image"), dict):
            return _unmarked(block)
        image = fetch(self._s3(), block["image"])
        return {"image": {"format": image.format, "source": {"bytes": image.data}}}


def _unmarked(block: Mapping[str, Any]) -> Mapping[str, Any]:
    text = block.get("text")
    return {**block, "text": text.replace(MARK, "")} if isinstance(text, str) else block
