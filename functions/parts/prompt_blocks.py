"""The messages of the host's request and their blocks: what is an image, and the text of another one."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from backend_errors import BadRequestError

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
