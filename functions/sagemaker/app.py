"""
A LambdaHook backend for models on SageMaker real-time endpoints that speak JSON.

    event ─▶ images from S3 as data URLs ─▶ InvokeEndpoint, in the endpoint's own shape ─▶ answer

Every image is sent or the request fails; a body of unknown shape is an error and never the answer's text. What an endpoint
says about the stop reason and its tokens is kept. Errors: see `backend_errors`; those of the container arrive as
`ModelError`, its throttles as `ThrottlingException`.

Environment:
    SAGEMAKER_ENDPOINT_NAME   the endpoint
    REQUEST_SHAPE             chat (default): OpenAI's chat completions; generate: {"inputs", "parameters"}; template
    INFERENCE_COMPONENT, TARGET_MODEL, TARGET_VARIANT   which model of the endpoint, where it has several
    MODEL_NAME                the chat body's `model`, for containers that want one
    MODEL_FIELDS              JSON object laid over the body (chat, template) or its `parameters` (generate)
    BODY_TEMPLATE, ANSWER_PATHS   of the template shape: see `body_template`
    SAMPLING                  both (default), auto, temperature, none: see `sampling`
    BLANK_PAGES               on: an empty text that ended well is a blank page, and no error (default off)
    REQUEST_TIMEOUT           seconds for the call (default 70: SageMaker itself gives a model 60)
    ERROR_DETAIL              full: also say what the service says about an error, which may quote the request (default type)
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from aws_service import s3_client
from backend_errors import BadAnswerError
from backend_settings import choice, flag, json_object
from body_template import answer_at, check_template, filled, paths_of
from chat_answer import converse_answer
from chat_request import chat_request
from deadline import Deadline
from generate_body import generate_answer, generate_body
from page_images import fetcher
from postable import postable
from prompt_blocks import numbers_of
from sagemaker_endpoint import Endpoint
from sampling import chosen

JSON = "application/json"
TARGETS = {
    "INFERENCE_COMPONENT": "InferenceComponentName",
    "TARGET_MODEL": "TargetModel",
    "TARGET_VARIANT": "TargetVariant",
}
MODEL_ERROR = "the container refused or failed: see the endpoint's log, and check REQUEST_SHAPE and MODEL_FIELDS"


class SageMakerFunction:
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
        self._endpoint = Endpoint(environment, clients, TARGETS, MODEL_ERROR)
        self._shape = choice(environment, "REQUEST_SHAPE", ("chat", "generate", "template"))
        self._name = environment.get("MODEL_NAME", "").strip()
        self._fields = json_object(environment, "MODEL_FIELDS")
        self._template, self._paths = json_object(environment, "BODY_TEMPLATE"), {}
        if self._shape == "template":
            check_template(self._template, "BODY_TEMPLATE")
            self._paths = paths_of(environment.get("ANSWER_PATHS", ""), "ANSWER_PATHS")
        self._sampling = choice(environment, "SAMPLING", ("both", "auto", "temperature", "none"))
        self._blank_pages = flag(environment, "BLANK_PAGES")
        self._deadline = deadline
        self._s3 = s3_client(clients)

    def __call__(self, event: Mapping[str, Any], context: Any) -> Any:
        """
        Raises:
            BackendError: no answer; its type says why and its message what to do.
        """
        deadline = self._deadline(context)
        reply = self._endpoint.ask(deadline, json.dumps(self._body(event, deadline)).encode(), JSON, JSON)
        try:
            told = json.loads(reply["Body"])
        except (ValueError, RecursionError):
            raise BadAnswerError(
                f"the endpoint's body of {len(reply['Body'])} bytes is no JSON, or was cut: check what its container speaks"
            ) from None
        return postable(self._answer(told))

    def _body(self, event: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
        fetch = fetcher(self._s3, deadline)
        numbers = chosen(numbers_of(event), self._sampling)  # refuses an event that is no object, too
        event = {**event, "inferenceConfig": numbers}
        match self._shape:
            case "chat":
                return chat_request(event, self._name, {"model": self._name or None, **self._fields}, fetch)
            case "generate":
                return generate_body(event, fetch, self._fields)
        return filled(self._template, event, fetch, self._fields)

    def _answer(self, told: Any) -> dict[str, Any]:
        match self._shape:
            case "chat":
                return converse_answer(told, blank_pages=self._blank_pages)
            case "generate":
                return generate_answer(told, blank_pages=self._blank_pages)
        return answer_at(self._paths, told, blank_pages=self._blank_pages)


lambda_handler = SageMakerFunction(os.environ)
