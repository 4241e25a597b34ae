"""
A LambdaHook backend for models on Amazon Bedrock.

    event ─▶ images from S3 as bytes ─▶ Converse, or InvokeModel where a model has no Converse ─▶ answer

Stop reason and prompt-cache tokens are kept. An answer that was cut or filtered goes to the host as such; an empty one
raises, as whatever else fails does (see `backend_errors`), under Bedrock's own type name where it gave one.

Environment:
    TARGET_MODEL_ID        id or ARN of a model or an inference profile
    BEDROCK_API            converse (default) or invoke
    GUARDRAIL_ID, GUARDRAIL_VERSION   both or neither
    CACHE_POINTS           on (default): a prompt-cache point where the text says <<CACHEPOINT>>; off: for models without
    SAMPLING               auto (default), temperature, both, none: see `sampling`
    MODEL_FIELDS           JSON object laid over additionalModelRequestFields, or over the body of InvokeModel
    INVOKE_SHAPE           of InvokeModel's body: anthropic (default), chat, template
    INVOKE_MAX_TOKENS      for the anthropic shape, where the host sends none (default 4096)
    BODY_TEMPLATE, ANSWER_PATHS   of the template shape: see `body_template`
    BLANK_PAGES            on: an empty text that ended well is a blank page, and no error (default off)
    REQUEST_TIMEOUT        seconds for the call (default 240), below the function's own timeout
    ERROR_DETAIL           full: also say what Bedrock says about an error, which may quote the request (default type)
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from anthropic_body import anthropic_answer, anthropic_body, guarded
from aws_service import AwsService, s3_client
from backend_errors import BadAnswerError
from backend_settings import choice, flag, guardrail, json_object, text, whole
from body_template import answer_at, check_template, filled, paths_of
from chat_answer import converse_answer as chat_answer
from chat_request import chat_request
from converse_answer import converse_answer
from converse_request import converse_request
from deadline import Deadline
from page_images import fetcher
from postable import postable
from prompt_blocks import numbers_of
from sampling import CHOICES, chosen

JSON = "application/json"
REMEDIES = {
    "AccessDeniedException": "this function needs bedrock:InvokeModel on the model and on its inference profile, and the "
    "account access to the model",
    "ResourceNotFoundException": "TARGET_MODEL_ID names nothing in this region, or a model that has ended",
    "ValidationException": "check TARGET_MODEL_ID (many models are reached through an inference profile only), "
    "SAMPLING=none or temperature, CACHE_POINTS=off, and the size of the images; ERROR_DETAIL=full says what it says",
    "ServiceQuotaExceededException": "the account's quota is used up: ask for more",
    "ThrottlingException": "too many requests or tokens per minute: ask for a higher quota, use an inference profile over "
    "several regions, or send fewer at a time",
}


class BedrockFunction:
    """
    The handler with what it keeps while its environment lives.

    Args:
        clients: gives a boto3 client, as `boto3.client` does.
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
        self._model = text(environment, "TARGET_MODEL_ID")
        self._guardrail = guardrail(environment)
        self._cache_points = flag(environment, "CACHE_POINTS", default=True)
        self._sampling = choice(environment, "SAMPLING", CHOICES)
        self._fields = json_object(environment, "MODEL_FIELDS")
        self._blank_pages = flag(environment, "BLANK_PAGES")
        self._max_tokens = whole(environment, "INVOKE_MAX_TOKENS", 4096, 1, 1_000_000)
        self._shape = choice(environment, "INVOKE_SHAPE", ("anthropic", "chat", "template"))
        self._template, self._paths = json_object(environment, "BODY_TEMPLATE"), {}
        self._ask = {"converse": self._converse, "invoke": self._invoke}[
            choice(environment, "BEDROCK_API", ("converse", "invoke"))
        ]
        if self._ask == self._invoke and self._shape == "template":
            check_template(self._template, "BODY_TEMPLATE")
            self._paths = paths_of(environment.get("ANSWER_PATHS", ""), "ANSWER_PATHS")
        self._deadline = deadline
        self._s3 = s3_client(clients)
        self._service = AwsService.of("Bedrock", environment, clients, "bedrock-runtime", 240, REMEDIES)

    def __call__(self, event: Mapping[str, Any], context: Any) -> Any:
        """
        Raises:
            BackendError: no answer; its type says why and its message what to do.
        """
        return postable(self._ask(event, self._deadline(context)))

    def _converse(self, event: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
        request = converse_request(
            event,
            fetcher(self._s3, deadline),
            model=self._model,
            sampling=self._sampling,
            cache_points=self._cache_points,
            guardrail=self._guardrail,
            fields=self._fields,
        )
        return converse_answer(self._service.call("converse", deadline, **request), blank_pages=self._blank_pages)

    def _invoke(self, event: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
        reply = self._service.call(
            "invoke_model",
            deadline,
            stream="body",
            modelId=self._model,
            contentType=JSON,
            accept=JSON,
            body=json.dumps(self._body(event, deadline)).encode(),
            **(self._guardrail or {}),
        )
        try:
            told = json.loads(reply["body"])
        except (ValueError, RecursionError):
            raise BadAnswerError(f"the model's body of {len(reply['body'])} bytes is no JSON, or was cut") from None
        answer = self._answer(told)
        return {**answer, "stopReason": "guardrail_intervened"} if isinstance(told, dict) and guarded(told) else answer

    def _body(self, event: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
        fetch = fetcher(self._s3, deadline)
        if self._shape == "anthropic":
            return anthropic_body(
                event,
                fetch,
                sampling=self._sampling,
                cache_points=self._cache_points,
                max_tokens=self._max_tokens,
                fields=self._fields,
            )
        numbers = chosen(numbers_of(event), self._sampling)  # refuses an event that is no object, too
        event = {**event, "inferenceConfig": numbers}
        if self._shape == "chat":
            return chat_request(event, self._model, {"model": None, **self._fields}, fetch)
        return filled(self._template, event, fetch, self._fields)

    def _answer(self, told: Any) -> dict[str, Any]:
        match self._shape:
            case "anthropic":
                return anthropic_answer(told, blank_pages=self._blank_pages)
            case "chat":
                return chat_answer(told, blank_pages=self._blank_pages)
        return answer_at(self._paths, told, blank_pages=self._blank_pages)


lambda_handler = BedrockFunction(os.environ)
