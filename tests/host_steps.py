"""
The host around its client: the requests of the steps behind OCR, what they read from an answer, its older time-outs, and
the sums in a document's report.

The prompts are our own, shaped like the host's: text and image blocks in the order of the template, and each step's
prompt holding the results of the steps before it, so that one changed early answer changes every later request.
Source: the host's behaviour, "Request", "Determinism", "Response", "What the host records".
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hookcache_ops.host import Response, Timeouts
from hookcache_ops.host_requests import Call, Content

Json = Any
"""Any JSON value; the host's results have no fixed shape."""

OLD_TIMEOUTS = Timeouts(60, 60, 5)
TRUNCATED = frozenset({"max_tokens", "max_output_tokens", "incomplete"})


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


def is_truncated(response: Response) -> bool:
    """True where Assessment asks again in smaller batches."""
    return response.get("stopReason") in TRUNCATED


_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


def json_of(text: str) -> Any:
    """
    The JSON in an answer: the whole text, what is inside code fences, or the first object in prose.

    Raises:
        ValueError: none of them parses.
    """
    fenced = _FENCED.search(text)
    start = text.find("{")
    for candidate in (text, fenced[1] if fenced else "", text[start : text.rfind("}") + 1] if start >= 0 else ""):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    raise ValueError("the answer holds no JSON")


class MeteringSums:
    """Sums per key and unit over everything that a document needed, as its report shows them. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: defaultdict[tuple[str, str], float] = defaultdict(float)

    def add(self, metering: Mapping[str, Mapping[str, Any]]) -> None:
        """Count the metering of one call; what is no number is reported as 1.0, as older hosts do."""
        with self._lock:
            for key, units in metering.items():
                for unit, value in units.items():
                    is_number = isinstance(value, int | float) and not isinstance(value, bool)
                    self._sums[key, unit] += value if is_number else 1.0

    def of(self, key: str) -> dict[str, float]:
        """The sums under one key, by unit."""
        with self._lock:
            return {unit: value for (of_key, unit), value in self._sums.items() if of_key == key}

    def keys(self) -> set[str]:
        with self._lock:
            return {key for key, _ in self._sums}
