"""
A LambdaHook backend for OCR models that Triton serves on a SageMaker real-time endpoint.

    event ─▶ page images (or their S3 addresses) as a BYTES tensor ─▶ InvokeEndpoint, binary ─▶ a text per page ─▶ answer

All pages of a request go in one call, one row each. Every image is sent or the request fails; a reply that is cut, has
another shape or an empty page is an error. Errors: see `backend_errors`.

Environment:
    SAGEMAKER_ENDPOINT_NAME   the endpoint
    TRITON_INPUT              the input tensor (default image)
    TRITON_INPUT_KIND         bytes (default): the image itself; path: its S3 address, for models that fetch it themselves
    TRITON_PROMPT             the tensor that takes the prompt; empty (default) where the model takes none
    TRITON_OUTPUT             the output tensor with the text (default text)
    TRITON_CONFIDENCE         an output tensor with a confidence of 0 to 1; empty (default) where there is none
    LEAST_CONFIDENCE          a page below it is an error (default 0)
    TRITON_BATCHED            on (default): tensors of shape [pages, 1]; off: [pages]
    TARGET_MODEL, INFERENCE_COMPONENT   which model of the endpoint, where it has several
    BLANK_PAGES               on: an empty text is a blank page, and no error (default off)
    REQUEST_TIMEOUT           seconds for the call (default 70: SageMaker itself gives a model 60)
    ERROR_DETAIL              full: also say what the service says about an error, which may quote the request (default type)
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from aws_service import s3_client
from backend_errors import BadAnswerError, SettingsError
from backend_settings import choice, flag, number
from deadline import Deadline
from page_images import address, fetcher, require_images
from prompt_blocks import blocks_of, is_image, messages_of, text_of
from sagemaker_endpoint import Endpoint
from tensors import MEDIA_TYPE, Tensors

TARGETS = {"INFERENCE_COMPONENT": "InferenceComponentName", "TARGET_MODEL": "TargetModel"}
MODEL_ERROR = "Triton refused or failed: see the endpoint's log, and check the names of its tensors"


class TritonFunction:
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
        self._tensors = Tensors(
            image=environment.get("TRITON_INPUT", "").strip() or "image",
            prompt=environment.get("TRITON_PROMPT", "").strip(),
            text=environment.get("TRITON_OUTPUT", "").strip() or "text",
            confidence=environment.get("TRITON_CONFIDENCE", "").strip(),
            batched=flag(environment, "TRITON_BATCHED", default=True),
        )
        self._sends_bytes = choice(environment, "TRITON_INPUT_KIND", ("bytes", "path")) == "bytes"
        self._least_confidence = number(environment, "LEAST_CONFIDENCE", 0, 0, 1)
        if self._least_confidence and not self._tensors.confidence:
            raise SettingsError(
                "LEAST_CONFIDENCE needs TRITON_CONFIDENCE, the tensor that tells it: no page would be judged"
            )
        self._blank_pages = flag(environment, "BLANK_PAGES")
        self._deadline = deadline
        self._s3 = s3_client(clients)

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """
        Raises:
            BackendError: no answer; its type says why and its message what to do.
        """
        deadline = self._deadline(context)
        images = require_images(event)
        fetch = fetcher(self._s3, deadline)
        rows = [fetch(image).data if self._sends_bytes else address(image).encode() for image in images]
        body, content_type = self._tensors.request(rows, _prompt_of(event) if self._tensors.prompt else "")
        reply = self._endpoint.ask(deadline, body, content_type, MEDIA_TYPE)
        texts, sure = self._tensors.pages(reply["Body"], str(reply.get("ContentType", "")), len(rows))
        self._require(texts, sure)
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": "\n\n".join(texts)}]}},
            "stopReason": "end_turn",
            "usage": {"pages": len(texts), "inputTokens": 0, "outputTokens": 0, "totalTokens": 0},
        }

    def _require(self, texts: list[str], sure: list[float]) -> None:
        empty = sum(not page.strip() for page in texts)
        if empty and not self._blank_pages:
            raise BadAnswerError(
                f"{empty} of {len(texts)} pages came back without text: BLANK_PAGES=on where blank pages are expected"
            )
        # `not >=`, so that a NaN is no confidence either.
        unsure = sum(not share >= self._least_confidence for share in sure)
        if unsure:
            raise BadAnswerError(
                f"{unsure} of {len(sure)} pages were read with less confidence than LEAST_CONFIDENCE={self._least_confidence:g}"
            )


def _prompt_of(event: Mapping[str, Any]) -> str:
    """All texts of the request; blocks of other kinds are refused."""
    texts = [text_of(block) for block in blocks_of(event, "system")]
    for message in messages_of(event):
        texts += [text_of(block) for block in blocks_of(message, "content") if not is_image(block)]
    return "\n\n".join(filter(None, texts))


lambda_handler = TritonFunction(os.environ)
