"""The host's event as a chat completions request: every block in its place, nothing left out in silence."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from page_images import PageImage
from prompt_blocks import blocks_of, is_image, messages_of, numbers_of, text_of

NUMBERS = {"temperature": "temperature", "topP": "top_p", "topK": "top_k", "maxTokens": "max_tokens"}


def chat_request(
    event: Mapping[str, Any],
    model: str,
    laid_over: Mapping[str, Any],
    fetch: Callable[[Mapping[str, Any]], PageImage],
) -> dict[str, Any]:
    """
    The body of the request.

    Args:
        laid_over: members that replace or join ours; null takes one out, for servers that refuse it.
        fetch: gives the image behind an image block.

    Raises:
        BadRequestError: a block that is neither text nor image.
        NoImageError: from `fetch`.
    """
    messages = []
    system = "\n\n".join(filter(None, (text_of(block) for block in blocks_of(event, "system"))))
    if system:
        messages.append({"role": "system", "content": system})
    for message in messages_of(event):
        parts = [_part(block, fetch) for block in blocks_of(message, "content")]
        messages.append({"role": message.get("role", "user"), "content": [part for part in parts if part]})
    numbers = numbers_of(event)
    body = {"model": model, "messages": messages}
    body |= {theirs: numbers[ours] for ours, theirs in NUMBERS.items() if ours in numbers}
    return {name: value for name, value in {**body, **laid_over}.items() if value is not None}


def _part(block: Any, fetch: Callable[[Mapping[str, Any]], PageImage]) -> dict[str, Any] | None:
    """One part of a message; None for an empty text, which some servers refuse."""
    if is_image(block):
        image = fetch(block["image"])
        data = base64.b64encode(image.data).decode("ascii")
        return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}
    text = text_of(block)
    return {"type": "text", "text": text} if text else None
