"""
A LambdaHook backend for servers that speak OpenAI's chat completions: vLLM and its like, and hosted APIs.

    event ─▶ images from S3 as data URLs ─▶ POST {OPENAI_BASE_URL}/chat/completions ─▶ Converse answer

Stop reason and cached tokens are kept. An answer that was cut by its token limit goes to the host as such
(`max_tokens`); an empty one raises, as whatever else fails does (see `backend_errors`).

Environment:
    OPENAI_BASE_URL              up to and with the version, such as https://host/v1
    OPENAI_MODEL                 the model's name there
    OPENAI_API_KEY_SECRET_ARN    secret with the key, sent as bearer; empty for a server of your own without one
    OPENAI_BODY                  JSON object laid over the request: members to add, or null to leave one out
    BLANK_PAGES                  on: an empty text that ended well is a blank page, and no error (default off)
    REQUEST_TIMEOUT              seconds for one call (default 120)
    MAX_RETRIES, RETRY_BASE_DELAY   of a call that failed (default 4, and 1 second before the first)
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from api_key import SECRET_SECONDS, ApiKey
from aws_service import config, s3_client
from backend_errors import ServiceRefusedError
from backend_settings import address, flag, json_object, text
from chat_answer import converse_answer
from chat_request import chat_request
from deadline import Deadline
from page_images import fetcher
from postable import postable
from service import Service


class OpenAiFunction:
    """
    The handler with what it keeps while its environment lives.

    Args:
        clients: gives a boto3 client by the name of its service and a `config`.
        deadline: of an invocation, from its Lambda context.

    Raises:
        SettingsError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        clients: Callable[..., Any] = boto3.client,
        deadline: Callable[[Any], Deadline] = Deadline.of,
    ) -> None:
        secret_arn = environment.get("OPENAI_API_KEY_SECRET_ARN", "").strip()
        self._url = f"{address(environment, 'OPENAI_BASE_URL', with_key=bool(secret_arn))}/chat/completions"
        self._model = text(environment, "OPENAI_MODEL")
        self._body = json_object(environment, "OPENAI_BODY")
        self._blank_pages = flag(environment, "BLANK_PAGES")
        self._service = Service.of("The model server", environment, 120)
        self._clients, self._deadline = clients, deadline
        self._key = ApiKey(
            lambda: clients("secretsmanager", config=config(SECRET_SECONDS, attempts=2)),
            secret_arn,
            "OPENAI_API_KEY_SECRET_ARN",
        )
        self._s3: Any = None

    def __call__(self, event: Mapping[str, Any], context: Any) -> Any:
        """
        Raises:
            BackendError: no answer; its type says why and its message what to do.
        """
        deadline = self._deadline(context)
        if self._s3 is None:
            self._s3 = s3_client(self._clients)
        request = chat_request(event, self._model, self._body, fetcher(self._s3, deadline))
        headers = {"Content-Type": "application/json"}
        if key := self._key.get(deadline):
            headers["Authorization"] = f"Bearer {key}"
        try:
            told = self._service.call("POST", self._url, headers, deadline, body=json.dumps(request).encode())
        except ServiceRefusedError:
            self._key.forget()
            raise
        return postable(converse_answer(told, blank_pages=self._blank_pages))


lambda_handler = OpenAiFunction(os.environ)
