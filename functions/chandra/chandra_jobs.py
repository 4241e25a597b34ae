"""What goes to the submit-and-poll API and what comes back, as values: no network in here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from backend_errors import BadAnswerError, ServiceFailedError
from page_images import PageImage

FORMATS = ("markdown", "html", "json")
MODES = ("accurate", "balanced", "fast")
GAP = "\n\n"  # between the texts of two images


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from one image: text, or for JSON its structure; blank where the page is. Pages as charged."""

    content: Any
    pages: int


def form(image: PageImage, output_format: str, mode: str) -> dict[str, Any]:
    """The fields of the multipart form that submits one image."""
    return {
        "file": (f"page.{image.format}", image.data, image.media_type),
        "output_format": output_format,
        "mode": mode,
    }


def check_url(told: Any, submit_url: str) -> str:
    """
    Where to look for the result of a job that was submitted.

    Raises:
        ServiceFailedError: the service did not take the job.
        BadAnswerError: there is no such place, or it lies elsewhere, and the key would go there.
    """
    if not isinstance(told, dict):
        raise BadAnswerError("Chandra answered a submission with no JSON object: check CHANDRA_API_URL")
    if told.get("success") is False:
        raise ServiceFailedError("Chandra did not take the page: check your plan's limits and OUTPUT_FORMAT")
    place = told.get("request_check_url")
    if not isinstance(place, str) or not place:
        raise BadAnswerError(
            "Chandra named no request_check_url: check that CHANDRA_API_URL is where pages are submitted"
        )
    try:
        url = urljoin(submit_url, place)
        elsewhere = _origin(url) != _origin(submit_url)
    except ValueError:  # no URL at all
        elsewhere = True
    if elsewhere:
        raise BadAnswerError(
            "Chandra's request_check_url has another scheme, host or port than CHANDRA_API_URL, and gets no key: name them there"
        )
    return url


def _origin(url: str) -> tuple[Any, ...]:
    """Where a key would go: one place may be spelt in several ways."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme), "@" in parts.netloc


def result_of(told: Any, output_format: str) -> Reading | None:
    """
    What a look at a job showed; None while it is being worked on.

    Raises:
        ServiceFailedError: the job failed.
        BadAnswerError: it is said to be complete, and holds no result in this format.
    """
    status = told.get("status") if isinstance(told, dict) else None
    if not isinstance(status, str):
        raise BadAnswerError("Chandra's answer names no status: check CHANDRA_API_URL")
    if status in {"failed", "error"} or (status == "complete" and (told.get("success") is False or told.get("error"))):
        raise ServiceFailedError(
            "Chandra could not read a page: look the job up in its console, or try another CONVERSION_MODE"
        )
    if status != "complete":
        return None
    pages = told.get("page_count")
    pages = pages if isinstance(pages, int) and not isinstance(pages, bool) and pages > 0 else 1
    return Reading(_content(told.get(output_format), output_format), pages)


def _content(told: Any, output_format: str) -> Any:
    if output_format == "json" and isinstance(told, str):
        try:
            told = json.loads(told)
        except (ValueError, RecursionError):
            raise BadAnswerError(
                "Chandra's finished job holds JSON that does not parse: it may have been cut"
            ) from None
    if not isinstance(told, dict | list if output_format == "json" else str):
        raise BadAnswerError(f"Chandra's finished job holds no {output_format}: check OUTPUT_FORMAT")
    return told


def answer(readings: Sequence[Reading], output_format: str) -> dict[str, Any]:
    """The answer to the host; with JSON, one image gives its structure and several give the list of theirs."""
    if output_format == "json":
        found = [each.content for each in readings]
        text = json.dumps(found[0] if len(found) == 1 else found, ensure_ascii=False)
    else:
        text = GAP.join(each.content for each in readings)
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {
            "pages": sum(each.pages for each in readings),
            "inputTokens": 0,
            "outputTokens": 0,
            "totalTokens": 0,
        },
    }
