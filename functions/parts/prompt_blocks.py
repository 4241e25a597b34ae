"""The parts of the host's request: its messages, what of their blocks is an image, the text of the others, the numbers."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from backend_errors import BadRequestError

WHOLE = ("topK", "maxTokens")
CACHEPOINT = "<<CACHEPOINT>>"  # the host strips it from the user's text and not from the system's


def messages_of(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """
    The messages, each an object. Without one nothing is asked, and whatever a model answered would be made up.

    Raises:
        BadRequestError: there are none.
    """
    messages = event.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadRequestError("the request has no messages: send what the host sends to a LambdaHook")
    return messages


def numbers_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """
    The inference numbers by the host's names, without those that are null. A count is a whole number: the host passes on the 4096.0
    that a configuration may hold, and SDK and services refuse it.
    """
    given = {name: value for name, value in (event.get("inferenceConfig") or {}).items() if value is not None}
    wholes = {name: given[name] for name in WHOLE if isinstance(given.get(name), float) and given[name].is_integer()}
    return given | {name: int(value) for name, value in wholes.items()}


def is_image(block: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a block is an image, whatever is known of it."""
    return isinstance(block, dict) and isinstance(block.get("image"), dict)


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
