"""
SageMaker's runtime on this machine: `POST /endpoints/{name}/invocations`, with a container that speaks chat completions,
the generate shape and, in `triton_wire`, Triton's binary tensors. It reads the images that it is sent.

Beside the misfortunes of every server: `container_throttle`, `container_refusal`, `container_error` (the container's own
statuses, which SageMaker hides behind a 424), `loading`, `unknown`, `error_200` (an error as a success).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from hookcache_ops.backends.reading import CHARACTERS_PER_TOKEN, Told, UnreadableError, chat_parts, tell, tokens_of
from hookcache_ops.backends.serving import Reply, Request, WireServer

ERRORS = {
    "throttle": (400, "ThrottlingException", {"message": "Rate exceeded"}),
    "server_error": (500, "InternalFailure", {"message": "An internal failure occurred."}),
    "unavailable": (503, "ServiceUnavailable", {"message": "The service is unavailable. Try your call again."}),
    "unknown": (400, "ValidationError", {"Message": "Endpoint pages of account 123456789012 not found."}),
    "denied": (
        403,
        "AccessDeniedException",
        {"Message": "User is not authorized to perform: sagemaker:InvokeEndpoint"},
    ),
    "loading": (429, "ModelNotReadyException", {"Message": "The model is loading."}),
}
CONTAINER = {"container_throttle": 429, "container_refusal": 400, "container_error": 500}
_DATA_URL = re.compile(r"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")
_MARKDOWN_IMAGE = re.compile(r"!\[\]\(data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)\)")


class SageMakerServer(WireServer):
    """
    For the time of its `with` block; `url` is what AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME takes.

    Attributes:
        tell: what the model makes of texts and images, for tests that need no OCR.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tell = tell

    def answer(self, request: Request) -> Reply:
        return self._answer(request, "")

    def misfortune(self, how: str, request: Request) -> Reply:
        if how in CONTAINER:
            return model_error(CONTAINER[how], "the container says no")
        if how in ERRORS:
            status, name, body = ERRORS[how]
            return Reply.of_json(body, status, {"x-amzn-ErrorType": name})
        return self._answer(request, how)

    def container(self, request: Request, how: str) -> Reply:
        """What the model's container answers; `how` is `empty`, `max_tokens`, `error_200` or nothing special."""
        body = request.json()
        if how == "error_200":
            return Reply.of_json({"error": "CUDA out of memory", "error_type": "generation"})
        if "messages" in body:
            return Reply.of_json(_chat(self.told(*_chat_prompt(body), body.get("max_tokens"), how)))
        parameters = body.get("parameters") or {}
        if parameters.get("temperature") == 0:
            raise ValueError("temperature must be strictly positive")
        prompt = _MARKDOWN_IMAGE.sub("", body["inputs"])
        images = [_decoded(data) for data in _MARKDOWN_IMAGE.findall(body["inputs"])]
        return Reply.of_json(_generated(self.told([prompt], images, parameters.get("max_new_tokens"), how)))

    def _answer(self, request: Request, how: str) -> Reply:
        match request.parts:
            case ("endpoints", _, "invocations"):
                pass
            case _:
                return Reply.of_json({"message": "unknown operation"}, 404, {"x-amzn-ErrorType": "UnknownOperation"})
        try:
            return self.container(request, how)
        except (ValueError, KeyError, TypeError, AttributeError, UnreadableError) as error:
            return model_error(400, f"{type(error).__name__}: {error}")

    def told(self, texts: list[str], images: list[bytes], most: int | None, how: str) -> tuple[Told, str, str]:
        """What the model says, the text that is sent of it, and why it stopped."""
        told = self.tell(texts, images)
        if how == "empty":
            return told, "", "stop"
        most = told.output_tokens // 2 if how == "max_tokens" else most
        if most is not None and told.output_tokens > most:
            return told, told.text[: CHARACTERS_PER_TOKEN * most], "length"
        return told, told.text, "stop"


def model_error(status: int, message: str) -> Reply:
    """The container's own error, as SageMaker hands it on."""
    body = {"Message": message, "OriginalStatusCode": status, "OriginalMessage": message, "ErrorCode": "CLIENT_ERROR"}
    return Reply.of_json(body, 424, {"x-amzn-ErrorType": "ModelError"})


def _chat_prompt(body: Mapping[str, Any]) -> tuple[list[str], list[bytes]]:
    parts = list(chat_parts(body))
    texts = [part["text"] for part in parts if part["type"] == "text"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    found = [_DATA_URL.fullmatch(url) for url in urls]
    if not all(found):
        raise ValueError("an image_url is no data URL")
    return texts, [_decoded(match[1]) for match in found if match]


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise ValueError("an image is not base64") from None


def _chat(said: tuple[Told, str, str]) -> dict[str, Any]:
    told, text, finish = said
    usage = {"prompt_tokens": told.input_tokens, "completion_tokens": tokens_of(text)}
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


def _generated(said: tuple[Told, str, str]) -> list[dict[str, Any]]:
    told, text, finish = said
    details = {
        "finish_reason": "eos_token" if finish == "stop" else finish,
        "generated_tokens": tokens_of(text),
        "input_tokens": told.input_tokens,
    }
    return [{"generated_text": text, "details": details}]
