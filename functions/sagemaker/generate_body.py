"""
The generate shape of text generation containers (TGI, DJL, vLLM's own): one prompt in, one text out.

    {"inputs": "...", "parameters": {...}}   ──▶   {"generated_text": "...", "details": {...}}, alone or in a list

Images stand in the prompt as Markdown with data URLs, where such containers look for them.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from backend_errors import BadAnswerError, ServiceFailedError
from body_template import STOPS
from page_images import PageImage
from prompt_blocks import blocks_of, is_image, messages_of, numbers_of, text_of

NUMBERS = {"temperature": "temperature", "topP": "top_p", "topK": "top_k", "maxTokens": "max_new_tokens"}


def generate_body(
    event: Mapping[str, Any],
    fetch: Callable[[Mapping[str, Any]], PageImage],
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """
    The body. `fields` are laid over `parameters`; null takes one out.

    Temperature 0 is sent as `do_sample: false`, since these containers refuse a temperature of 0.

    Raises:
        BadRequestError: a block that is neither text nor image.
        NoImageError: from `fetch`.
    """
    pieces = [text_of(block) for block in blocks_of(event, "system")]
    for message in messages_of(event):
        pieces += [_piece(block, fetch) for block in blocks_of(message, "content")]
    numbers = numbers_of(event)
    parameters: dict[str, Any] = {"return_full_text": False, "details": True}
    if numbers.get("temperature") == 0:
        parameters["do_sample"] = False
        numbers = {name: value for name, value in numbers.items() if name == "maxTokens"}
    parameters |= {theirs: numbers[ours] for ours, theirs in NUMBERS.items() if ours in numbers}
    laid = {name: value for name, value in {**parameters, **fields}.items() if value is not None}
    return {"inputs": "\n\n".join(filter(None, pieces)), "parameters": laid}


def _piece(block: Any, fetch: Callable[[Mapping[str, Any]], PageImage]) -> str:
    if is_image(block):
        image = fetch(block["image"])
        return f"![](data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')})"
    return text_of(block)


def generate_answer(told: Any, *, blank_pages: bool) -> dict[str, Any]:
    """
    The answer to the host; stop reason and tokens where the container gives details.

    Raises:
        ServiceFailedError: the container's error, sent as a success.
        BadAnswerError: no `generated_text`, or an empty one.
    """
    found = told[0] if isinstance(told, list) and told else told
    found = found if isinstance(found, dict) else {}
    text, details = found.get("generated_text"), found.get("details")
    details = details if isinstance(details, dict) else {}
    finish = details.get("finish_reason")
    # Some fail half way, and send what they have. Source: LMI handlers Inference API Schema, "Error Responses".
    if found.get("error") or found.get("error_type") or finish == "error":
        raise ServiceFailedError("the container answered with an error in place of a text: see the endpoint's log")
    if not isinstance(text, str):
        raise BadAnswerError("the container's answer holds no generated_text: check REQUEST_SHAPE")
    stop = STOPS.get(finish, finish) if isinstance(finish, str) and finish else ""
    if not text.strip() and not (blank_pages and stop == "end_turn"):
        raise BadAnswerError(
            "the model's answer is empty: raise maxTokens where it was cut; BLANK_PAGES=on where the model says nothing "
            "about a blank page"
        )
    answer: dict[str, Any] = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}}
    if stop:
        answer["stopReason"] = stop
    usage = _usage_of(details)
    return {**answer, "usage": usage} if usage else answer


def _usage_of(details: Mapping[str, Any]) -> dict[str, int]:
    out, prefill = details.get("generated_tokens"), details.get("prefill")
    into = details.get("input_tokens", len(prefill) if isinstance(prefill, list) and prefill else None)
    counts = {"inputTokens": into, "outputTokens": out}
    usage = {unit: n for unit, n in counts.items() if isinstance(n, int) and not isinstance(n, bool) and n >= 0}
    return {**usage, "totalTokens": sum(usage.values())} if usage else {}
