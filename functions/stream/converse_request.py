"""
A host's event as the arguments of Converse and ConverseStream.

Page images are fetched from S3 and sent as bytes; the host's `<<CACHEPOINT>>` marks and its fields that Converse does not
know (`modelId`, `context`, `topK`) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.errors import backend_failed

MARK = "<<CACHEPOINT>>"
_NUMBERS = ("temperature", "topP", "maxTokens", "stopSequences")


class ConverseRequest:
    """
    Makes the arguments of one model.

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
            BackendFailed: an image cannot be had, or the event is none of the host's; the message names the remedy.
        """
        if not isinstance(event, dict) or not isinstance(event.get("messages"), list):
            raise backend_failed(
                "the request has no `messages`: send what the host sends to a LambdaHook", "BadRequest"
            )
        request: dict[str, Any] = {
            "modelId": self._model,
            "messages": [self._message(message) for message in event["messages"]],
        }
        system = [_without_mark(block) for block in event.get("system") or ()]
        if system:
            request["system"] = system
        numbers = event.get("inferenceConfig") or {}
        if wanted := {name: numbers[name] for name in _NUMBERS if name in numbers}:
            request["inferenceConfig"] = wanted
        return request

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {**message, "content": [self._block(block) for block in message.get("content") or ()]}

    def _block(self, block: Mapping[str, Any]) -> Mapping[str, Any]:
        image = block.get("image")
        if not isinstance(image, dict):
            return _without_mark(block)
        location = (image.get("source") or {}).get("s3Location")
        if not isinstance(location, dict):
            raise backend_failed("an image came without its S3 location: check the host's working bucket", "BadRequest")
        return {"image": {"format": image.get("format"), "source": {"bytes": self._fetched(location)}}}

    def _fetched(self, location: Mapping[str, Any]) -> bytes:
        uri = urlsplit(str(location.get("uri", "")))
        owner = {"ExpectedBucketOwner": location["bucketOwner"]} if location.get("bucketOwner") else {}
        try:
            reply = self._s3().get_object(Bucket=uri.netloc, Key=uri.path.removeprefix("/"), **owner)
            return bytes(reply["Body"].read())
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            raise backend_failed(
                f"S3 did not give a page image ({code}): the function needs s3:GetObject on temp/lambdahook/* "
                "of the working bucket, and kms:Decrypt on its key",
                "UnreadableImage",
            ) from None


def _without_mark(block: Mapping[str, Any]) -> Mapping[str, Any]:
    text = block.get("text")
    return {**block, "text": text.replace(MARK, "")} if isinstance(text, str) else block
