"""
What the model behind a test server does: it reads the images it is sent with the OCR engine of functions/ocr, and answers
from what it read. The same request gives the same answer.

    images, no word of JSON in the prompt    the text of the pages
    the prompt asks for JSON                 the `Label: value` lines of pages and prompt, as an object
    neither                                  the first words of the prompt, for want of a better summary
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

OCR_FOLDER = Path(__file__).resolve().parents[3] / "functions" / "ocr"
BLANK = "[blank page]"  # what models say about one; an empty text would be no answer
SUMMARY_WORDS = 60
CHARACTERS_PER_TOKEN = 4
_FACT = re.compile(r"^\W*([A-Z][A-Za-z /.-]{1,30}?)\s*:\s+(\S.*?)\s*$", re.MULTILINE)
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, and the tokens by the OCR function's own rule (pixels / 750, characters / 4)."""

    text: str
    input_tokens: int
    output_tokens: int
    pages: int


class UnreadableError(Exception):
    """Bytes that are no image."""


def tell(texts: Sequence[str], images: Sequence[bytes]) -> Told:
    """
    The model's answer to a prompt of `texts` and `images`.

    Raises:
        UnreadableError: one of the images is none.
    """
    engines, replies = _ocr_modules()
    with _ONE_AT_A_TIME:  # the engines are no place for threads, and a second one would only share the processor
        try:
            pages = [_engine(engines).read(image) for image in images]
        except ValueError as error:
            raise UnreadableError(str(error)) from None
    answer = replies.reply({"messages": [{"content": [{"text": text} for text in texts]}]}, pages, "")
    text = _said(texts, answer["output"]["message"]["content"][0]["text"], len(pages))
    return Told(text, answer["usage"]["inputTokens"], tokens_of(text), len(pages))


def tokens_of(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def chat_parts(asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of all messages of a chat completion; a text that stands alone is a part as well."""
    for message in asked["messages"]:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _said(texts: Sequence[str], page: str, pages: int) -> str:
    prompt = "\n".join(texts)
    if "JSON" in prompt:
        return json.dumps(dict(_FACT.findall(f"{prompt}\n{page}")), ensure_ascii=False)
    if pages:
        return page if page.strip() else BLANK
    return " ".join(prompt.split()[:SUMMARY_WORDS])


@cache
def _ocr_modules() -> tuple[ModuleType, ModuleType]:
    """The OCR function's modules; its folder is no package, so it is on the path while they load."""
    sys.path.append(str(OCR_FOLDER))
    try:
        return import_module("ocr_engines"), import_module("ocr_reply")
    finally:
        sys.path.remove(str(OCR_FOLDER))


@cache
def _engine(engines: ModuleType) -> Any:
    return engines.choose_engine("auto", 1)
