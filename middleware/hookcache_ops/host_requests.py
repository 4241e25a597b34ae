"""
The requests that the five steps of the host send to a hook, before their images are uploaded.

A `Call` holds what a step hands to the host's client: prompts, images, numbers. The prompts are our own, shaped like
the host's: text and image blocks in the order of the template, and each step's prompt holding the results of the
steps before it, so that one changed early answer changes every later request.
Source: the host's behaviour, "Request", "Determinism".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Any
"""Any JSON value; the host's results have no fixed shape."""


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


def classification(page_text: str, classes: Sequence[str], image: Content | None = None) -> Call:
    """Name the class of one page; the prompt embeds its OCR text."""
    prompt = (
        f"<classes>\n{_listed(classes)}\n</classes>\n<page>\n{page_text}\n</page>\n"
        'Which class fits best? Answer with JSON only: {"class": "..."}'
    )
    return Call(
        context="Classification",
        content=(prompt, image) if image else (prompt,),
        system="You sort the pages of business documents into classes. <<CACHEPOINT>>",
        temperature=0.0,
        top_p=0.1,
        top_k=5,
        max_tokens=4096,
    )


def extraction(document_class: str, attributes: Mapping[str, str], text: str, images: Sequence[Content] = ()) -> Call:
    """Extract the attributes of one section; the prompt embeds text and class."""
    task = f"<task>Extract the attributes of this {document_class}.</task>\n<attributes>\n{_described(attributes)}\n</attributes>"
    return Call(
        context="Extraction",
        content=(
            f"{task}\n<<CACHEPOINT>>\n<document-text>\n{text}\n</document-text>",
            *images,
            "Answer with JSON only.",
        ),
        system="You take facts out of business documents and invent none. <<CACHEPOINT>>",
        temperature=0,
        top_k=5,
        max_tokens=10_000,
    )


def assessment(
    document_class: str, attributes: Mapping[str, str], results: Json, confidences: Json, images: Sequence[Content] = ()
) -> Call:
    """Judge extracted values; the prompt embeds them (JSON, indented by 2, in the extraction's own member order)."""
    return Call(
        context="Assessment",
        content=(
            (
                f"<task>How sure is each value of this {document_class}? Answer with JSON only.</task>\n"
                f"<attributes>\n{_described(attributes)}\n</attributes>\n<<CACHEPOINT>>"
            ),
            (
                f"<extraction-results>\n{json.dumps(results, indent=2)}\n</extraction-results>\n"
                f"<ocr-confidence>\n{json.dumps(confidences)}\n</ocr-confidence>"
            ),
            *images,
        ),
        system="You check extracted values against the document and say how sure they are.",
        temperature=0.0,
        top_p=0.1,
        top_k=5,
        max_tokens=10_000,
    )


def summarization(text: str, results: Json) -> Call:
    """Summarise the document; the prompt embeds its text and what was extracted."""
    return Call(
        context="Summarization",
        content=(
            (
                f"<document-text>\n{text}\n</document-text>\n<extracted>\n{json.dumps(results, indent=2)}\n</extracted>\n"
                "Summarise this document in at most ten sentences. Answer in Markdown."
            ),
        ),
        system="You summarise business documents for people who decide on them.",
        temperature=0.0,
        top_p=0.1,
        top_k=5,
        max_tokens=4096,
    )


def _listed(names: Sequence[str]) -> str:
    return "\n".join(f"- {name}" for name in names)


def _described(attributes: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {description}" for name, description in attributes.items())
