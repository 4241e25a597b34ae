"""
What may be looked up, served and kept: pure decisions on plain values. No table, clock or log in here.

    may_look_up(request, rules)                                   Bypass(reason), or None: it may
    judge(entry, now, not_before, max_age_seconds, stale_before)  Fresh | Stale(reason) | Unusable(reason)
    admit(request, rules, reply, size_bytes)                      Admit | Refuse(reason)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum

from hookcache.clock import EpochMillis
from hookcache.embedded import json_in, strings_in
from hookcache.entry import ANSWER_BYTES, Entry
from hookcache.frames import utf8
from hookcache.hints import Any, Literal
from hookcache.lease import SKEW_MS
from hookcache.outcome import Reason
from hookcache.references import PAGE_FILES
from hookcache.request import HookRequest
from hookcache.usage import Metered
from hookcache.value import value

DAY_SECONDS = 86_400
SMALL = 100  # names and values of an answer with one text and its usage: about thirty
BYTES_PER_TOKEN = 3
"""Few texts cost more tokens than a third of their bytes; a rule of thumb, on the safe side."""


class Mode(StrEnum):
    """How much of the cache is in use (P50)."""

    ON = "on"
    OFF = "off"
    OBSERVE = "observe"
    READ_ONLY = "read_only"
    WRITE_ONLY = "write_only"

    def __init__(self, word: str) -> None:
        self.serves = word in {"on", "read_only"}
        self.looks_up = self.serves or word == "observe"


_JSON_CONTEXTS = frozenset({"Classification", "Extraction", "Assessment"})


@value
class Rules:
    """
    What the operator wants for one context.

    Attributes:
        temperature_ceiling: the highest temperature whose answers are reused; None allows any, absent included (P16).
        require_json: keep only answers in which the host will find JSON (P47).
        refused_texts: answers that are failures in disguise, compared without case (P47).
        blank_pages: keep a blank answer that was charged for at least one page (P47).
        usage_on_hit: `zero`, or `original` to charge hits back to whoever sent them (P32).
        trace: put keyed component digests into the receipt (P58).
        resolve_references: members of the event that name an S3 prefix with a page; its content is the input (P41).
        output_limit: the model's own limit of output tokens, for requests that name none: an answer that reaches it was cut.
        image_tokens: the least input tokens that each image costs the model; an answer that counts fewer, beside what its
            prompt's text may cost, was made without.
        negative_errors: backend error types not to be repeated for a minute (P17).
        delegate_after_wait: ask the backend, instead of raising, when a follower's wait is over (P27).
        stale_if_error: answer a failed fetch with an entry that is no longer fresh, up to its hard end (P45).
        error_detail: `type` keeps the backend's error text out of what we raise (P36).
        check_share: how many of the hits also ask the backend, 0 to 1, to see whether what is kept is still right (P59).
        check_limit: the tolerated share of false hits; at ten times of it the context is bypassed.
        check_detail: `content` puts what differs into the receipt, else only where it does.
    """

    mode: Mode = Mode.ON
    fresh_seconds: int = 7 * DAY_SECONDS
    hard_seconds: int = 7 * DAY_SECONDS
    temperature_ceiling: float | None = 0.0
    require_json: bool = False
    refused_texts: tuple[str, ...] = ()
    blank_pages: bool = False
    usage_on_hit: Literal["zero", "original"] = "zero"
    trace: bool = False
    resolve_references: tuple[str, ...] = ()
    output_limit: int | None = None
    image_tokens: int | None = None
    negative_errors: frozenset[str] = frozenset()
    delegate_after_wait: bool = False
    stale_if_error: bool = False
    error_detail: Literal["full", "type"] = "full"
    check_share: float = 0.0
    check_limit: float = 0.001
    check_detail: Literal["paths", "content"] = "paths"


def default_rules(context: str) -> dict[str, Any]:
    """What differs from `Rules()` for a step of the host when the operator says nothing (P47)."""
    rules: dict[str, Any] = {"require_json": context in _JSON_CONTEXTS}
    if context == "Classification":
        rules["refused_texts"] = ("unclassified",)
    return rules


@value
class Bypass:
    """The backend is asked and the cache is not, for `reason`."""

    reason: Reason


@value
class Fresh:
    """May be served."""


@value
class Stale:
    """May be served only in place of an error, where the operator allows that (P45)."""

    reason: Reason = Reason.EXPIRED


@value
class Unusable:
    """Must not be served."""

    reason: Reason


@value
class Admit:
    """The answer may be kept."""


@value
class Refuse:
    """The answer goes to the caller and is not kept."""

    reason: Reason


_FRESH = Fresh()  # a value that says nothing more: one will do


def may_look_up(request: HookRequest, rules: Rules) -> Bypass | None:
    """None, but for sampling requests: their caller asked for a different answer each time (P16, S3)."""
    if rules.temperature_ceiling is None:
        return None
    if request.temperature is None or not 0 <= request.temperature <= rules.temperature_ceiling:
        return Bypass(Reason.SAMPLING)
    return None


def judge(
    entry: Entry,
    now: EpochMillis,
    not_before: EpochMillis = EpochMillis(0),
    max_age_seconds: float | None = None,
    stale_before: EpochMillis = EpochMillis(0),
) -> Fresh | Stale | Unusable:
    """
    The use that may be made of a stored answer at `now`.

    Args:
        not_before: answers made earlier were invalidated by the operator (P44).
        max_age_seconds: the caller's own, stricter bound (P51).
        stale_before: answers made earlier are stale by the operator's order (P44, soft).

    Promises: P10 (nothing past its lifetimes), P12 (nothing from the future).
    """
    if entry.created_ms > now + SKEW_MS:
        return Unusable(Reason.FUTURE)  # the writer's clock is wrong: its lifetimes mean nothing
    if entry.created_ms < not_before:
        return Unusable(Reason.INVALIDATED)
    if now >= entry.hard_until_ms:
        return Unusable(Reason.EXPIRED)
    if max_age_seconds is not None and now - entry.created_ms > max_age_seconds * 1000:
        return Unusable(Reason.EXPIRED)
    if entry.created_ms < stale_before:
        return Stale(Reason.INVALIDATED)
    return _FRESH if now < entry.fresh_until_ms else Stale()


_GOOD_STOPS = frozenset({"end_turn", "stop_sequence"})
_FINITE = frozenset({dict, list, str, int, bool, type(None)})
_TRUNCATED_STOPS = frozenset({"max_tokens", "max_output_tokens", "incomplete", "length"})


def admit(request: HookRequest, rules: Rules, answer: Metered, body_bytes: int) -> Admit | Refuse:
    """
    May this answer be kept? Only if nothing speaks against it (P14, P47).

    Truncation is judged before emptiness: a cut answer may be empty because it was cut.

    Args:
        answer: the reply, parsed, with its usage repaired.
        body_bytes: length of the reply as received.

    Source: what the host's steps read of a reply, and what its sample hooks return in place of an error.
    """
    response = answer.response
    if not isinstance(response, dict) or not body_bytes:
        return Refuse(Reason.NOT_AN_OBJECT)  # no bytes: a handler of this process answered with what is no JSON
    text = _text_of(response)
    for reason, holds in (
        (Reason.ANSWER_SIZE, body_bytes <= ANSWER_BYTES),
        (Reason.ERROR_BODY, not response.keys() & {"errorMessage", "errorType"}),
        (Reason.USAGE, answer.sound),
        (Reason.TRUNCATED, not _is_truncated(request, rules, response, answer.units)),
        (Reason.STOP_REASON, _stopped_well(response)),
        (Reason.ROLE, _message(response).get("role", "assistant") == "assistant"),
        (Reason.CONTENT, text is not None),
        (Reason.NO_PAGES, not (request.images and answer.units.get("pages") == 0)),
        (Reason.NOT_FINITE, _is_finite(response)),
    ):
        if not holds:
            return Refuse(reason)
    decision = _admit_text(text or "", rules, answer.units)
    if isinstance(decision, Admit) and not _has_read_images(request, rules, answer.units):
        return Refuse(Reason.IMAGE_NOT_READ)
    return decision


# Beside `inputTokens` Converse counts what went through the model's own prompt cache, most often the text.
_READ_UNITS = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")


def _has_read_images(request: HookRequest, rules: Rules, units: Mapping[str, float]) -> bool:
    """False if the count of input tokens has no room for the images beside the text, or there is none to tell by (S16)."""
    if rules.image_tokens is None or not request.images:
        return True
    blocks = [*request.event["system"], *request.event["messages"][0]["content"]]
    texts = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
    at_most = sum(len(utf8(text)) for text in texts) / BYTES_PER_TOKEN
    read = sum(units.get(unit, 0) for unit in _READ_UNITS)
    # Of the files of a page by reference one is its image; what its text costs is not known here (P41).
    pictures = len(request.images) - len(request.references) * (len(PAGE_FILES) - 1)
    return read >= rules.image_tokens * pictures + at_most


def _admit_text(text: str, rules: Rules, units: Mapping[str, float]) -> Admit | Refuse:
    if not text.strip():
        return Admit() if rules.blank_pages and units.get("pages", 0) >= 1 else Refuse(Reason.BLANK_TEXT)
    refused = {refused_text.casefold() for refused_text in rules.refused_texts}
    if not (rules.require_json or refused):
        return Admit()
    found = json_in(text)
    if rules.require_json and found is None:
        return Refuse(Reason.NOT_JSON)
    said = {value.strip().casefold() for value in [text, *strings_in(found)]}
    return Refuse(Reason.REFUSED_TEXT) if said & refused else Admit()


def _message(response: Mapping[str, Any]) -> Mapping[str, Any]:
    output = response.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    return message if isinstance(message, dict) else {}


def _text_of(response: Mapping[str, Any]) -> str | None:
    """The text that the host will join, or None if the content is no list of blocks or is empty."""
    content = _message(response).get("content")
    if not isinstance(content, list) or not content or not all(isinstance(block, dict) for block in content):
        return None
    return "".join(block["text"] for block in content if isinstance(block.get("text"), str))


def _is_truncated(request: HookRequest, rules: Rules, response: Mapping[str, Any], units: Mapping[str, float]) -> bool:
    stop = response.get("stopReason")
    if isinstance(stop, str) and stop in _TRUNCATED_STOPS:
        return True
    out = units.get("outputTokens")
    # A backend may drop the stop reason; an answer as long as it was allowed to be was most likely cut (S20).
    limits = [limit for limit in (request.max_tokens, rules.output_limit) if limit is not None]
    return bool(limits) and out is not None and out >= min(limits)


def _stopped_well(response: Mapping[str, Any]) -> bool:
    reason = response.get("stopReason", "end_turn")
    return isinstance(reason, str) and reason in _GOOD_STOPS


def _is_finite(response: Mapping[str, Any]) -> bool:
    """Looked through where it is small, as most are: to spell its texts for want of a number takes ten times as long."""
    parts: list[Any] = [response]
    for part in parts:  # the list grows by what is in each: names and values
        if len(parts) > SMALL or type(part) not in _FINITE:
            break
        parts += [*part, *part.values()] if type(part) is dict else part if type(part) is list else ()
    else:
        return True
    try:
        json.dumps(response, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True
