"""
A LambdaHook backend that reads page images: real OCR, no model service and no network but S3.

    event ─▶ images from S3, one page each ─▶ the engine ─▶ text, `textractBlocks` and usage

The same image gives the same answer. Errors: see `backend_errors`, and `NoEngineError`. A page that could not be read is
never an empty text, for that would be taken for a blank page.

Environment:
    OCR_ENGINE         auto (default): the first of the others that is installed; rapidocr, tesseract
    OCR_THREADS        of one recognition, 1 (default) or 2
    OCR_DELAY_SECONDS  waits before each answer (default 0), for trials with a slow backend
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from aws_service import s3_client
from backend_errors import NoImageError
from backend_settings import choice, number, whole
from deadline import Deadline
from ocr_engines import ENGINES, OcrEngine, Page, choose_engine
from ocr_reply import reply
from page_images import fetcher, require_images

MAX_DELAY_SECONDS = 900  # what Lambda grants at most


class OcrFunction:
    """
    The handler with what it keeps while its environment lives; the engine's models are loaded by the first page.

    Args:
        clients: gives a boto3 client, as `boto3.client` does.
        deadline: of an invocation, from its Lambda context; images are fetched inside it, reading takes what it takes.

    Raises:
        SettingsError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        clients: Callable[..., Any] = boto3.client,
        deadline: Callable[[Any], Deadline] = Deadline.of,
    ) -> None:
        self._wanted = choice(environment, "OCR_ENGINE", ENGINES)
        self._threads = whole(environment, "OCR_THREADS", 1, 1, 2)
        self._delay_seconds = number(environment, "OCR_DELAY_SECONDS", 0, 0, MAX_DELAY_SECONDS)
        self._deadline = deadline
        self._s3 = s3_client(clients)
        self._engine: OcrEngine | None = None

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """
        Raises:
            BackendError: no answer; its type says why and its message what to do.
            NoEngineError: no OCR engine is installed; the message names the remedy.
        """
        images = list(map(fetcher(self._s3, self._deadline(context)), require_images(event)))
        if self._engine is None:
            self._engine = choose_engine(self._wanted, self._threads)
        engine = self._engine
        pages = [_read(engine, image.data) for image in images]
        time.sleep(self._delay_seconds)
        return reply(event, pages, engine.name)


def _read(engine: OcrEngine, image: bytes) -> Page:
    try:
        return engine.read(image)
    except ValueError as error:
        raise NoImageError(f"a page image cannot be decoded ({error}): send JPEG, PNG or WebP") from None


lambda_handler = OcrFunction(os.environ)
