"""The parts of the host's request: its messages, what of their blocks is an image, the text of the others, the numbers."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from backend_errors import BadRequestError

WHOLE = ("topK", "maxTokens")
NUMBERS = ("temperature", "topP", *WHOLE)
KINDS = frozenset({"text", "image", "document", "video", "audio"})  # of a block, which is one of them
CACHEPOINT = "<<CACHEPOINT>>"  # the host strips it from the user's text and not from the system's


def messages_of(event: Mapping[str, Any], *, blanks: bool = False) -> list[Mapping[str, Any]]:
    """
    The messages, each an object. Without one nothing is asked, and whatever a model answered would be made up.

    Args:
        blanks: those of blanks alone will do, for a reader that has no place for texts.

    Raises:
        BadRequestError: there are none, or nothing is in them, or nothing but blanks and the host's marks.
    """
    messages = event.get("messages") if isinstance(event, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadRequestError("the request has no messages: send what the host sends to a LambdaHook")
    blocks = [block for message in messages for block in blocks_of(message, "content")]
    if not blocks or (not blanks and all(map(_is_blank, blocks))):
        raise BadRequestError("the request's messages are empty: send what the host sends to a LambdaHook")
    return messages


def blocks_of(holder: Mapping[str, Any], member: str) -> list[Any]:
    """
    The blocks of a message's `content` or of the event's `system`; none where it is null, empty or not there.

    Raises:
        BadRequestError: it is no list, or a block is of two kinds, one of which would be left out.
    """
    blocks = (holder.get(member) if isinstance(holder, dict) else None) or []
    if not isinstance(blocks, list):
        raise BadRequestError(f"the request's {member} is no list of blocks: send what the host sends to a LambdaHook")
    for block in blocks:
        if isinstance(block, dict) and sum(block[kind] is not None for kind in block.keys() & KINDS) > 1:
            raise BadRequestError(
                "the request holds a block of two kinds, such as text and image: send one block for each"
            )
    return blocks


def numbers_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """
    The inference numbers by the host's names, without those that are null. A count is a whole number: the host passes on the 4096.0
    that a configuration may hold, and SDK and services refuse it.

    Raises:
        BadRequestError: they are no object, or one of them is no number that JSON can spell.
    """
    told = (event.get("inferenceConfig") or {}) if isinstance(event, dict) else event
    if not isinstance(told, dict):
        raise BadRequestError(
            "the request or its inferenceConfig is no object: send what the host sends to a LambdaHook"
        )
    given = {name: value for name, value in told.items() if value is not None}
    if odd := [name for name in NUMBERS if name in given and not _is_number(given[name])]:
        raise BadRequestError(f"{odd[0]} is no number: check the numbers in the host's configuration of this step")
    wholes = {name: given[name] for name in WHOLE if isinstance(given.get(name), float) and given[name].is_integer()}
    return given | {name: int(value) for name, value in wholes.items()}


def _is_number(told: Any) -> bool:
    try:
        return isinstance(told, int | float) and not isinstance(told, bool) and math.isfinite(told)
    except OverflowError:  # JSON may spell an integer that no float reaches
        return False


def is_image(block: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a block is an image, whatever is known of it."""
    return isinstance(block, dict) and isinstance(block.get("image"), dict)


def _is_blank(block: Any) -> bool:
    """Whether it asks nothing. What is of no known kind is not blank: who reads it refuses it, by its kind."""
    if not isinstance(block, dict) or is_image(block):
        return False
    text = block.get("text")
    return not text.replace(CACHEPOINT, "").strip() if isinstance(text, str) else "cachePoint" in block


def text_of(block: Any) -> str:
    """
    The text of a block without the host's marks; empty where it is blank, or itself such a mark.

    Raises:
        BadRequestError: it is no text.
    """
    if isinstance(block, dict) and block.keys() == {"cachePoint"}:  # a caller's own system list may hold some
        return ""
    if not isinstance(block, dict) or not isinstance(block.get("text"), str):
        raise BadRequestError("the request holds a block that is neither text nor image: this backend cannot send it")
    text: str = block["text"].replace(CACHEPOINT, "")
    return text if text.strip() else ""
