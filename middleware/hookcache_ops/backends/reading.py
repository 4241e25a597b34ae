"""
What the model behind a test server does with a prompt: it reads the images, and answers from what it read. The same prompt
gives the same answer.

    images, no word of JSON in the prompt    the text of the pages
    the prompt asks for JSON                 the `Label: value` lines of pages and prompt, as an object
    neither                                  the first words of the prompt, for want of a better summary
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from hookcache_ops.backends.page_reader import PageReader

BLANK = "[blank page]"  # what models say about one; an empty text would be no answer
SUMMARY_WORDS = 60
CHARACTERS_PER_TOKEN = 4
_FACT = re.compile(r"^\W*([A-Z][A-Za-z /.-]{1,30}?)\s*:\s+(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, and the tokens by the OCR function's own rule (pixels / 750, characters / 4)."""

    text: str
    input_tokens: int
    output_tokens: int
    pages: int


class Model:
    """Answers prompts; loads the OCR engine when it sees its first image."""

    def __init__(self) -> None:
        self._reader = PageReader()

    def tell(self, texts: Sequence[str], images: Sequence[bytes]) -> Told:
        """
        Raises:
            ValueError: one of the images is none.
        """
        pages = [self._reader.read(image) for image in images]
        text = _said("\n".join(texts), [page.text for page in pages])
        spent = sum(page.input_tokens for page in pages) + ceil(sum(map(len, texts)) / CHARACTERS_PER_TOKEN)
        return Told(text, spent, ceil(len(text) / CHARACTERS_PER_TOKEN), len(pages))


def _said(prompt: str, pages: list[str]) -> str:
    read = "\n\n".join(page if page.strip() else BLANK for page in pages)
    if "JSON" in prompt:
        return json.dumps(dict(_FACT.findall(f"{prompt}\n{read}")), ensure_ascii=False)
    return read if pages else " ".join(prompt.split()[:SUMMARY_WORDS])
