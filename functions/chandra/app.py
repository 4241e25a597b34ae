"""
A LambdaHook backend for Datalab's Chandra and other OCR services that are asked by submit-and-poll.

    event ─▶ images from S3 ─▶ POST each as a form ─▶ GET request_check_url until `complete` ─▶ Converse answer

Every image is submitted before the first is waited for. The service reads images only: prompt and inference
settings have no effect. A blank page is a blank text with `pages` 1; whatever fails raises (see `backend_errors`).

Environment:
    CHANDRA_API_KEY_SECRET_ARN   secret with the key, sent as X-API-Key; empty for a server of your own without one
    CHANDRA_API_URL              where a document is submitted (default https://www.datalab.to/api/v1/marker)
    OUTPUT_FORMAT                markdown, html or json (default markdown)
    CONVERSION_MODE              accurate, balanced or fast (default accurate)
    POLL_INTERVAL                seconds between two looks at a job (default 3)
    MAX_POLL_ATTEMPTS            looks at one job before it is given up (default 60)
    REQUEST_TIMEOUT              seconds for one HTTP call (default 60)
    MAX_RETRIES, RETRY_BASE_DELAY   of one call that failed (default 4, and 1 second before the first)
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from api_key import SECRET_SECONDS, ApiKey
from aws_service import config, s3_client
from backend_errors import OutOfTimeError, ServiceRefusedError
from backend_settings import address, choice, number, whole
from chandra_jobs import FORMATS, MODES, answer, check_url, form, result_of
from deadline import Deadline
from page_images import fetcher, require_images
from postable import postable
from service import Service

API_URL = "https://www.datalab.to/api/v1/marker"


class ChandraFunction:
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
        secret_arn = environment.get("CHANDRA_API_KEY_SECRET_ARN", "").strip()
        self._url = address(environment, "CHANDRA_API_URL", API_URL, with_key=bool(secret_arn))
        self._format = choice(environment, "OUTPUT_FORMAT", FORMATS)
        self._mode = choice(environment, "CONVERSION_MODE", MODES)
        self._poll_seconds = number(environment, "POLL_INTERVAL", 3, 0.05, 60)
        self._polls = whole(environment, "MAX_POLL_ATTEMPTS", 60, 1, 900)
        self._service = Service.of("Chandra", environment, 60)
        self._clients, self._deadline = clients, deadline
        self._key = ApiKey(
            lambda: clients("secretsmanager", config=config(SECRET_SECONDS, attempts=2)),
            secret_arn,
            "CHANDRA_API_KEY_SECRET_ARN",
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
        images = list(map(fetcher(self._s3, deadline), require_images(event)))
        key = self._key.get(deadline)
        headers = {"X-API-Key": key} if key else {}
        try:
            jobs = [self._submit(image, headers, deadline) for image in images]
            return postable(answer([self._await(job, headers, deadline) for job in jobs], self._format))
        except ServiceRefusedError:
            self._key.forget()
            raise

    def _submit(self, image: Any, headers: Mapping[str, str], deadline: Deadline) -> str:
        told = self._service.call("POST", self._url, headers, deadline, fields=form(image, self._format, self._mode))
        return check_url(told, self._url)

    def _await(self, job_url: str, headers: Mapping[str, str], deadline: Deadline) -> Any:
        for _ in range(self._polls):
            deadline.wait(self._poll_seconds, "Chandra is still reading a page")
            result = result_of(self._service.call("GET", job_url, headers, deadline), self._format)
            if result is not None:
                return result
        raise OutOfTimeError(
            f"Chandra is still reading after {self._polls} looks, {self._poll_seconds:g} s apart: "
            "raise MAX_POLL_ATTEMPTS or POLL_INTERVAL, and the function's timeout with them"
        )


lambda_handler = ChandraFunction(os.environ)
