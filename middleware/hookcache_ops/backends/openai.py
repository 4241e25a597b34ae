"""functions/openai, and a server behind it that speaks chat completions and reads the images that it is sent."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from typing import Any

from hookcache_ops.backends import Backend
from hookcache_ops.backends.reading import CHARACTERS_PER_TOKEN, UnreadableError, chat_parts, tell, tokens_of
from hookcache_ops.backends.serving import Reply, Request, WireServer
from hookcache_ops.local.aws import LocalAws

MODEL = "local-page-reader"
MOST_TOKENS = 16_384


class OpenAiServer(WireServer):
    """
    POST /v1/chat/completions with images as data URLs; what it answers with is told in `reading`.

    A text that was sent before counts as cached, as servers with prefix caching count it. Adds the misfortunes
    `filtered` (the content filter spoke) and `error_200` (an error with a good status).
    """

    def __init__(self) -> None:
        super().__init__()
        self.key = f"sk-local-{secrets.token_hex(8)}"
        self.tell = tell
        self._seen: set[str] = set()

    def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "invalid_api_key")
        if request.parts != ("v1", "chat", "completions"):
            return _error(404, "not_found")
        try:
            asked = request.json()
            images = [_image_of(part) for part in chat_parts(asked) if part.get("type") == "image_url"]
            texts = [part["text"] for part in chat_parts(asked) if part.get("type") == "text"]
            told = self.tell(texts, images)
        except (ValueError, KeyError, TypeError, AttributeError, UnreadableError):
            return _error(400, "invalid_request")
        if asked.get("model") != MODEL:
            return _error(404, "model_not_found")
        whole = told.text[: CHARACTERS_PER_TOKEN * int(asked.get("max_tokens") or MOST_TOKENS)]
        prompt = "\n".join(texts)
        cached = tokens_of(prompt) if prompt in self._seen else 0
        self._seen.add(prompt)
        finish = "stop" if whole == told.text else "length"
        return Reply.of_json(_completion(whole, finish, told.input_tokens, min(cached, told.input_tokens)))

    def misfortune(self, how: str, request: Request) -> Reply:  # noqa: ARG002 - every server is told
        match how:
            case "throttle":
                return _error(429, "rate_limit_exceeded", {"Retry-After": "1"})
            case "server_error":
                return _error(500, "internal_error")
            case "empty":
                return Reply.of_json(_completion("", "stop", 10, 0))
            case "max_tokens":
                return Reply.of_json(_completion("Account 1", "length", 10, 0))
            case "filtered":
                return Reply.of_json(_completion("", "content_filter", 10, 0))
            case "error_200":
                return _error(200, "upstream_failed")
        raise ValueError(how)


def _image_of(part: Mapping[str, Any]) -> bytes:
    kind, _, data = part["image_url"]["url"].partition(";base64,")
    if not kind.startswith("data:image/"):
        raise ValueError("no data URL of an image")
    return base64.b64decode(data, validate=True)


def _completion(text: str, finish: str, spent: int, cached: int) -> dict[str, Any]:
    told = tokens_of(text)
    return {
        "id": f"chatcmpl-{secrets.token_hex(8)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": spent,
            "completion_tokens": told,
            "total_tokens": spent + told,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


def _error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Reply:
    error = {"message": f"The request failed: {code}", "type": "local_error", "code": code}
    return Reply.of_json({"error": error}, status, headers)


def _environment(server: Any, aws: LocalAws) -> Mapping[str, str]:
    """The function's settings; its key lies in the local Secrets Manager, as it would in yours."""
    secret = aws.client("secretsmanager").create_secret(Name="openai-api-key", SecretString=server.key)
    return {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_MODEL": MODEL,
        "OPENAI_API_KEY_SECRET_ARN": secret["ARN"],
    }


BACKEND = Backend(
    name="openai",
    environment=_environment,
    serve=OpenAiServer,
    units=("inputTokens", "outputTokens", "cacheReadInputTokens"),
)
