"""
What a step of the host hands to its client: prompts, images, numbers, before the images are uploaded; and OCR's.

The prompt is our own, shaped like the host's: text and image blocks in the order of the template.
Source: the host's behaviour, "Request".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class InlineImage:
    """Image bytes that the host's client uploads before it calls; `format` is the Converse name (jpeg, png, ...)."""

    data: bytes
    format: str = "jpeg"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that the caller already had in S3; its reference is passed through."""

    uri: str
    format: str = "jpeg"


Content = str | InlineImage | StoredImage


@dataclass(frozen=True, slots=True)
class Call:
    """
    One logical call as a step makes it.

    `system` is a text, or the caller's own list, which goes through untouched. Numbers are as configured: a text is
    converted by the client, None is not sent. `tools` makes the client refuse, as the host does for a hook.
    """

    context: str
    content: tuple[Content, ...]
    system: str | Sequence[Mapping[str, Any]] = ""
    temperature: Any = 0.0
    top_p: Any = None
    top_k: Any = None
    max_tokens: Any = None
    tools: Any = None


def ocr(image: Content) -> Call:
    """Read one page."""
    return Call(
        context="OCR",
        content=("Read all text on this page. Keep the layout of tables and columns.", image),
        system="You read scanned documents exactly as they are printed.",
        temperature=0.0,
        top_p=0.1,
        top_k=5,
    )
