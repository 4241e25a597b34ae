"""
The event as far as hookcache must understand it: shape, context, numbers that matter, and where its images are.

Everything else is left to `canonical`, which keys every member, known or not. The event is never altered (P5).
Checked by hand and not by pydantic: pydantic refuses text with lone surrogates, which prompts may hold (B15).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hookcache.errors import Unkeyable
from hookcache.hints import Any, TypeGuard
from hookcache.outcome import Reason
from hookcache.value import value

CONTEXTS = frozenset({"OCR", "Classification", "Extraction", "Assessment", "Summarization", "Unspecified"})
"""The host's steps. Any other word is metered as `Other`: dimensions are a small closed set (P35)."""

OTHER_CONTEXT = "Other"
METERED_CONTEXTS = CONTEXTS | {OTHER_CONTEXT}

MAX_BLOCKS = 1_000
MAX_IMAGES = 100

Event = Mapping[str, Any]


@value
class ImageRef:
    """Where one image of the request lies: `uri` as received, and the owner that the host named, if any."""

    uri: str
    owner: str | None


@value
class HookRequest:
    """
    A well-formed event and what policy needs to know about it.

    `temperature` and `max_tokens` are the numbers as received, None where absent or not a number.
    `images` lists the image blocks in order of position, repeated ones repeated; behind them, by name, the objects of
    the `references`: members whose content counts in place of their value (P41, `references.py`).
    """

    event: Event
    context: str
    temperature: float | None
    max_tokens: float | None
    images: tuple[ImageRef, ...]
    references: tuple[str, ...] = ()


def metered_context(event: object) -> str:
    """The word under which an event is metered: the host's step, `Unspecified` when it names none, `Other` when unknown."""
    context = event.get("context", "Unspecified") if _is_object(event) else "Unspecified"
    return context if isinstance(context, str) and context in CONTEXTS else OTHER_CONTEXT


def _is_object(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return type(value) is dict or isinstance(value, Mapping)  # the first question is ten times quicker, and enough


def parse(event: object) -> HookRequest:
    """
    The request in an event.

    Raises:
        Unkeyable: `event_shape` (B1), `event_size` (B3), `inline_image` or `block_type` (P42, B11).

    Source: the host's LambdaHook request: one user message of text and image blocks, a list of system blocks, an object
    of inference numbers, and the step's name.
    """
    if not _is_object(event):
        raise Unkeyable(Reason.EVENT_SHAPE)
    messages, system, numbers = event.get("messages"), event.get("system"), event.get("inferenceConfig")
    if not (
        isinstance(messages, list)
        and len(messages) == 1
        and _is_object(messages[0])
        and isinstance(content := messages[0].get("content"), list)
        and isinstance(system, list)
        and all(map(_is_object, system))
        and _is_object(numbers)
        and isinstance(event.get("context", ""), str)
    ):
        raise Unkeyable(Reason.EVENT_SHAPE)
    if len(content) + len(system) > MAX_BLOCKS:
        raise Unkeyable(Reason.EVENT_SIZE)
    images: list[ImageRef] = []
    for block in content:
        if not _is_object(block) or ("image" in block) == ("text" in block):
            raise Unkeyable(Reason.BLOCK_TYPE)
        if "image" in block:
            images.append(_image(block["image"]))
        elif not isinstance(block["text"], str):
            raise Unkeyable(Reason.BLOCK_TYPE)
    if len(images) > MAX_IMAGES:
        raise Unkeyable(Reason.EVENT_SIZE)
    temperature, max_tokens = _number(numbers.get("temperature")), _number(numbers.get("maxTokens"))
    return HookRequest(event, metered_context(event), temperature, max_tokens, tuple(images))


def held(event: object) -> object:
    """
    A copy of an event that is keyed, asked and compared in its place: its owner, in this process, may change it meanwhile (P5).

    Raises:
        Unkeyable: `event_size` (nested too deep), `event_shape` (changed while it was copied, or of a kind that cannot be).
    """
    try:
        return copied(event)
    except RecursionError:
        raise Unkeyable(Reason.EVENT_SIZE) from None
    except Exception:
        raise Unkeyable(Reason.EVENT_SHAPE) from None


def copied(part: Any) -> Any:
    """Part of an event with objects and lists of its own, of the kinds that came; texts are shared."""
    if type(part) is dict:
        return {name: copied(value) for name, value in part.items()}
    if type(part) is list:
        return [copied(value) for value in part]
    if type(part) is tuple:
        return tuple([copied(value) for value in part])
    if isinstance(part, Mapping | list | tuple):  # of a kind of its own, which a handler may rely on
        from copy import copy  # which no event of the host's needs

        own: Any = copy(part)  # raises for a view of something else, and what cannot be written raises below
        for name in list(part) if isinstance(part, Mapping) else range(len(part)):
            own[name] = copied(part[name])
        return own
    return part


def _image(image: object) -> ImageRef:
    source = image.get("source") if isinstance(image, Mapping) else None
    if not isinstance(source, Mapping):
        raise Unkeyable(Reason.BLOCK_TYPE)
    if "bytes" in source:
        raise Unkeyable(Reason.INLINE_IMAGE)  # the host's repr text or base64: never decoded, never stored
    location = source.get("s3Location")
    if not isinstance(location, Mapping) or not isinstance(location.get("uri"), str):
        raise Unkeyable(Reason.BLOCK_TYPE)
    owner = location.get("bucketOwner")
    return ImageRef(location["uri"], owner if isinstance(owner, str) else None)


def _number(value: object) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
