"""
A LambdaHook backend that reads page images: real OCR, no model service and no network but S3.

Event: the host's request; every image of the user message is one page, in order. Answer: the Converse shape with the
text, `textractBlocks` and `usage`. The same image gives the same answer.

Errors leave as exceptions, which the host retries: a page that could not be read is never an empty text, for that
would be taken for a blank page.

Environment:
    OCR_ENGINE         `rapidocr` or `tesseract`; default: the first of them that is installed
    OCR_THREADS        of one recognition, 1 or 2 (default 1)
    OCR_DELAY_SECONDS  waits before each answer (default 0), for trials with a slow backend
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from ocr_engines import OcrEngine, Page, choose_engine
from ocr_reply import listed, reply

MAX_DELAY_SECONDS = 900.0  # what Lambda grants at most


class UnreadableImageError(Exception):
    """A page image is missing, denied or no image; nothing was read."""


class OcrFunction:
    """
    The handler with what it keeps while its environment lives; the engine's models are loaded by the first page.

    Raises:
        ValueError: a setting is wrong; the message names it.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._wanted = environment.get("OCR_ENGINE", "")
        self._threads = _threads(environment.get("OCR_THREADS") or "1")
        self._delay_seconds = _delay_seconds(environment.get("OCR_DELAY_SECONDS") or "0")
        self._s3: Any = None
        self._engine: OcrEngine | None = None

    def __call__(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """
        Raises:
            UnreadableImageError: the event has no image that can be fetched and decoded; the message names the remedy.
            NoEngineError: no OCR engine is installed; the message names the remedy.
        """
        images = [self._fetch(image) for image in _images(event)]
        if not images:
            raise UnreadableImageError(
                "the request holds no image: put {DOCUMENT_IMAGE} into the host's OCR task prompt"
            )
        engine = self._ready_engine()
        pages = [self._read(engine, image) for image in images]
        time.sleep(self._delay_seconds)
        return reply(event, pages, engine.name)

    def _ready_engine(self) -> OcrEngine:
        if self._engine is None:
            self._engine = choose_engine(self._wanted, self._threads)
        return self._engine

    def _fetch(self, image: dict[str, Any]) -> bytes:
        source = image.get("source")
        location = source.get("s3Location") if isinstance(source, dict) else None
        location = location if isinstance(location, dict) else {}
        scheme, _, place = str(location.get("uri", "")).partition("://")
        bucket, _, key = place.partition("/")  # `?` and `#` are letters of a key like any other
        if scheme != "s3" or not key.strip("/"):
            raise UnreadableImageError(
                "an image came without its S3 location: check that the host can write to its working bucket"
            )
        owner = {"ExpectedBucketOwner": location["bucketOwner"]} if location.get("bucketOwner") else {}
        if self._s3 is None:
            self._s3 = boto3.client("s3")
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key, **owner)
            return bytes(answer["Body"].read())
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            raise UnreadableImageError(
                f"S3 did not give the page image ({code}): this function needs s3:GetObject on temp/lambdahook/* "
                "of the working bucket, and kms:Decrypt on its key"
            ) from error

    def _read(self, engine: OcrEngine, image: bytes) -> Page:
        try:
            return engine.read(image)
        except ValueError as error:
            raise UnreadableImageError(f"a page image cannot be decoded ({error}): send JPEG, PNG or WebP") from error


def _images(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The image blocks of all messages, in reading order; what is no message or block holds none."""
    for message in listed(event, "messages"):
        for block in listed(message, "content"):
            if isinstance(block, dict) and isinstance(block.get("image"), dict):
                yield block["image"]


def _threads(text: str) -> int:
    if text not in {"1", "2"}:
        raise ValueError("OCR_THREADS must be 1 or 2")
    return int(text)


def _delay_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= MAX_DELAY_SECONDS:
        raise ValueError(f"OCR_DELAY_SECONDS must be a number from 0 to {MAX_DELAY_SECONDS:.0f}")
    return seconds


lambda_handler = OcrFunction(dict(os.environ))
